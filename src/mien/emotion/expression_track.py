"""Expressions over time: tracks, and the gain that follows a voice's prosody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mien.face.facs import Expression
from mien.speech.analysis import PROSODY_SECONDS, Prosody
from mien.speech.features import SILENT

_SMOOTH_SECONDS: Final = 0.45
"""Spread of the Gaussian that smooths the gain: slower than syllables, so that nothing trembles."""

_LOUDNESS_GAIN: Final = 0.16
_MOVEMENT_GAIN: Final = 0.08
"""What the gain grows by where the voice is one deviation louder, or its pitch moves one deviation
more, than usual."""

_PAUSE_GAIN: Final = 0.8
_LEAST, _MOST = 0.55, 1.3
_EASE_SECONDS: Final = 0.3
"""Time in which the expression comes at the start and goes at the end."""

_START_GAIN: Final = 0.8
"""Gain in the first and the last picture."""

_SPEAKING_RANGE: Final = 1.2
"""Level under the loudest moment that is still speech."""


@dataclass(frozen=True, eq=False)
class ExpressionTrack:
    """An expression, steady or over time.

    Attributes:
        times: seconds ``float64 (K,)``, rising; K = 1 for a steady expression.
        expressions: action units ``float32 (K, D)``.
        presence: how much of the person's own expression gives way, ``float32 (K,)``, 0..1.
    """

    times: npt.NDArray[np.float64]
    expressions: npt.NDArray[np.float32]
    presence: npt.NDArray[np.float32]

    @staticmethod
    def steady(expression: Expression) -> ExpressionTrack:
        """Return a track that stays the same."""
        one = np.ones(1, np.float32)
        return ExpressionTrack(np.zeros(1), expression[None].astype(np.float32), one)

    def expression_at(self, time: float) -> Expression:
        """Interpolate the action units ``float32 (D,)`` at ``time`` seconds linearly."""
        if len(self.times) == 1:
            return self.expressions[0]
        after = int(np.clip(np.searchsorted(self.times, time), 1, len(self.times) - 1))
        start, end = self.times[after - 1 : after + 1]
        share = float(np.clip((time - start) / (end - start), 0, 1))
        before, then = self.expressions[after - 1 : after + 1]
        return (before + share * (then - before)).astype(np.float32)

    def presence_at(self, time: float) -> float:
        """Return how much of the person's own expression gives way at ``time`` seconds, 0..1."""
        return float(np.interp(time, self.times, self.presence))


@dataclass(frozen=True, slots=True)
class GainCurve:
    """Factor on an expression over time.

    Attributes:
        values: ``float32 (K,)``, about 1, ten per second.
    """

    values: npt.NDArray[np.float32]

    @staticmethod
    def of(prosody: Prosody) -> GainCurve:
        """Compute the gain that follows loudness, pitch movement and pauses of a voice."""
        if not len(prosody.level):
            return GainCurve(np.ones(1, np.float32))
        return GainCurve(gain(prosody.level, prosody.movement))

    def at(self, time: float) -> float:
        """Interpolate the gain at ``time`` seconds linearly."""
        low = min(max(int(time / PROSODY_SECONDS) - 2, 0), len(self.values) - 1)
        near = self.values[low : low + 6]
        place = np.arange(low, low + len(near)) * PROSODY_SECONDS
        return float(np.interp(time, place, near))


def gain(
    level: npt.NDArray[np.float32], movement: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Compute factors ``float32 (K,)`` from level and pitch movement ``(K,)``, ten per second."""
    speaking = level > level.max() - _SPEAKING_RANGE
    if level.max() < SILENT or not speaking.any():
        return np.ones(len(level), np.float32)
    loud = np.where(speaking, _standardised(level, speaking), 0)
    lively = np.where(speaking, _standardised(movement, speaking), 0)
    raw = np.where(speaking, 1.0, _PAUSE_GAIN) + _LOUDNESS_GAIN * loud + _MOVEMENT_GAIN * lively
    smooth = _smooth(raw)
    ramp = np.arange(len(level)) * PROSODY_SECONDS / _EASE_SECONDS
    rise = _START_GAIN + (1 - _START_GAIN) * np.clip(ramp, 0, 1)
    fall = _START_GAIN + (1 - _START_GAIN) * np.clip(ramp[::-1], 0, 1)
    return (np.clip(smooth, _LEAST, _MOST) * rise * fall).astype(np.float32)


def _standardised(
    values: npt.NDArray[np.float32], where: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    spread = float(values[where].std())
    out: npt.NDArray[np.float32] = np.clip((values - values[where].mean()) / (spread + 1e-3), -2, 2)
    return out


def _smooth(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    reach = round(3 * _SMOOTH_SECONDS / PROSODY_SECONDS)
    steps = np.arange(-reach, reach + 1) * PROSODY_SECONDS / _SMOOTH_SECONDS
    kernel = np.exp(-0.5 * steps**2)
    padded = np.pad(values, reach, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")
