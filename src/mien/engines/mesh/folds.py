"""Keep the mesh from folding: displacements under which no visible triangle turns over."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.engines.mesh.warp import Points, warp_mesh
from mien.face.topology import EYES, LANDMARK_COUNT, canonical_face

_KEEP: Final = 0.12
"""Fraction of its area that a triangle keeps at least."""

_RIGID: Final = 1e-3
"""Difference of motion within a triangle, pixels, under which it is not looked at."""

_ROUNDS: Final = 12
_STEP: Final = 0.8
_REACHES: Final = (0.05, 0.08, 0.12, 0.17, 0.24)
"""Distances over which motion is smoothed where it still folds, eye distances."""

_LIDS: Final = [point for eye in EYES.values() for point in (*eye.upper_lid, *eye.lower_lid)]
"""Points that keep their motion while anything else can give way: lids must meet in a blink."""

Triangles = npt.NDArray[np.intp]


@lru_cache(maxsize=1)
def _skin() -> tuple[Triangles, npt.NDArray[np.float64]]:
    """Return the skin's triangles ``(T, 3)`` and their orientation in a frontal face, +1 or -1."""
    mesh = warp_mesh()
    triangles = mesh.triangles[mesh.layer == 0].astype(np.intp)
    return triangles, np.sign(signed_areas(canonical_face().points[:, :2], triangles))


def signed_areas(points: Points, triangles: Triangles) -> npt.NDArray[np.float64]:
    """Return twice the signed area of every triangle ``(T, 3)`` of ``points`` ``(V, 2)``."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    ab, ac = b - a, c - a
    out: npt.NDArray[np.float64] = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    return out


def count_folds(points: Points, moves: Points) -> int:
    """Return how many visible triangles of the skin a motion turns over."""
    triangles, orientation = _skin()
    before = signed_areas(points, triangles) * orientation
    after = signed_areas(points + moves, triangles) * orientation
    return int(((before > 0) & (after <= 0)).sum())


def unfold(points: Points, moves: Points, scale: float) -> Points:
    """Return a motion near ``moves`` under which no visible triangle of the skin folds.

    Where a triangle would turn over or collapse, its corners are made to move more alike; where
    that is not enough, the motion around it is smoothed, over a growing reach.

    Args:
        points: vertices of the warped mesh, ``(V, 2)`` pixels.
        moves: their motion, ``(V, 2)`` pixels; not changed.
        scale: pixels per eye distance.
    """
    triangles, orientation = _skin()
    before = signed_areas(points, triangles) * orientation
    # Of those that do not deform there are many, and they cannot fold.
    corners = moves[triangles]
    deformed = (np.abs(corners - corners[:, :1]).max((1, 2)) > _RIGID) & (before > 0)
    triangles, orientation, least = (
        part[deformed] for part in (triangles, orientation, _KEEP * before)
    )
    corners = points[triangles]
    side, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]

    def folded(motion: Points) -> npt.NDArray[np.bool_]:
        moved = motion[triangles]
        a, b = side + moved[:, 1] - moved[:, 0], other + moved[:, 2] - moved[:, 0]
        return (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) * orientation < least

    out = moves.copy()
    for reach in (*_REACHES, 0.0):
        for _ in range(_ROUNDS):
            bad = folded(out)
            if not bad.any():
                return out
            _even(out, triangles[bad], _LIDS if reach else [])
        if reach:
            _smooth(points, out, np.unique(triangles[bad]), reach * scale)
    return out


def _even(moves: Points, triangles: Triangles, held: list[int]) -> None:
    """Draw the motion of every triangle's corners towards their mean, in place; not of ``held``."""
    flat, mean = triangles.ravel(), moves[triangles].mean(1).repeat(3, 0)
    count = np.bincount(flat, minlength=len(moves))
    total = np.stack([np.bincount(flat, mean[:, k], len(moves)) for k in (0, 1)], 1)
    chosen = count > 0
    chosen[held] = False
    moves[chosen] += _STEP * (total[chosen] / count[chosen, None] - moves[chosen])


def _smooth(points: Points, moves: Points, folded: Triangles, reach: float) -> None:
    """Average the motion over ``reach`` pixels around folded vertices, in place."""
    skin = points[:LANDMARK_COUNT]
    away = np.linalg.norm(skin[:, None] - points[folded][None], axis=2).min(1)
    share = np.exp(-((away / (1.5 * reach)) ** 2))
    share[_LIDS] = 0
    near = np.flatnonzero(share > 0.02)
    apart = np.linalg.norm(skin[near][:, None] - skin[None], axis=2)
    kernel = np.exp(-((apart / reach) ** 2))
    mean = kernel @ moves[:LANDMARK_COUNT] / kernel.sum(1, keepdims=True)
    moves[near] += share[near, None] * (mean - moves[near])
