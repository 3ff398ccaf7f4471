"""The course of a voice's emotion: the whole voice first, its moments second.

Two seconds of a voice are read far less surely than all of it. So the reading of a whole voice, or
of each part where it really changes, sets the emotion, and moments only move around it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

MODULATION: Final = 0.12
"""How far a moment moves from the voice around it towards its own reading."""

_CHANGE: Final = 4.0
"""Log odds that a new emotion must gain over the old one before it counts as a change."""

_SHORTEST: Final = 3
"""Seconds that a part must last: neighbouring seconds are read from the same sound in part."""

_LEAST: Final = 0.02
"""Probabilities count as at least this, so that no second can rule an emotion out."""


def parts(moments: Array) -> list[slice]:
    """Divide a voice into parts of one emotion each.

    The most probable sequence of emotions (Viterbi 1967), where every change has its price: the
    hysteresis that keeps a curve from following single misread seconds.

    Args:
        moments: probabilities of its seconds, ``(T, K)``, T >= 1.

    Returns:
        Consecutive parts of ``range(T)``; one where nothing changes.
    """
    gains = np.log(np.maximum(moments, _LEAST))
    count, kinds = gains.shape
    origin = np.zeros((count, kinds), np.int64)
    score = gains[0]
    for t in range(1, count):
        best = int(score.argmax())
        stays = score >= score[best] - _CHANGE
        origin[t] = np.where(stays, np.arange(kinds), best)
        score = np.where(stays, score, score[best] - _CHANGE) + gains[t]
    path = np.empty(count, np.int64)
    path[-1] = score.argmax()
    for t in range(count - 1, 0, -1):
        path[t - 1] = origin[t, path[t]]
    starts = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist()]
    starts = [s for s, end in zip(starts, [*starts[1:], count], strict=True) if _long(s, end)]
    starts = [0, *starts[1:]] if starts else [0]
    return [slice(s, e) for s, e in zip(starts, [*starts[1:], count], strict=True)]


def _long(start: int, end: int) -> bool:
    return end - start >= _SHORTEST


def settle(moments: Array, around: Array) -> Array:
    """Move moments towards the voice ``around (E,)`` them; unit embeddings ``float32 (T, E)``."""
    moved = around + MODULATION * (moments - around)
    out: Array = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9)
    return out
