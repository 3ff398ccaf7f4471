"""The face detector: where faces are in a picture, of any size, and how they lean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.face.box import Square
from mien.face.crop import FACE_MARGIN, Crop, lean_of
from mien.media.frame import RGBImage
from mien.weights.bundled import open_net

CELL: Final = 8
"""Pixels of the picture that one cell of the detector's map stands for."""

_MULTIPLE: Final = 32
"""Sides of what the net is shown are multiples of this."""

_SAME: Final = 0.45
"""Two finds nearer than this (sizes of the larger) are one face."""


@dataclass(frozen=True, slots=True)
class Detection:
    """A face that the detector saw.

    Attributes:
        square: upright box of the face mesh, pixels.
        keys: ``float32 (5, 2)``: right and left eye, nose tip, right and left mouth corner.
        score: 0..1.
    """

    square: Square
    keys: npt.NDArray[np.float32]
    score: float

    @property
    def angle(self) -> float:
        """How far the face leans clockwise, radians."""
        right, left, _, *mouth = self.keys
        return lean_of(right, left, np.mean(mouth, 0))

    def crop(self) -> Crop:
        """Where the landmark net should look."""
        square = self.square
        return Crop(square.x, square.y, FACE_MARGIN * square.side, self.angle)

    def scaled(self, factor: float) -> Detection:
        """The same in a picture ``factor`` times as large."""
        square = Square(*(v * factor for v in (self.square.x, self.square.y, self.square.side)))
        return Detection(square, self.keys * np.float32(factor), self.score)


class Detector:
    """The detector net.

    Args:
        folder: where the net is; None: with the package.
        threshold: least score.

    Raises:
        WeightsError: when the net is missing or damaged.
    """

    def __init__(self, folder: str | Path | None = None, threshold: float = 0.4) -> None:
        self._net = open_net("tracker_detector.onnx", folder=folder)
        self._threshold = threshold

    def __call__(self, image: RGBImage, longest: int) -> list[Detection]:
        """Faces of ``image``, looked at with its longer side shrunk to ``longest`` pixels.

        Faces of 9 pixels and more *there* can be found.
        """
        scale = min(1.0, longest / max(image.shape[:2]))
        small = image
        if scale < 1:
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        height, width = small.shape[:2]
        size = (-(-height // _MULTIPLE) * _MULTIPLE, -(-width // _MULTIPLE) * _MULTIPLE, 3)
        padded = np.zeros((1, *size), np.uint8)
        padded[0, :height, :width] = small
        said = self._net.run(None, {"images": padded})[0][0]
        return [found.scaled(1 / scale) for found in decode(said, self._threshold)]


def decode(said: npt.NDArray[np.float32], threshold: float) -> list[Detection]:
    """Faces in the detector's answer ``float32 (14, h, w)``, the surest first."""
    heat = said[0]
    peak = heat >= cv2.dilate(heat, np.ones((3, 3), np.uint8))
    logit = float(np.log(threshold / (1 - threshold)))
    rows, columns = np.nonzero(peak & (heat > logit))
    out: list[Detection] = []
    for row, column in zip(rows, columns, strict=True):
        values = said[:, row, column].astype(np.float64)
        here = np.array([column + 0.5, row + 0.5])
        x, y = (here + values[1:3]) * CELL
        side = float(np.exp(np.clip(values[3], -2, 6))) * CELL
        square = Square(float(x), float(y), side)
        keys = ((here + values[4:].reshape(5, 2)) * CELL).astype(np.float32)
        out.append(Detection(square, keys, float(1 / (1 + np.exp(-heat[row, column])))))
    return distinct(out, _SAME)


def distinct(found: list[Detection], reach: float) -> list[Detection]:
    """The surest of those nearer than ``reach`` (sizes of the larger), the surest first."""
    kept: list[Detection] = []
    for one in sorted(found, key=lambda detection: -detection.score):
        if not any(one.square.near(other.square, reach) for other in kept):
            kept.append(one)
    return kept
