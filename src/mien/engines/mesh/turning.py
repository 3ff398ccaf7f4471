"""Small turns of a whole head in a single picture: in three dimensions, hair and neck in tow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.engines.mesh.layout import RING_SIZE, layout
from mien.engines.mesh.warp import motion_field, region_of, smooth_kinks, warp
from mien.face.pose import HeadPose
from mien.face.topology import EYES, INNER_LOWER, INNER_UPPER, LANDMARK_COUNT, OVAL
from mien.media.frame import RGBImage

Points = npt.NDArray[np.float64]

_RINGS: Final = (1.0, 0.9, 0.55, 0.0)
"""How much of the head's turn each ring beyond the oval still makes: hair is part of the head."""

_NECK: Final = (0.8, 0.5, 0.2, 0.0)
"""The same below the chin, where the neck stays."""

_GRID: Final = 128
"""Longest side of the grid that a turn is computed on: it is smooth."""

_SMOOTH: Final = 0.012
"""Spread of the smoothing, sides of that grid: no crease of the mesh shows."""

_PIVOT: Final = np.array([0.0, 1.75, 0.9])
"""What the head turns about: the top of the neck, eye distances in the head frame."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A small turn of the head against the picture's own.

    Attributes:
        yaw: to the picture's right, radians.
        pitch: down, radians.
        roll: clockwise, radians.
        rise: upwards, eye distances.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    rise: float = 0.0

    def matrix(self) -> Points:
        """Rotation ``(3, 3)`` in the head frame (x right, y down, z away)."""
        (sy, cy), (sp, cp), (sr, cr) = (
            (np.sin(v), np.cos(v)) for v in (self.yaw, self.pitch, self.roll)
        )
        yaw = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
        pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        out: Points = roll @ pitch @ yaw
        return out


def turn_head(image: RGBImage, points: Points, pose: HeadPose, turn: Turn) -> RGBImage:
    """Draw a picture with its head turned a little.

    Args:
        image: ``uint8 (H, W, 3)``; not changed.
        points: landmarks ``(478, 3)`` in ``image``, pixels.
        pose: of the head in ``image``.
        turn: by how much.
    """
    head = pose.to_head(points)
    turned = (head - _PIVOT) @ turn.matrix().T + _PIVOT - np.array([0, turn.rise, 0])
    moves = pose.rotate(turned - head)
    if not np.abs(moves[:, :2]).max() > 0.05:
        return image
    vertices, vertex_moves = _rigid(points, moves)
    region = region_of(np.concatenate([vertices, vertices + vertex_moves]), image.shape, _GRID)
    if region is None:
        return image
    depth = np.full(len(vertices), float(points[:, 2].mean()))
    depth[:LANDMARK_COUNT] = points[:, 2] + moves[:, 2]
    field = motion_field(layout(), vertices, vertex_moves, depth, region)
    columns, rows = region.grid_size
    field = smooth_kinks(field, np.zeros((rows, columns), np.float32))
    field = cv2.GaussianBlur(field, (0, 0), _SMOOTH * max(columns, rows))
    out = image.copy()
    out[region.window] = warp(image, field, region)
    return out


def _rigid(points: Points, moves: Points) -> tuple[Points, Points]:
    """Vertices of the whole mesh and how they move with the head."""
    mesh, oval = layout(), list(OVAL)
    vertices, shifts = np.zeros((mesh.size, 2)), np.zeros((mesh.size, 2))
    vertices[:LANDMARK_COUNT], shifts[:LANDMARK_COUNT] = points[:, :2], moves[:, :2]
    centre = points[oval, :2].mean(0)
    away = points[oval, :2] - centre
    chin = points[152, :2] - points[10, :2]
    down = away @ chin / (np.linalg.norm(away, axis=1) * np.linalg.norm(chin) + 1e-9)
    below = np.clip((down - 0.4) / 0.5, 0, 1)[:, None]
    start = LANDMARK_COUNT
    for size, hair, neck in zip(RING_SIZE, _RINGS, _NECK, strict=True):
        vertices[start : start + len(oval)] = centre + away * size
        shifts[start : start + len(oval)] = moves[oval, :2] * (hair + (neck - hair) * below)
        start += len(oval)
    rows = [(mesh.eye_middles[side], eye.upper_lid, eye.lower_lid) for side, eye in EYES.items()]
    rows.append((mesh.mouth_middles, INNER_UPPER[1:-1], INNER_LOWER[1:-1]))
    for at, upper, lower in rows:
        both = [list(upper), list(lower)]
        vertices[at : at + len(upper)] = np.mean([points[row, :2] for row in both], 0)
        shifts[at : at + len(upper)] = np.mean([moves[row, :2] for row in both], 0)
    return vertices, shifts
