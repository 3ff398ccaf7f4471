"""A person's own resting expression, and what to take away of it before a new one is added."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.engines.base import Motion
from mien.facs import INDEX, UNIT_AND_SIDE, Expression

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


def removal(baseline: Expression, target: Expression) -> Expression:
    """What to subtract: the resting expression that contradicts, or adds to, ``target``.

    Args:
        baseline: the person's resting expression, ``float32 (D,)``.
        target: the expression asked for, ``float32 (D,)``.

    Returns:
        ``float32 (D,)``. Per unit at most the baseline. Where ``target`` asks for the same unit,
        only what goes beyond is kept (a smile that is there already is not doubled).
    """
    own = np.maximum(baseline - _FLOOR, 0) / (1 - _FLOOR) * _resting()
    out: Expression = own.astype(np.float32)
    lips_open = INDEX["12L"], INDEX["12R"]
    for i in lips_open:
        out[i] = min(float(out[i]), 0.9)
    return out
