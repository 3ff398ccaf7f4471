"""A person's own resting expression, and what to take away of it before a new one is added."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.engines.motion import Motion
from mien.face.facs import INDEX, UNIT_AND_SIDE, Expression

_FLOOR: Final = 0.12
"""Readings up to this are the person's shape rather than an expression."""

_NOT_EXPRESSION: Final = (
    "5",
    "7",
    "16",
    "17",
    "18",
    "23",
    "24",
    "25",
    "26",
    "43",
    "10",
    "14",
    "20",
)
"""Units that speech and blinks move all the time or whose reading is mostly shape: left alone."""

_SMILE_GAIN: Final = 1.3
"""A reading of 1 is less than the whole of a broad smile."""


class Baseline:
    """Running median of a face's action units over the last frames seen.

    ``capacity``: how many frames it remembers (memory does not grow beyond).
    """

    def __init__(self, capacity: int = 128) -> None:
        self._seen: deque[Expression] = deque(maxlen=capacity)

    def observe(self, motion: Motion) -> None:
        """Add one frame's reading."""
        self._seen.append(motion.expression)

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def expression(self) -> Expression:
        """Median of what was seen, ``float32 (D,)``; zeros before the first frame."""
        if not self._seen:
            return np.zeros(len(UNIT_AND_SIDE), np.float32)
        return np.median(np.stack(self._seen), axis=0).astype(np.float32)


def _resting() -> npt.NDArray[np.float32]:
    return np.array([unit not in _NOT_EXPRESSION for unit, _ in UNIT_AND_SIDE], np.float32)


def removal(baseline: Expression) -> Expression:
    """What to subtract from a face so that it comes to rest before a new expression is added.

    Args:
        baseline: the person's resting expression, ``float32 (D,)``.

    Returns:
        ``float32 (D,)``, 0..1. Units that speech moves are left alone. A smile counts in full, so
        that one that is there already is replaced by the smile asked for and not doubled.
    """
    own = np.maximum(baseline - _FLOOR, 0) / (1 - _FLOOR) * _resting()
    for corner in ("12L", "12R"):
        own[INDEX[corner]] *= _SMILE_GAIN
    return np.minimum(own, 1).astype(np.float32)
