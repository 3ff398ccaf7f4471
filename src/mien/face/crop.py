"""Upright square crops around a face and its parts: what the landmark nets see.

Coordinates are continuous: the first pixel covers 0 to 1. A crop's own coordinates are in sides of
the crop with the middle at 0, so that the picture lies within -0.5 .. 0.5; z has the same unit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.face.box import MESH_POINTS
from mien.face.parts import LIPS
from mien.face.topology import EYES, LEFT_EYE, MOUTH_CORNERS, RIGHT_EYE
from mien.face.types import Landmarks
from mien.media.frame import RGBImage

Points = npt.NDArray[np.floating[Any]]

FACE_MARGIN: Final = 1.4
"""Side of a face's crop, sizes of the face."""

MOUTH_SIDE: Final = 0.44
EYE_SIDE: Final = 0.33
"""Sides of the parts' crops, sides of the face's crop."""

_EYE_UP: Final = 0.05
"""How far above the eye the middle of its crop is (for the brow), sides of the face's crop."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A square of a picture, turned.

    Attributes:
        x, y: its middle, pixels of the picture.
        side: pixels of the picture.
        angle: radians, how far the face leans clockwise.
        mirrored: whether the crop's x axis runs backwards.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0
    mirrored: bool = False

    def axes(self) -> npt.NDArray[np.float64]:
        """Directions of the crop's x and y axis in the picture, rows of ``float64 (2, 2)``."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        flip = -1.0 if self.mirrored else 1.0
        return np.array([[flip * c, flip * s], [-s, c]])

    def inside(self, points: Points) -> npt.NDArray[np.float32]:
        """Points ``(..., 2 or 3)`` in pixels of the picture, in the crop's coordinates."""
        out = np.array(points, np.float64)
        out[..., :2] = (out[..., :2] - (self.x, self.y)) @ self.axes().T
        return (out / self.side).astype(np.float32)

    def outside(self, points: Points) -> npt.NDArray[np.float32]:
        """The way back from :meth:`inside`."""
        out = np.array(points, np.float64) * self.side
        out[..., :2] = out[..., :2] @ self.axes() + (self.x, self.y)
        return out.astype(np.float32)

    def matrix(self, pixels: int) -> npt.NDArray[np.float64]:
        """Picture to a crop of ``pixels`` pixels as OpenCV counts them, ``float64 (2, 3)``."""
        turn = self.axes() * (pixels / self.side)
        # OpenCV puts integers on the middles of pixels.
        shift = turn @ (0.5 - np.array([self.x, self.y])) + pixels / 2 - 0.5
        return np.hstack([turn, shift[:, None]])

    def cut(self, image: RGBImage, pixels: int, *, stretched: bool = False) -> RGBImage:
        """The crop, ``uint8 (pixels, pixels, 3)``.

        Outside the picture it is black, or goes on as the picture's edge where ``stretched``.
        """
        step, shrink = _shrinking(int(self.side / (1.5 * pixels)))
        reach = self.side * (abs(np.cos(self.angle)) + abs(np.sin(self.angle))) / 2 + 2 * shrink
        height, width = image.shape[:2]
        left, top = max(0, int(self.x - reach)), max(0, int(self.y - reach))
        right, bottom = min(width, int(self.x + reach) + 1), min(height, int(self.y + reach) + 1)
        columns, rows = (right - left) // shrink, (bottom - top) // shrink
        if columns < 1 or rows < 1:
            return np.zeros((pixels, pixels, 3), np.uint8)
        across = slice(left + step // 2, left + columns * shrink, step)
        near = image[top + step // 2 : top + rows * shrink : step, across]
        if shrink > 1:
            near = cv2.resize(near, (columns, rows), interpolation=cv2.INTER_AREA)
        crop = replace(
            self,
            x=(self.x - left) / shrink,
            y=(self.y - top) / shrink,
            side=self.side / shrink,
        )
        border = cv2.BORDER_REPLICATE if stretched else cv2.BORDER_CONSTANT
        return cv2.warpAffine(near, crop.matrix(pixels), (pixels, pixels), borderMode=border)


def _shrinking(times: int) -> tuple[int, int]:
    """Every how many-th pixel to look at, and how many times to shrink: about ``times``.

    Reading all of a face of 3000 pixels would take longer than finding its landmarks. Steps are
    odd, and three or more of them make a pixel: even a pattern of single pixels averages out.
    """
    if times < 9:
        return 1, max(1, times)
    step = (times // 3 - 1) // 2 * 2 + 1
    return step, times // step * step


def lean(points: Points) -> float:
    """How far a face leans clockwise, radians, from its landmarks ``(478, 2+)``."""
    right, left = (points[list(eye.corners), :2].mean(0) for eye in (RIGHT_EYE, LEFT_EYE))
    mouth = points[list(MOUTH_CORNERS), :2].mean(0)
    return lean_of(right, left, mouth)


def lean_of(
    right_eye: Points,
    left_eye: Points,
    mouth: Points,
) -> float:
    """How far a face leans clockwise, radians; the mouth counts where the eyes fall together."""
    across = left_eye - right_eye
    down = mouth - (left_eye + right_eye) / 2
    x, y = across[0] + down[1], across[1] - down[0]
    return float(np.arctan2(y, x))


def face_crop(points: Points) -> Crop:
    """The crop around landmarks ``(478, 2+)`` in pixels."""
    angle = lean(points)
    turned = Crop(0, 0, 1, angle)
    flat = turned.inside(points[:MESH_POINTS, :2])
    low, high = flat.min(0), flat.max(0)
    x, y = turned.outside((low + high) / 2).tolist()
    return Crop(x, y, FACE_MARGIN * float((high - low).max()), angle)


def mouth_crop(points: Landmarks, face: Crop) -> Crop:
    """The crop around the lips of landmarks in pixels, upright as the face's crop."""
    x, y = points[list(LIPS), :2].mean(0).tolist()
    return replace(face, x=x, y=y, side=MOUTH_SIDE * face.side)


def eye_crop(points: Landmarks, face: Crop, which: str) -> Crop:
    """The crop around an eye and its brow; that of the left eye (``"L"``) is mirrored."""
    corners = points[list(EYES[which].corners), :2].mean(0)
    x, y = (corners - face.axes()[1] * _EYE_UP * face.side).tolist()
    return replace(face, x=x, y=y, side=EYE_SIDE * face.side, mirrored=which == "L")
