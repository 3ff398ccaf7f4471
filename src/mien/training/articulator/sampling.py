"""Batches of talking, varied in level, colour, pitch and noise."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from mien.speech.articulation import CODES_PER_SECOND, LOOK_AHEAD, NAMES
from mien.speech.features import FEATURES, MELS
from mien.training.articulator.material import Array, TalkingClip

_SHARE: Final = 150
"""Codes that make a clip count once more in the draw."""


def heard(clip: TalkingClip, start: int, count: int, late: int | None = None) -> Array:
    """Rows that belong to ``count`` codes from ``start``, ``LOOK_AHEAD`` later; silence outside."""
    lag = clip.late if late is None else late
    index = np.arange(2 * start, 2 * (start + count)) + LOOK_AHEAD + lag
    inside = (index >= 0) & (index < len(clip.rows))
    rows = clip.rows[np.clip(index, 0, len(clip.rows) - 1)].copy()
    rows[~inside, :MELS] = clip.rows[:, :MELS].min()
    rows[~inside, MELS:] = 0
    return rows


def standard(clip: TalkingClip) -> Array:
    """The clip's code as deviations from its own mean: people open their mouths differently."""
    return ((clip.code - clip.code.mean(0)) / clip.spread).astype(np.float32)


class TalkSampler:
    """Draws windows of talking clips."""

    def __init__(
        self, clips: list[TalkingClip], batch: int, seconds: float, generated: float
    ) -> None:
        self._clips = [c for c in clips for _ in range(max(1, len(c.code) // _SHARE))]
        self._batch, self._length = batch, round(seconds * CODES_PER_SECOND)
        self._generated = generated

    def draw(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Rows, standard codes, which of them count and how much, and which are closed lips."""
        length = self._length
        rows = np.zeros((self._batch, 2 * length, FEATURES), np.float32)
        code = np.zeros((self._batch, length, len(NAMES)), np.float32)
        weight = np.zeros((self._batch, length), np.float32)
        closed = np.zeros((self._batch, length), np.float32)
        for i in range(self._batch):
            clip = self._clips[rng.integers(len(self._clips))]
            start = int(rng.integers(max(1, len(clip.code) - length + 1)))
            count = min(length, len(clip.code) - start)
            rows[i, : 2 * count] = varied(heard(clip, start, count), rng)
            code[i, :count] = standard(clip)[start : start + count]
            weight[i, :count] = 1.0 if clip.kind == "real" else self._generated
            opening = clip.code[start : start + count, 0]
            closed[i, :count] = opening < 0.35 * clip.spread[0]
        parts = {"rows": rows, "code": code, "weight": weight, "closed": closed}
        return {name: torch.from_numpy(values) for name, values in parts.items()}


def varied(rows: Array, rng: np.random.Generator) -> Array:
    """Another level, microphone, pitch, and now and then noise or a missing band."""
    bands = np.arange(MELS)
    rows[:, :MELS] += rng.normal(0, 0.2)
    rows[:, :MELS] += np.interp(bands, np.linspace(0, MELS - 1, 5), rng.normal(0, 0.22, 5))
    rows[:, MELS] += rng.normal(0, 0.2) * (rows[:, MELS + 1] > 0.3)
    if rng.random() < 0.5:  # a longer or shorter vocal tract
        warp = bands * np.exp(rng.normal(0, 0.06))
        low = np.clip(warp.astype(int), 0, MELS - 2)
        share = np.clip(warp - low, 0, 1).astype(np.float32)
        rows[:, :MELS] = rows[:, low] * (1 - share) + rows[:, low + 1] * share
    if rng.random() < 0.3:
        floor = rng.normal(-0.6, 0.35) + 0.1 * rng.normal(size=(len(rows), MELS))
        rows[:, :MELS] = np.maximum(rows[:, :MELS], floor)
    if rng.random() < 0.3:
        first = int(rng.integers(MELS - 12))
        rows[:, first : first + int(rng.integers(2, 12))] = rows[:, :MELS].mean()
    return rows
