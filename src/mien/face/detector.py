"""Detect faces of any size and rotation in an image of any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.face.crop import FACE_MARGIN, Crop, Square, roll_from
from mien.media.frame import Image, as_picture
from mien.weights.bundled import open_net

CELL_PIXELS: Final = 8
"""Side of the input area that one cell of the detector's output map stands for."""

_MULTIPLE: Final = 32
"""The sides of the net's input are multiples of this."""

_SAME_IN_MAP: Final = 0.45
_SAME_IN_IMAGE: Final = 0.5
"""Detections nearer than this (sizes of the larger) are one face: at one scale, over all scales."""

_QUICK: Final = 320
"""Longer side, pixels: faces of a thirtieth of the image and more are found."""

_THOROUGH: Final = (192, 640, 1280)
_LARGEST: Final = 3840
"""Longer sides for small faces, and (the first) for one that fills the image."""

_MIN_ROTATED_SCORE: Final = 0.6
"""Minimum score for rotated faces: three more passes would be three more chances to err."""

Detect = Callable[[Image, int], "list[Detection]"]
"""Detects faces in an image downscaled to the given longer side, pixels."""


@dataclass(frozen=True, slots=True)
class Detection:
    """A detected face.

    Attributes:
        square: upright box of the face mesh, pixels.
        keypoints: ``float32 (5, 2)``: right eye, left eye, nose tip, right and left mouth corner.
        score: 0..1.
    """

    square: Square
    keypoints: npt.NDArray[np.float32]
    score: float

    @property
    def angle(self) -> float:
        """In-plane rotation of the face, radians clockwise."""
        right, left, _, *mouth = self.keypoints
        return roll_from(right, left, np.mean(mouth, 0))

    def crop(self) -> Crop:
        """Return the crop for the landmark net."""
        square = self.square
        return Crop(square.x, square.y, FACE_MARGIN * square.side, self.angle)

    def scaled(self, factor: float) -> Detection:
        """Return the same detection in an image ``factor`` times as large."""
        square = Square(*(v * factor for v in (self.square.x, self.square.y, self.square.side)))
        return Detection(square, self.keypoints * np.float32(factor), self.score)


class Detector:
    """The detector net.

    Args:
        folder: where the net is; the bundled one by default.
        threshold: minimum score.

    Raises:
        WeightsError: when the net is missing or damaged.
    """

    def __init__(self, folder: str | Path | None = None, threshold: float = 0.4) -> None:
        self._net = open_net("tracker_detector.onnx", folder=folder)
        self._threshold = threshold

    def __call__(self, image: Image, longest: int) -> list[Detection]:
        """Detect faces in ``image``, downscaled to a longer side of ``longest`` pixels.

        Faces of 9 pixels and more at that scale can be found.
        """
        picture = as_picture(image)
        small = picture.small(longest)
        scale = max(small.shape[:2]) / max(picture.width, picture.height)
        height, width = small.shape[:2]
        size = (-(-height // _MULTIPLE) * _MULTIPLE, -(-width // _MULTIPLE) * _MULTIPLE, 3)
        padded = np.zeros((1, *size), np.uint8)
        padded[0, :height, :width] = small
        maps = self._net.run(None, {"images": padded})[0][0]
        return [found.scaled(1 / scale) for found in decode(maps, self._threshold)]


def decode(maps: npt.NDArray[np.float32], threshold: float) -> list[Detection]:
    """Convert the detector's output ``float32 (14, h, w)`` to detections, highest score first."""
    heat = maps[0]
    peak = heat >= cv2.dilate(heat, np.ones((3, 3), np.uint8))
    logit = float(np.log(threshold / (1 - threshold)))
    rows, columns = np.nonzero(peak & (heat > logit))
    out: list[Detection] = []
    for row, column in zip(rows, columns, strict=True):
        values = maps[:, row, column].astype(np.float64)
        here = np.array([column + 0.5, row + 0.5])
        x, y = (here + values[1:3]) * CELL_PIXELS
        side = float(np.exp(np.clip(values[3], -2, 6))) * CELL_PIXELS
        square = Square(float(x), float(y), side)
        keypoints = ((here + values[4:].reshape(5, 2)) * CELL_PIXELS).astype(np.float32)
        out.append(Detection(square, keypoints, float(1 / (1 + np.exp(-heat[row, column])))))
    return _distinct(out, _SAME_IN_MAP)


def search(image: Image, detect: Detect, *, thorough: bool) -> list[Detection]:
    """Detect faces in ``image``, largest first.

    Args:
        image: a picture or RGB ``uint8 (H, W, 3)``.
        detect: the detector.
        thorough: search at several scales, up to half the resolution of a very large image.
    """
    picture = as_picture(image)
    longest = max(picture.width, picture.height)
    sides = [_QUICK]
    if thorough:
        sides += [side for side in _THOROUGH if side < 1.2 * longest]
        if longest > 2 * _THOROUGH[-1]:
            sides.append(min(longest // 2, _LARGEST))
    return _largest_first([found for side in sides for found in detect(picture, side)])


def search_rotated(image: Image, detect: Detect) -> list[Detection]:
    """Detect faces in an image that lies on its side or upside down, largest first."""
    picture = as_picture(image)
    small = picture.small(_QUICK)
    size = (small.shape[1], small.shape[0])
    factor = max(picture.width, picture.height) / max(size)
    out = []
    for turns in (1, 2, 3):
        rotated = np.ascontiguousarray(np.rot90(small, turns))
        found = (one for one in detect(rotated, _QUICK) if one.score >= _MIN_ROTATED_SCORE)
        out += [_rotated_back(one, turns, size).scaled(factor) for one in found]
    return _largest_first(out)


def _largest_first(found: list[Detection]) -> list[Detection]:
    return sorted(_distinct(found, _SAME_IN_IMAGE), key=lambda detection: -detection.square.side)


def _distinct(found: list[Detection], reach: float) -> list[Detection]:
    """Keep the best of those nearer than ``reach`` (sizes of the larger), highest score first."""
    kept: list[Detection] = []
    for one in sorted(found, key=lambda detection: -detection.score):
        if not any(one.square.near(other.square, reach) for other in kept):
            kept.append(one)
    return kept


def _rotated_back(one: Detection, turns: int, size: tuple[int, int]) -> Detection:
    """Convert a detection in ``np.rot90(image, turns)`` to the image (``size``: width, height)."""
    width, height = size

    def back(points: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        x, y = points[..., 0], points[..., 1]
        ways = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}
        return np.stack(ways[turns], -1).astype(np.float32)

    x, y = back(np.array([one.square.x, one.square.y])).tolist()
    return Detection(Square(x, y, one.square.side), back(one.keypoints), one.score)
