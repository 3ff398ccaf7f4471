"""Pictures and clips in memory: NumPy arrays, PIL images, and iterables of them."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sized
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.errors import InputError
from mien.media.frame import ArrayPicture, Frame, Picture, RGBImage
from mien.media.read import VideoInfo
from mien.utils.numeric import is_number
from mien.utils.text import shown

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    ImageInput = np.ndarray[Any, Any] | PILImage
    """RGB ``uint8 (H, W, 3)``, or a PIL image of any mode."""

    FramesInput = np.ndarray[Any, Any] | Iterable[ImageInput]
    """RGB ``uint8 (T, H, W, 3)``, or an iterable of images of one size."""

PICTURE: Final = Path("the picture")
CLIP: Final = Path("the frames")
"""What messages call pictures and clips that have no file."""

FASTEST: Final = 1000.0
"""Frames per second at most."""

_MOST_AHEAD: Final = 100_000_000
"""Pixels of all frames that a first look holds; 48 frames of 1920 x 1080."""


def is_picture(value: object) -> bool:
    """Whether a value is one picture, rather than several."""
    return _is_pil(value) or (isinstance(value, np.ndarray) and value.ndim != 4)


def as_image(value: object, what: str = "A picture in memory") -> RGBImage:
    """Return a picture as RGB ``uint8 (H, W, 3)``.

    Args:
        value: such an array, which is not copied; or a PIL image, which is turned upright by its
            EXIF tag and blended over white where it is transparent.
        what: the subject of an error message.

    Raises:
        InputError: for anything else.
    """
    if _is_pil(value):
        return _of_pil(value)
    if not isinstance(value, np.ndarray):
        raise InputError(
            f"{what} must be an RGB array uint8 (H, W, 3) or a PIL image; got "
            f"{type(value).__name__}."
        )
    if value.dtype != np.uint8 or value.ndim != 3 or value.shape[2] != 3 or not value.size:
        raise InputError(
            f"{what} must be RGB uint8 (H, W, 3); got {value.dtype} {value.shape}." + _advice(value)
        )
    return value


def _advice(value: np.ndarray[Any, Any]) -> str:
    if value.ndim == 2:
        return " Grey pictures: numpy.stack([grey] * 3, axis=-1)."
    if value.ndim == 3 and value.shape[2] == 4:
        return " Leave the fourth channel out: picture[..., :3]."
    if value.ndim == 3 and np.issubdtype(value.dtype, np.floating):
        return " Values from 0 to 1: (255 * picture).astype(numpy.uint8)."
    return ""


def _is_pil(value: object) -> bool:
    """Whether a value is a PIL image; PIL itself is not needed for the answer."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)


def _of_pil(value: Any) -> RGBImage:  # noqa: ANN401 - a PIL image
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(value)
    if not upright.has_transparency_data:
        return np.asarray(upright.convert("RGB"))
    layer = upright.convert("RGBA")
    paper = Image.new("RGBA", layer.size, "white")
    return np.asarray(Image.alpha_composite(paper, layer).convert("RGB"))


class FrameSource:
    """Frames in memory, read once, as :class:`mien.media.read.VideoReader` reads a file.

    Args:
        frames: ``uint8 (T, H, W, 3)``, or an iterable of pictures of one size, which is read while
            the frames are used.
        rate: frames per second.

    Attributes:
        first: the first picture.
        info: size and rate.

    Raises:
        InputError: when there is no frame, or the first one is no picture.
    """

    damaged: str | None = None
    warnings: tuple[str, ...] = ()

    def __init__(self, frames: object, rate: float | None) -> None:
        rate = 25.0 if rate is None else rate
        if not is_number(rate) or not 0 < rate <= FASTEST:
            raise InputError(
                f"rate must be frames per second, up to {FASTEST:.0f}; got {shown(rate)}."
            )
        if not isinstance(frames, Iterable) or isinstance(frames, str | bytes | dict | set):
            raise InputError(
                "The input must be the path of a file, a picture (RGB uint8 (H, W, 3) or PIL) or "
                f"an iterable of pictures; got {type(frames).__name__}."
            )
        known = len(frames) if isinstance(frames, Sized) else None
        self._passing = known is None
        self._rest: Iterator[tuple[int, object]] = enumerate(frames)
        found = next(self._rest, None)
        if found is None:
            raise InputError("The input is an iterable without any frame in it.")
        first = as_image(found[1], "Frame 1")
        self.first = first.copy() if self._passing else first
        exact = Fraction(rate).limit_denominator(100_000)
        self.info = VideoInfo.new(CLIP, self.first, exact, known)
        self._ahead: deque[RGBImage] = deque([self.first])

    def first_look(self, count: int, seconds: float, begin: float = 0.0) -> Iterator[Picture]:
        """Yield up to ``count`` pictures, spread evenly over the ``seconds`` from ``begin`` on.

        What is looked at is held in memory: of large frames fewer seconds, and what lies too far
        ahead is not looked at.
        """
        fitting = _MOST_AHEAD // (self.info.width * self.info.height)
        wanted = max(1, min(int((begin + seconds) * self.info.rate), fitting))
        self._ahead.extend(islice(self._pictures(), max(0, wanted - len(self._ahead))))
        held = list(self._ahead)
        held = held[int(begin * self.info.rate) :] or held
        yield from map(ArrayPicture, held[:: max(1, len(held) // count)][:count])

    def frames_from(self, seconds: float) -> Iterator[Frame]:
        """Yield the frame shown at a time and all after it."""
        return (frame for frame in self if frame.time + 1 / self.info.rate > seconds)

    def __iter__(self) -> Iterator[Frame]:
        """Yield all frames in order."""
        for index, image in enumerate(chain(self._held(), self._pictures())):
            yield Frame(ArrayPicture(image), index / self.info.rate, index)

    def close(self) -> None:
        """Let go of the iterable; it belongs to the caller, who may read on."""
        self._rest = enumerate(())

    def _held(self) -> Iterator[RGBImage]:
        while self._ahead:
            yield self._ahead.popleft()

    def _pictures(self) -> Iterator[RGBImage]:
        for index, value in self._rest:
            image = as_image(value, f"Frame {index + 1}")
            if image.shape != self.first.shape:
                (high, wide, _), (height, width, _) = image.shape, self.first.shape
                raise InputError(
                    f"All frames must have one size; frame {index + 1} has {wide}x{high} pixels, "
                    f"the first one {width}x{height}."
                )
            # A generator may use one buffer for all of its frames.
            yield image.copy() if self._passing else image
