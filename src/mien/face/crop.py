"""Measures of a face in an image, and the upright square crops that the landmark nets take.

Image coordinates are continuous: the first pixel covers 0 to 1. A crop has its own coordinates, in
sides of the crop with the origin in the middle: the crop covers -0.5 .. 0.5, z has the same unit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.face.topology import (
    EYES,
    LEFT_EYE,
    LIPS,
    MESH_POINTS,
    MOUTH_CORNERS,
    RIGHT_EYE,
    Landmarks,
)
from mien.media.frame import Box, Image, RGBImage, as_picture, to_8_bits

Points = npt.NDArray[np.floating[Any]]

FACE_MARGIN: Final = 1.4
"""Side of a face's crop, in sizes of the face."""

MOUTH_SIDE: Final = 0.44
EYE_SIDE: Final = 0.33
"""Sides of the mouth's and an eye's crop, in sides of the face's crop."""

_EYE_RAISE: Final = 0.05
"""How far above the eye its crop is centred (to include the brow), in sides of the face's crop."""

_SPEECH_SIDE: Final = 1.3
_SPEECH_DROP: Final = 0.12
_SPEECH_FRAMES: Final = 5
"""Side of the crop of mouth and chin, and how far below the mouth it is centred, in distances from
eye to eye or from eyes to mouth; frames over which it is smoothed."""

_MIN_FACE_PIXELS: Final = 20.0
"""Longer side of a face's box below which landmarks are guesses."""

_MIN_EYE_DISTANCE: Final = 0.08
"""Eye distance relative to the box; below it the face is in profile or the mesh is folded."""

_MIN_INSIDE: Final = 0.6
"""Fraction of the points that must lie within the image."""


@dataclass(frozen=True, slots=True)
class Square:
    """A square in an image: centre and side, pixels."""

    x: float
    y: float
    side: float

    def box(self) -> Box:
        """Return the box of all pixels it touches."""
        half = self.side / 2
        return Box.around(np.array([[self.x, self.y]]), half)

    def near(self, other: Square, reach: float) -> bool:
        """Whether the centres are less than ``reach`` sides of the larger square apart."""
        distance = float(np.hypot(self.x - other.x, self.y - other.y))
        return distance < reach * max(self.side, other.side)


def face_square(landmarks: Landmarks) -> Square:
    """Return the square around the face mesh: centre of its box, longer side of the box."""
    points = landmarks[:MESH_POINTS, :2]
    low, high = points.min(0), points.max(0)
    x, y = ((low + high) / 2).tolist()
    return Square(x, y, float((high - low).max()))


def eye_distance(landmarks: Landmarks) -> float:
    """Return the distance between the eye centres, pixels."""
    right, left = _eye_centres(landmarks)
    return float(np.linalg.norm(right - left))


def is_plausible(landmarks: Landmarks, height: int, width: int) -> bool:
    """Return whether landmarks are finite, large enough, inside the image and not folded."""
    if not np.isfinite(landmarks).all():
        return False
    size = face_square(landmarks).side
    x, y = landmarks[:MESH_POINTS, 0], landmarks[:MESH_POINTS, 1]
    inside = float(((x >= 0) & (x < width) & (y >= 0) & (y < height)).mean())
    return (
        size >= _MIN_FACE_PIXELS
        and inside >= _MIN_INSIDE
        and eye_distance(landmarks) > _MIN_EYE_DISTANCE * size
    )


def mesh_distance(a: Landmarks, b: Landmarks) -> float:
    """Return the mean distance between corresponding points, in eye distances of ``a``."""
    gap: npt.NDArray[np.float32] = a[:MESH_POINTS, :2] - b[:MESH_POINTS, :2]
    return float(np.linalg.norm(gap, axis=1).mean()) / max(eye_distance(a), 1e-6)


def roll_angle(landmarks: Points) -> float:
    """Return the in-plane rotation of a face ``(478, 2+)``, radians clockwise."""
    return roll_from(*_eye_centres(landmarks), landmarks[list(MOUTH_CORNERS), :2].mean(0))


def roll_from(right_eye: Points, left_eye: Points, mouth: Points) -> float:
    """Return the in-plane rotation, radians clockwise; works where the eyes coincide, too."""
    across = left_eye - right_eye
    down = mouth - (left_eye + right_eye) / 2
    x, y = across[0] + down[1], across[1] - down[0]
    return float(np.arctan2(y, x))


def _eye_centres(points: Points) -> tuple[Points, Points]:
    right, left = (points[list(eye.corners), :2].mean(0) for eye in (RIGHT_EYE, LEFT_EYE))
    return right, left


@dataclass(frozen=True, slots=True)
class Crop:
    """A rotated square of an image.

    Attributes:
        x, y: centre, pixels of the image.
        side: pixels of the image.
        angle: clockwise rotation, radians.
        mirrored: whether the crop's x axis is reversed.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0
    mirrored: bool = False

    def axes(self) -> npt.NDArray[np.float64]:
        """Return the directions of the crop's axes in the image, rows of ``float64 (2, 2)``."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        flip = -1.0 if self.mirrored else 1.0
        return np.array([[flip * c, flip * s], [-s, c]])

    def to_crop(self, points: Points) -> npt.NDArray[np.float32]:
        """Convert points ``(..., 2 or 3)`` from image pixels to the crop's coordinates."""
        out = np.array(points, np.float64)
        out[..., :2] = (out[..., :2] - (self.x, self.y)) @ self.axes().T
        return (out / self.side).astype(np.float32)

    def to_image(self, points: Points) -> npt.NDArray[np.float32]:
        """Convert points ``(..., 2 or 3)`` from the crop's coordinates to image pixels."""
        out = np.array(points, np.float64) * self.side
        out[..., :2] = out[..., :2] @ self.axes() + (self.x, self.y)
        return out.astype(np.float32)

    def matrix(self, pixels: int) -> npt.NDArray[np.float64]:
        """Return OpenCV's affine matrix from the image to a crop of ``pixels``, ``(2, 3)``."""
        turn = self.axes() * (pixels / self.side)
        # OpenCV puts integers on the centres of pixels.
        shift = turn @ (0.5 - np.array([self.x, self.y])) + pixels / 2 - 0.5
        return np.hstack([turn, shift[:, None]])

    def cut(self, image: Image, pixels: int, *, replicate_edges: bool = False) -> RGBImage:
        """Return the crop as ``uint8 (pixels, pixels, 3)``.

        Outside the image it is black, or with ``replicate_edges`` repeats the image's border.
        """
        stride, factor = _downscaling(int(self.side / (1.5 * pixels)))
        reach = self.side * (abs(np.cos(self.angle)) + abs(np.sin(self.angle))) / 2 + 2 * factor
        picture = as_picture(image)
        left, top = max(0, int(self.x - reach)), max(0, int(self.y - reach))
        right = min(picture.width, int(self.x + reach) + 1)
        bottom = min(picture.height, int(self.y + reach) + 1)
        columns, rows = (right - left) // factor, (bottom - top) // factor
        if columns < 1 or rows < 1:
            return np.zeros((pixels, pixels, 3), np.uint8)
        whole = picture.read(Box(left, top, right, bottom))
        first = stride // 2
        window = to_8_bits(whole[first : rows * factor : stride, first : columns * factor : stride])
        if factor > 1:
            window = cv2.resize(window, (columns, rows), interpolation=cv2.INTER_AREA)
        crop = replace(
            self,
            x=(self.x - left) / factor,
            y=(self.y - top) / factor,
            side=self.side / factor,
        )
        border = cv2.BORDER_REPLICATE if replicate_edges else cv2.BORDER_CONSTANT
        return cv2.warpAffine(window, crop.matrix(pixels), (pixels, pixels), borderMode=border)


def _downscaling(wanted: int) -> tuple[int, int]:
    """Return the stride at which pixels are read and the downscale factor, about ``wanted``.

    Reading every pixel of a face 3000 pixels wide would take longer than finding its landmarks.
    Strides are odd and three or more samples make a pixel, so that even a pattern of single pixels
    averages out.
    """
    if wanted < 9:
        return 1, max(1, wanted)
    stride = (wanted // 3 - 1) // 2 * 2 + 1
    return stride, wanted // stride * stride


def face_crop(points: Points) -> Crop:
    """Return the upright crop around landmarks ``(478, 2+)`` in pixels."""
    angle = roll_angle(points)
    frame = Crop(0, 0, 1, angle)
    upright = frame.to_crop(points[:MESH_POINTS, :2])
    low, high = upright.min(0), upright.max(0)
    x, y = frame.to_image((low + high) / 2).tolist()
    return Crop(x, y, FACE_MARGIN * float((high - low).max()), angle)


def mouth_crop(points: Landmarks, face: Crop) -> Crop:
    """Return the crop around the lips, rotated like the face's crop ``face``."""
    x, y = points[list(LIPS), :2].mean(0).tolist()
    return replace(face, x=x, y=y, side=MOUTH_SIDE * face.side)


def eye_crop(points: Landmarks, face: Crop, side: str) -> Crop:
    """Return the crop around an eye and its brow; that of the left eye (``"L"``) is mirrored."""
    corners = points[list(EYES[side].corners), :2].mean(0)
    x, y = (corners - face.axes()[1] * _EYE_RAISE * face.side).tolist()
    return replace(face, x=x, y=y, side=EYE_SIDE * face.side, mirrored=side == "L")


def speech_crops(points: Points) -> list[Crop]:
    """Return the upright crops around mouth and chin of a face ``(T, 478, 2+)``, frame by frame.

    They follow the head, not the jaw, and are smoothed over five frames.
    """
    rows = []
    for frame in points:
        right, left = _eye_centres(frame)
        mouth = frame[list(MOUTH_CORNERS), :2].mean(0)
        down = mouth - (left + right) / 2
        size = max(float(np.linalg.norm(left - right)), float(np.linalg.norm(down)))
        rows.append([*(mouth + _SPEECH_DROP * down), _SPEECH_SIDE * size, roll_angle(frame)])
    values = np.array(rows, np.float64).reshape(-1, 4)
    values[:, 3] = np.unwrap(values[:, 3])
    kernel = np.full((_SPEECH_FRAMES, 1), 1 / _SPEECH_FRAMES)
    smooth = cv2.filter2D(values, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    return [Crop(*row) for row in smooth.tolist()]
