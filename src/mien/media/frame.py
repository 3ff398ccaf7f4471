"""Frames, and pictures whose parts become RGB on demand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt

RGBImage = npt.NDArray[np.uint8]
"""``uint8 (H, W, 3)``, red first, upright (rotation already applied)."""

RGBWindow = npt.NDArray[Any]
"""RGB of a part of a picture, ``(h, w, 3)``: ``uint8``, or ``uint16`` above 8 bits per sample."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of whole pixels; ``right`` and ``bottom`` are outside."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around(cls, points: npt.NDArray[np.floating[Any]], pad: float = 0.0) -> Self:
        """Return the smallest box around points ``(..., 2)`` that leaves ``pad`` pixels."""
        flat = points.reshape(-1, points.shape[-1])[:, :2]
        low, high = np.floor(flat.min(0) - pad), np.ceil(flat.max(0) + pad)
        return cls(int(low[0]), int(low[1]), int(high[0]), int(high[1]))

    @property
    def width(self) -> int:
        """Pixels; not positive for an empty box."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels; not positive for an empty box."""
        return self.bottom - self.top

    @property
    def empty(self) -> bool:
        """Whether it holds no pixel."""
        return self.width <= 0 or self.height <= 0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box in an array ``(H, W, ...)``."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def within(self, other: Box) -> Box:
        """Return the part inside ``other``."""
        return Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def joined(self, other: Box) -> Box:
        """Return the smallest box around both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def covers(self, other: Box) -> bool:
        """Whether ``other`` lies inside this box."""
        return self.within(other) == other

    def relative_to(self, other: Box) -> Box:
        """Return the same box in the coordinates of ``other``."""
        x, y = other.left, other.top
        return Box(self.left - x, self.top - y, self.right - x, self.bottom - y)

    def aligned(self, across: int, down: int) -> Box:
        """Return the smallest box around this one whose edges are multiples of both steps."""
        return Box(
            self.left // across * across,
            self.top // down * down,
            -(-self.right // across) * across,
            -(-self.bottom // down) * down,
        )

    def divided(self, across: int, down: int) -> Box:
        """Return the box on a plane subsampled by both factors."""
        return Box(
            self.left // across,
            self.top // down,
            -(-self.right // across),
            -(-self.bottom // down),
        )


class Picture(ABC):
    """An upright picture in its own format, read and replaced in parts."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Pixels."""

    @property
    @abstractmethod
    def height(self) -> int:
        """Pixels."""

    @property
    def interlaced(self) -> bool:
        """Whether its even and odd lines were taken at different times."""
        return False

    @property
    def box(self) -> Box:
        """The whole picture."""
        return Box(0, 0, self.width, self.height)

    @abstractmethod
    def read(self, box: Box) -> RGBWindow:
        """Return the RGB of ``box``, which must lie inside the picture; do not write to it."""

    @abstractmethod
    def replaced(self, box: Box, window: RGBWindow) -> Picture:
        """Return a picture with new RGB in ``box``; pixels that did not change keep their value."""

    @abstractmethod
    def brightened(self, box: Box, change: npt.NDArray[np.float32]) -> Picture:
        """Return a picture whose ``box`` is brighter by ``change`` ``(h, w)``, levels of 255."""

    @abstractmethod
    def small(self, longest: int) -> RGBImage:
        """Return the unedited picture scaled down to a longer side of at most ``longest``."""

    @abstractmethod
    def thumbnail(self) -> npt.NDArray[np.int16]:
        """Return about 32 x 32 brightness samples, 0..255."""

    def image(self) -> RGBImage:
        """Return the whole picture as RGB ``uint8 (H, W, 3)``."""
        return to_8_bits(self.read(self.box))


@dataclass(frozen=True, slots=True)
class ArrayPicture(Picture):
    """A picture held as RGB.

    Attributes:
        array: ``uint8`` or ``uint16 (H, W, 3)``.
    """

    array: RGBWindow

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.array.shape[1])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.array.shape[0])

    def read(self, box: Box) -> RGBWindow:
        """Return a view."""
        return self.array[box.slices]

    def replaced(self, box: Box, window: RGBWindow) -> ArrayPicture:
        """Return a changed copy."""
        out = self.array.copy()
        out[box.slices] = window
        return replace(self, array=out)

    def brightened(self, box: Box, change: npt.NDArray[np.float32]) -> ArrayPicture:
        """Return a copy; all three colours change alike."""
        deep = self.array.dtype == np.uint16
        added = cv2.merge([change * np.float32(257)] * 3 if deep else [change] * 3)
        kind = cv2.CV_16U if deep else cv2.CV_8U
        return self.replaced(box, cv2.add(self.array[box.slices], added, dtype=kind))

    def small(self, longest: int) -> RGBImage:
        """Return the picture scaled down by averaging."""
        scale = min(1.0, longest / max(self.width, self.height))
        if scale < 1:
            size = (max(1, round(self.width * scale)), max(1, round(self.height * scale)))
            return to_8_bits(cv2.resize(self.array, size, interpolation=cv2.INTER_AREA))
        return to_8_bits(self.array)

    def thumbnail(self) -> npt.NDArray[np.int16]:
        """Return samples of green."""
        return sparse_samples(self.array[..., 1], 8 * self.array.dtype.itemsize)


Image = RGBWindow | Picture
"""A whole picture, as an array or not."""


def as_picture(image: Image) -> Picture:
    """Return ``image`` itself, or an array wrapped as a picture."""
    return image if isinstance(image, Picture) else ArrayPicture(image)


def to_8_bits(window: RGBWindow) -> RGBImage:
    """Return RGB as ``uint8``."""
    if window.dtype == np.uint8:
        return window
    return ((window.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def sparse_samples(plane: npt.NDArray[Any], bits: int) -> npt.NDArray[np.int16]:
    """Return about 32 x 32 samples of a plane of ``bits`` per sample, scaled to 0..255."""
    step_y, step_x = max(1, plane.shape[0] // 32), max(1, plane.shape[1] // 32)
    return (plane[step_y // 2 :: step_y, step_x // 2 :: step_x] >> (bits - 8)).astype(np.int16)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a video.

    Attributes:
        picture: what it shows.
        time: presentation time in seconds, exact, counted from the start of the video.
        index: 0 for the first frame of the video.
        original: of an edited frame, what it showed before.
    """

    picture: Picture
    time: Fraction
    index: int
    original: Picture | None = None

    @property
    def image(self) -> RGBImage:
        """The whole frame as RGB ``uint8 (H, W, 3)``."""
        return self.picture.image()
