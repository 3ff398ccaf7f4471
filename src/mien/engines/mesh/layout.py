"""The mesh that is warped: the face, fading rings around it, fillings of eyes and mouth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.face.topology import EYES, INNER_LOWER, INNER_UPPER, LANDMARK_COUNT, OVAL, canonical_face

Points = npt.NDArray[np.float64]

RING_SIZE: Final = (1.12, 1.32, 1.62, 2.1)
"""Radius of each ring, in radii of the face oval."""

RING_MOTION: Final = (0.65, 0.30, 0.08, 0.0)
"""How much of the oval's motion each ring still makes."""

_ASIDE: Final = 0.7
"""How far the middle of an opening may lag sideways, in heights of the opening."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Topology of the warped mesh.

    Vertices: 478 landmarks, then four rings of 36, then seven middles per eye, nine of the mouth.

    Attributes:
        triangles: ``int32 (T, 3)``.
        layer: ``float64 (T,)``: +inf behind the face (rings), -inf in front (fillings), 0 by depth.
        eye_middles: first vertex of each eye's middle row, by side.
        mouth_middles: first vertex of the mouth's middle row.
        size: number of vertices.
    """

    triangles: npt.NDArray[np.int32]
    layer: Points
    eye_middles: dict[str, int]
    mouth_middles: int
    size: int


def _strip(a: list[int], b: list[int]) -> list[tuple[int, int, int]]:
    """Triangles between two rows of equal length; where the rows meet they degenerate."""
    out = []
    for i in range(len(a) - 1):
        for t in ((a[i], a[i + 1], b[i]), (a[i + 1], b[i + 1], b[i])):
            if len(set(t)) == 3:
                out.append(t)
    return out


@lru_cache(maxsize=1)
def layout() -> Layout:
    """Build the mesh (once)."""
    rings: list[tuple[int, int, int]] = []
    count = len(OVAL)
    previous = [*OVAL, OVAL[0]]
    for r in range(len(RING_SIZE)):
        start = LANDMARK_COUNT + r * count
        ring = [*range(start, start + count), start]
        rings += _strip(previous, ring)
        previous = ring
    vertex = LANDMARK_COUNT + len(RING_SIZE) * count
    fill: list[tuple[int, int, int]] = []
    eye_middles = {}
    for side, eye in EYES.items():
        eye_middles[side] = vertex
        middle = [eye.corners[0], *range(vertex, vertex + 7), eye.corners[1]]
        vertex += 7
        fill += _strip([eye.corners[0], *eye.upper_lid, eye.corners[1]], middle)
        fill += _strip(middle, [eye.corners[0], *eye.lower_lid, eye.corners[1]])
    mouth_middles = vertex
    middle = [INNER_UPPER[0], *range(vertex, vertex + 9), INNER_UPPER[-1]]
    vertex += 9
    fill += _strip(list(INNER_UPPER), middle) + _strip(middle, list(INNER_LOWER))
    skin = canonical_face().triangles
    layer = np.concatenate(
        [np.full(len(rings), np.inf), np.zeros(len(skin)), np.full(len(fill), -np.inf)]
    )
    triangles = np.concatenate([np.array(rings, np.int32), skin, np.array(fill, np.int32)])
    return Layout(triangles, layer, eye_middles, mouth_middles, vertex)


def extend(landmarks: Points, motion: Points) -> tuple[Points, Points]:
    """Vertices and their motion for the whole mesh.

    Args:
        landmarks: ``(478, 3)`` pixels.
        motion: ``(478, 2)`` pixels, how each landmark moves.

    Returns:
        Vertices ``(V, 2)`` and motions ``(V, 2)``. The middles of the eyes stay (the eyeball does
        not move with the lids); those of the mouth stay too, more so away from the corners: teeth
        keep their place and their shape while the lips slide over them.
    """
    mesh = layout()
    oval = list(OVAL)
    points = np.empty((mesh.size, 2))
    moves = np.zeros((mesh.size, 2))
    points[:LANDMARK_COUNT], moves[:LANDMARK_COUNT] = landmarks[:, :2], motion
    center = landmarks[oval, :2].mean(0)
    start = LANDMARK_COUNT
    for size, share in zip(RING_SIZE, RING_MOTION, strict=True):
        points[start : start + len(oval)] = center + (landmarks[oval, :2] - center) * size
        moves[start : start + len(oval)] = motion[oval] * share
        start += len(oval)
    for side, eye in EYES.items():
        at = mesh.eye_middles[side]
        middle, move = _between(landmarks, motion, eye.upper_lid, eye.lower_lid, np.zeros((7, 2)))
        points[at : at + 7], moves[at : at + 7] = middle, move
    upper, lower = INNER_UPPER[1:-1], INNER_LOWER[1:-1]
    to_corner = np.abs(np.linspace(-1, 1, 11)[1:-1])[:, None] ** 3
    with_lips = (motion[list(upper)] + motion[list(lower)]) / 2 * to_corner
    at = mesh.mouth_middles
    points[at : at + 9], moves[at : at + 9] = _between(landmarks, motion, upper, lower, with_lips)
    return points, moves


def _between(
    landmarks: Points, motion: Points, upper: Sequence[int], lower: Sequence[int], wish: Points
) -> tuple[Points, Points]:
    """Middles of an opening and their motion: ``wish``, as far as it stays between the edges."""
    top, bottom = landmarks[list(upper), :2], landmarks[list(lower), :2]
    middle = (top + bottom) / 2
    new_top = top + motion[list(upper)]
    opening = bottom + motion[list(lower)] - new_top
    length = np.maximum(np.linalg.norm(opening, axis=1, keepdims=True), 1e-3)
    wanted = middle + wish - new_top
    along = (wanted * opening).sum(1, keepdims=True) / length**2
    aside = wanted - along * opening
    reach = _ASIDE * length / np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-6)
    aside *= np.minimum(reach, 1)
    return middle, new_top + np.clip(along, 0.1, 0.9) * opening + aside - middle
