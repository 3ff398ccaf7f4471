"""The rig: how each action unit moves the face mesh, in the head frame."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.errors import WeightsError
from mien.face.facs import ACTION_UNITS, INDEX, Expression
from mien.face.topology import EYES, Eye
from mien.weights.bundled import open_arrays

Points = npt.NDArray[np.float64]

_OPEN_EYE: Final = 0.06
"""Lid gap, eye distances, from which an eye counts as open."""

_LOWEST_BROW: Final = 0.35
"""Height of the brow over the lid that remains at least, relative to the height at rest."""

_BROW_SHARE: Final = (0.42, 0.88)
"""Weight of the brow in the motion of the two rows above the lid; the rest is the lid's."""

_MOST_WHITE: Final = 0.35
"""White above the iris that a raised lid shows at most, iris radii."""

_LID_UNITS: Final = ("5", "7", "43")
_SMALLEST_EYE: Final = 0.45
"""Fraction of the opening that narrowed eyes keep: only 43 closes them."""

_CLOSING_SHARE: Final = np.array([0.5, 0.58, 0.69, 0.8, 0.87, 0.9, 0.92])
"""How much of a closing eye's opening the upper lid covers, from the outer corner to the inner: at
the outer corner the lids meet halfway."""

_LID_SKIN_SHARE: Final = np.array([0.0, 0.2, 0.45, 0.45, 0.45, 0.45, 0.45])
"""How far the skin above the lid follows; beside the outer corner it stays, or it would fold."""


@lru_cache(maxsize=1)
def fields() -> Points:
    """Load the displacement at strength 1 of every unit, ``float64 (D, 478, 3)``, eye distances.

    Raises:
        WeightsError: when the file is missing, damaged or of another version.
    """
    stored = open_arrays("rig.npz")
    if tuple(stored["names"].tolist()) != ACTION_UNITS:
        raise WeightsError("rig.npz does not fit this version; install mien again.")
    out: Points = stored["fields"].astype(np.float64)
    out.setflags(write=False)
    return out


def _lid_gap(head: Points, eye: Eye) -> Points:
    """Return the opening ``(7,)`` of an eye along its lids."""
    gap: Points = np.abs(head[list(eye.lower_lid), 1] - head[list(eye.upper_lid), 1])
    return gap


def _lids(head: Points, delta: Expression, side: str) -> Points:
    """Compute the motion of one eye's lids, adapted to its opening.

    Raising and tightening fade out while the eye is closed, so that blinks stay blinks; tightening
    never closes it; 43 closes exactly the present opening.
    """
    eye = EYES[side]
    gap = _lid_gap(head, eye)
    openness = float(np.clip((gap.max() - 0.02) / (_OPEN_EYE - 0.02), 0, 1))
    motion = np.zeros_like(head)
    for unit in ("5", "7"):
        motion += fields()[INDEX[unit + side]] * float(delta[INDEX[unit + side]]) * openness
    upper, lower = list(eye.upper_lid), list(eye.lower_lid)
    iris = head[list(eye.iris[1:])]
    radius = float(np.linalg.norm(iris - iris.mean(0), axis=1).mean())
    room = float(head[upper, 1].min() - iris[:, 1].mean()) + (1 + _MOST_WHITE) * radius
    raised = float(-motion[upper, 1].min())
    if raised > max(room, 0.0):
        motion *= max(room, 0.0) / raised
    narrowing = (motion[upper, 1] - motion[lower, 1])[1:6]
    most = (1 - _SMALLEST_EYE) * gap[1:6]
    too_much = narrowing > most
    if too_much.any():
        motion *= float((most[too_much] / narrowing[too_much]).min())
    close = float(np.clip(delta[INDEX["43" + side]], 0, 1))
    if close > 0:
        left = np.maximum(gap - (motion[upper, 1] - motion[lower, 1]), 0)
        motion[upper, 1] += _CLOSING_SHARE * close * left
        motion[lower, 1] -= (1 - _CLOSING_SHARE) * close * left
        motion[list(eye.upper_rows[0]), 1] += _LID_SKIN_SHARE * close * left
        motion[list(eye.upper_rows[1]), 1] += 0.12 * close * left
    return motion


def _fold_lid(head: Points, motion: Points, eye: Eye) -> None:
    """Interpolate the skin between brow and lid, in place, so that it never folds over."""
    brow, lid = list(eye.brow_lower), list(eye.upper_lid)
    by_x = np.argsort(head[lid, 0])
    lid_x = head[lid, 0][by_x]
    lid_y = np.interp(head[brow, 0], lid_x, head[lid, 1][by_x])
    lid_dy = np.interp(head[brow, 0], lid_x, motion[lid, 1][by_x])
    room = np.maximum(lid_y - head[brow, 1], 0.02)
    closer = motion[brow, 1] - lid_dy
    over = np.maximum(closer - (1 - _LOWEST_BROW) * room, 0)
    motion[brow, 1] -= over
    motion[list(eye.brow_upper), 1] -= 0.8 * over
    by_x = np.argsort(head[brow, 0])
    for row, share in zip(eye.upper_rows, _BROW_SHARE, strict=True):
        at = list(row)
        brow_motion = np.stack(
            [np.interp(head[at, 0], head[brow, 0][by_x], motion[brow, k][by_x]) for k in (0, 1)], 1
        )
        lid_motion = motion[lid, :2]
        motion[at, :2] = share * brow_motion + (1 - share) * lid_motion


def displacement(head: Points, delta: Expression) -> Points:
    """Compute how the face moves when its expression changes by ``delta``.

    Args:
        head: landmarks ``(478, 3)`` in the head frame, eye distances.
        delta: ``float32 (D,)`` action units.

    Returns:
        ``float64 (478, 3)``, head frame, eye distances. The irises do not move.
    """
    plain = delta.astype(np.float64)
    for unit in _LID_UNITS:
        for side in EYES:
            plain[INDEX[unit + side]] = 0
    active = np.flatnonzero(plain)
    motion: Points = np.tensordot(plain[active], fields()[active], 1)
    if not active.size:
        motion = np.zeros_like(head)
    for side, eye in EYES.items():
        motion += _lids(head, delta, side)
        _fold_lid(head, motion, eye)
        motion[list(eye.iris)] = 0
    return motion
