"""Where a face is: its square, whether it can be one, how far two meshes are apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.face.topology import LEFT_EYE, RIGHT_EYE
from mien.face.types import Landmarks

MESH_POINTS: Final = 468
"""Landmarks before the irises."""

SMALLEST_FACE: Final = 20.0
"""Longer side of a face's box, pixels, below which landmarks are guesses."""

_LEAST_EYES: Final = 0.08
"""Eye distance by box size; below it the face is seen from the side or the mesh is folded."""

_LEAST_INSIDE: Final = 0.6
"""Share of the points that must lie in the picture."""


@dataclass(frozen=True, slots=True)
class Square:
    """A square in a picture, pixels: the centre and the length of a side."""

    x: float
    y: float
    side: float

    def near(self, other: Square, reach: float) -> bool:
        """Whether the centres are less than ``reach`` of the larger square apart."""
        return self.distance(other) < reach * max(self.side, other.side)

    def distance(self, other: Square) -> float:
        """Distance of the centres, pixels."""
        return float(np.hypot(self.x - other.x, self.y - other.y))


def face_square(landmarks: Landmarks) -> Square:
    """The square around a face's mesh: centre of its box, longer side of it."""
    points = landmarks[:MESH_POINTS, :2]
    low, high = points.min(0), points.max(0)
    x, y = ((low + high) / 2).tolist()
    return Square(x, y, float((high - low).max()))


def eye_distance(landmarks: Landmarks) -> float:
    """Distance between the middles of the eye corners, pixels."""
    right, left = (landmarks[list(eye.corners), :2].mean(0) for eye in (RIGHT_EYE, LEFT_EYE))
    return float(np.linalg.norm(right - left))


def plausible(landmarks: Landmarks, height: int, width: int) -> bool:
    """Whether landmarks can be a usable face: finite, large enough, inside, not folded."""
    if not np.isfinite(landmarks).all():
        return False
    size = face_square(landmarks).side
    x, y = landmarks[:MESH_POINTS, 0], landmarks[:MESH_POINTS, 1]
    inside = float(((x >= 0) & (x < width) & (y >= 0) & (y < height)).mean())
    return (
        size >= SMALLEST_FACE
        and inside >= _LEAST_INSIDE
        and eye_distance(landmarks) > _LEAST_EYES * size
    )


def mesh_distance(a: Landmarks, b: Landmarks) -> float:
    """Mean distance of two meshes' points, eye distances of ``a``."""
    gap: npt.NDArray[np.float32] = a[:MESH_POINTS, :2] - b[:MESH_POINTS, :2]
    return float(np.linalg.norm(gap, axis=1).mean()) / max(eye_distance(a), 1e-6)
