"""Speech takes precedence: how far an emotion may change the opening of the mouth."""

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
from mien.utils.numeric import smoothstep

Points = npt.NDArray[np.float64]

CLOSED: Final = 0.02
"""Lip gap, eye distances, below which a mouth counts as closed."""

OPEN: Final = 0.10
"""Lip gap from which the jaw may follow an emotion fully."""

_OPENERS: Final = ("25", "26", "16L", "16R")
_SHAPERS: Final = ("12L", "12R", "14L", "14R", "15L", "15R", "20L", "20R")
_RAISERS: Final = ("10L", "10R")
_TIGHTENERS: Final = ("17", "23", "24")
_WHOLE_LIP: Final = 0.5
"""Fraction of a correction of the gap that moves the whole lip; the rest moves only its edge."""

_GAPE: Final = 0.28
"""Lip gap, eye distances, of a mouth wide open in speech."""

_MOST_OPENING: Final = 0.7
_SPEECH_SHARE: Final = 0.9
_OPEN_DAMPING: Final = 0.2
_NARROWEST, _WIDEST = 0.92, 1.3
_FULL_CHANGE: Final = 0.12
"""Change of the gap, eye distances, at which the factor is largest."""

_OPENING_UNITS: Final = (
    ("25", 1.0), ("26", 1.0), ("16L", 0.5), ("16R", 0.5), ("10L", 0.4), ("10R", 0.4),
)  # fmt: skip
"""How much each unit opens the mouth."""

_SMILE_CLOSES: Final = 0.9
"""Fraction of the lip gap that closes when a smile is removed entirely."""

_CORNER: Final = 0.05
"""Width of the average around a mouth corner, eye distances."""

_CORNER_REACH: Final = 0.075
"""Distance from the corner, eye distances, within which the skin follows that average."""

_UPPER, _LOWER = list(INNER_UPPER), list(INNER_LOWER)


def opening(head: Points) -> float:
    """Return the gap between the middles of the lips, eye distances."""
    return float(np.linalg.norm(head[UPPER_LIP_MIDDLE] - head[LOWER_LIP_MIDDLE]))


def openness(head: Points) -> float:
    """Return 0 for a closed mouth, 1 for a clearly open one, with a smooth transition."""
    return float(smoothstep(float(np.clip((opening(head) - CLOSED) / (OPEN - CLOSED), 0, 1))))


def articulate(head: Points, delta: Expression) -> Expression:
    """Adapt the action units ``delta`` to a speaking mouth.

    Units that open the mouth or raise the lip are scaled by how open it is; units that shape the
    lips are reduced slightly, most in a wide open mouth.
    """
    out = delta.copy()
    share = openness(head)
    # In proportion to the opening: the added motion then follows speech and does not oppose it.
    gape = min(1.0, opening(head) / _GAPE)
    for unit in _OPENERS:
        out[INDEX[unit]] *= _MOST_OPENING * gape * share
    for unit in _RAISERS:
        out[INDEX[unit]] *= _SPEECH_SHARE * gape * share
    for unit in _TIGHTENERS:
        out[INDEX[unit]] *= 1 - 0.6 * share
    for unit in _SHAPERS:
        out[INDEX[unit]] *= _SPEECH_SHARE - _OPEN_DAMPING * share
    return out


def keep_articulation(head: Points, motion: Points) -> Points:
    """Change ``motion`` so that it scales the spoken lip gap by one factor.

    A closed mouth stays closed; an open one opens and closes as before, slightly wider or
    narrower. The factor follows the motion in the middle of the mouth.

    Args:
        head: landmarks ``(478, 3)``, head frame.
        motion: ``(478, 3)``, head frame.
    """
    gap = head[_LOWER, 1] - head[_UPPER, 1]
    asked = motion[_LOWER, 1] - motion[_UPPER, 1]
    # One factor for the whole mouth preserves the shape of the lips.
    change = float(np.clip(asked[3:8].mean() / _FULL_CHANGE, -1, 1))
    factor = 1 + (change * (_WIDEST - 1) if change > 0 else change * (1 - _NARROWEST))
    # Where a closed mouth would open, the lips are pressed together slightly instead.
    pressed = (1 - openness(head)) * float(np.clip(asked[3:8].mean() / 0.03, 0, 1))
    wanted = np.maximum(gap, 0) * (factor * (1 - pressed) - 1)
    return _level_depth(close_gap(motion, wanted - asked))


def _level_depth(motion: Points) -> Points:
    """Move the edges of both lips equally in depth: a closed mouth stays closed in profile."""
    out = motion.copy()
    for row in (2, 3):
        upper, lower = list(UPPER_LIP[row][1:-1]), list(LOWER_LIP[row][1:-1])
        out[upper, 2] = out[lower, 2] = (motion[upper, 2] + motion[lower, 2]) / 2
    return out


def close_gap(motion: Points, change: npt.NDArray[np.float64]) -> Points:
    """Add ``change`` ``(11,)`` to the motion of the lip gap, spread over the rows of both lips."""
    out = motion.copy()
    for row in range(4):
        share = (_WHOLE_LIP + (1 - _WHOLE_LIP) * (row / 3) ** 0.7) / 2
        out[list(UPPER_LIP[row][1:-1]), 1] -= change[1:-1] * share
        out[list(LOWER_LIP[row][1:-1]), 1] += change[1:-1] * share
    return out


def steady_corners(head: Points, motion: Points) -> Points:
    """Average the motion of the skin around the mouth corners, so that it does not fold.

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
    """Adapt ``motion`` to a still image.

    Only units that open the mouth open it. Removing a smile closes the lips; they may meet but
    never overlap.
    """
    gap = np.maximum(head[_LOWER, 1] - head[_UPPER, 1], 0)
    asked = motion[_LOWER, 1] - motion[_UPPER, 1]
    opens = sum(float(delta[INDEX[unit]]) * share for unit, share in _OPENING_UNITS)
    asked -= (surplus := np.maximum(asked, 0) * (1 - float(np.clip(opens / 0.2, 0, 1))))
    lost = float(np.clip(-(delta[INDEX["12L"]] + delta[INDEX["12R"]]) / 2, 0, 1))
    change = -_SMILE_CLOSES * lost * gap
    return close_gap(motion, np.maximum(change, -gap - asked) - surplus)
