"""Speech comes first: what an emotion may do to the opening of the mouth."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from mien.face.facs import INDEX, Expression
from mien.face.topology import (
    INNER_LOWER,
    INNER_UPPER,
    LOWER_LIP,
    LOWER_LIP_MIDDLE,
    MOUTH_CORNERS,
    UPPER_LIP,
    UPPER_LIP_MIDDLE,
)

Points = npt.NDArray[np.float64]

CLOSED: Final = 0.02
"""Lip gap, eye distances, below which a mouth counts as closed."""

OPEN: Final = 0.10
"""Lip gap from which the jaw may follow an emotion fully."""

_OPENERS: Final = ("25", "26", "16L", "16R")
_SHAPERS: Final = ("12L", "12R", "14L", "14R", "15L", "15R", "20L", "20R")
_RAISERS: Final = ("10L", "10R")
_TIGHTENERS: Final = ("17", "23", "24")
_CLOSED_RAISE: Final = 0.1
"""Share of the upper lip's rise that a closed mouth allows: more would draw the lips apart."""

_WHOLE_LIP: Final = 0.5
"""How much of a correction of the gap moves the whole lip; the rest moves its edge alone."""

_GAPE: Final = 0.28
"""Lip gap, eye distances, of a mouth that is wide open in speech."""

_MOST_OPENING: Final = 0.7
_SPEECH_SHARE: Final = 0.9
_OPEN_DAMPING: Final = 0.2
_NARROWEST, _WIDEST = 0.92, 1.3
_FULL_CHANGE: Final = 0.12
"""Change of the gap, eye distances, that asks for the widest mouth."""

_OPENING_WISH: Final = (
    ("25", 1.0), ("26", 1.0), ("16L", 0.5), ("16R", 0.5), ("10L", 0.4), ("10R", 0.4),
)  # fmt: skip
"""How much each unit means the mouth to open."""

_SMILE_CLOSES: Final = 0.9
"""Share of a smile's lip gap that goes when the whole smile goes."""

_CORNER: Final = 0.05
"""Spread of the average around a mouth's corner, eye distances."""

_CORNER_REACH: Final = 0.075
"""How far around the corner the skin follows that average."""

_UPPER, _LOWER = list(INNER_UPPER), list(INNER_LOWER)


def opening(head: Points) -> float:
    """Gap between the lips' middles, eye distances."""
    return float(np.linalg.norm(head[UPPER_LIP_MIDDLE] - head[LOWER_LIP_MIDDLE]))


def openness(head: Points) -> float:
    """0 for a closed mouth, 1 for one that is clearly open, smooth between."""
    t = float(np.clip((opening(head) - CLOSED) / (OPEN - CLOSED), 0, 1))
    return t * t * (3 - 2 * t)


def articulate(head: Points, delta: Expression) -> Expression:
    """``delta`` as it fits a mouth that speaks.

    Units that open it are scaled by how open it really is; units that shape the lips give way a
    little to articulation, most in a wide open mouth.
    """
    out = delta.copy()
    share = openness(head)
    # In proportion to the opening: what is added then moves with speech and not against it.
    gape = min(1.0, opening(head) / _GAPE)
    for unit in _OPENERS:
        out[INDEX[unit]] *= _MOST_OPENING * gape
    for unit in _RAISERS:
        out[INDEX[unit]] *= _CLOSED_RAISE + (_SPEECH_SHARE - _CLOSED_RAISE) * gape
    for unit in _TIGHTENERS:
        out[INDEX[unit]] *= 1 - 0.6 * share
    for unit in _SHAPERS:
        out[INDEX[unit]] *= _SPEECH_SHARE - _OPEN_DAMPING * share
    return out


def keep_articulation(head: Points, motion: Points) -> Points:
    """Motion whose lip gap is the spoken one times a steady factor.

    A closed mouth stays closed and an open one opens and shuts as it did, a little wider or
    narrower. The factor follows what ``motion`` asked for in the middle of the mouth.

    Args:
        head: landmarks ``(478, 3)``, head frame.
        motion: ``(478, 3)``, head frame.
    """
    gap = head[_LOWER, 1] - head[_UPPER, 1]
    asked = motion[_LOWER, 1] - motion[_UPPER, 1]
    # The request in the middle decides for the whole mouth: one factor keeps the lips' shape.
    change = float(np.clip(asked[3:8].mean() / _FULL_CHANGE, -1, 1))
    factor = 1 + (change * (_WIDEST - 1) if change > 0 else change * (1 - _NARROWEST))
    # A closed mouth that is asked to open presses its lips a little instead.
    pressed = (1 - openness(head)) * float(np.clip(asked[3:8].mean() / 0.03, 0, 1))
    wanted = np.maximum(gap, 0) * (factor * (1 - pressed) - 1)
    return _level_depth(close_gap(motion, wanted - asked))


def _level_depth(motion: Points) -> Points:
    """Both lips' edges move equally in depth: seen from the side, a closed mouth stays closed."""
    out = motion.copy()
    for row in (2, 3):
        upper, lower = list(UPPER_LIP[row][1:-1]), list(LOWER_LIP[row][1:-1])
        out[upper, 2] = out[lower, 2] = (motion[upper, 2] + motion[lower, 2]) / 2
    return out


def close_gap(motion: Points, change: npt.NDArray[np.float64]) -> Points:
    """Add ``change`` ``(11,)`` to the lip gap's motion, spread over the rows of both lips."""
    out = motion.copy()
    for row in range(4):
        share = (_WHOLE_LIP + (1 - _WHOLE_LIP) * (row / 3) ** 0.7) / 2
        out[list(UPPER_LIP[row][1:-1]), 1] -= change[1:-1] * share
        out[list(LOWER_LIP[row][1:-1]), 1] += change[1:-1] * share
    return out


def steady_corners(head: Points, motion: Points) -> Points:
    """Motion in which the skin around the mouth's corners moves as one, without folding.

    Args:
        head: landmarks ``(478, 3)``, head frame.
        motion: ``(478, 3)``, head frame.
    """
    out = motion.copy()
    for corner in MOUTH_CORNERS:
        away = np.linalg.norm(head[:, :2] - head[corner, :2], axis=1)
        near = np.exp(-((away / _CORNER) ** 2))
        mean = near @ motion / near.sum()
        out += np.exp(-((away / _CORNER_REACH) ** 2))[:, None] * (mean - motion)
    return out


def settle_still(head: Points, motion: Points, delta: Expression) -> Points:
    """Motion for a single picture.

    Only units that open the mouth open it. A smile that is taken away takes its open lips along;
    the lips may meet but never pass through each other.
    """
    gap = np.maximum(head[_LOWER, 1] - head[_UPPER, 1], 0)
    asked = motion[_LOWER, 1] - motion[_UPPER, 1]
    wish = sum(float(delta[INDEX[unit]]) * share for unit, share in _OPENING_WISH)
    asked -= (surplus := np.maximum(asked, 0) * (1 - float(np.clip(wish / 0.2, 0, 1))))
    lost = float(np.clip(-(delta[INDEX["12L"]] + delta[INDEX["12R"]]) / 2, 0, 1))
    change = -_SMILE_CLOSES * lost * gap
    return close_gap(motion, np.maximum(change, -gap - asked) - surplus)
