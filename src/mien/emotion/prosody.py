"""Temporal life: an expression that rises and falls with the clip's own voice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mien.emotion.request import Request
from mien.face.facs import Expression
from mien.media.audio import stream_speech
from mien.speech.features import MELS, RATE, features

_STEP: Final = 0.1
_SPREAD: Final = 0.45
"""Seconds of the Gaussian that smooths the course: slower than syllables, nothing trembles."""

_LOUDNESS: Final = 0.16
_MOVEMENT: Final = 0.08
"""Share the expression grows by where the voice is one deviation louder, or its pitch moves one
deviation more, than usual."""

_PAUSE: Final = 0.7
"""What is left of the expression in a long pause."""

_LEAST, _MOST = 0.55, 1.3
_EASE: Final = 0.5
"""Seconds over which the expression comes at the start and goes at the end."""

_START: Final = 0.4
"""Share of the expression that is there in the first picture."""


@dataclass(frozen=True, slots=True)
class Course:
    """Factor on an expression over time.

    Attributes:
        step: seconds between values.
        values: ``float32 (K,)``, about 1.
    """

    step: float
    values: npt.NDArray[np.float32]

    def at(self, time: float) -> float:
        """The factor at ``time`` seconds."""
        place = np.arange(len(self.values)) * self.step
        return float(np.interp(time, place, self.values))


@dataclass(frozen=True, slots=True)
class Living:
    """A request whose expression follows a course."""

    request: Request
    course: Course

    def expression_at(self, time: float) -> Expression:
        """Action units ``float32 (D,)`` wanted at ``time`` seconds."""
        return (self.course.at(time) * self.request.expression_at(time)).astype(np.float32)

    def presence_at(self, time: float) -> float:
        """How much of the person's own expression gives way: all the time alike."""
        return self.request.presence_at(time)

    def describe(self) -> dict[str, Any]:
        """The request in plain values."""
        return {**self.request.describe(), "follows": "loudness and pitch of the clip's own voice"}


def course_of(source: str | Path) -> Course:
    """The course of a clip's voice: loudness, pitch movement and pauses, smoothed.

    Memory grows by 40 bytes per second of the clip.
    """
    level: list[npt.NDArray[np.float32]] = []
    pitch: list[npt.NDArray[np.float32]] = []
    width = round(_STEP * RATE)
    for block in stream_speech(source):
        rows = features(block)
        rows = rows[: len(rows) // width * width].reshape(-1, width, rows.shape[1])
        level.append(rows[..., :MELS].mean((1, 2)))
        moved = np.abs(np.diff(rows[..., MELS], axis=1)) * (rows[:, 1:, MELS + 1] > 0.5)
        pitch.append(np.minimum(moved, 0.1).sum(1))
    if not level or not sum(map(len, level)):
        return Course(_STEP, np.ones(1, np.float32))
    return Course(_STEP, course(np.concatenate(level), np.concatenate(pitch)))


def course(
    level: npt.NDArray[np.float32], movement: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Factors ``float32 (K,)`` from level and pitch movement ``(K,)``, ten values per second."""
    speaking = level > level.max() - 1.2
    if level.max() < _SILENT or not speaking.any():
        return np.ones(len(level), np.float32)
    loud = np.where(speaking, _standard(level, speaking), 0)
    lively = np.where(speaking, _standard(movement, speaking), 0)
    raw = np.where(speaking, 1.0, _PAUSE) + _LOUDNESS * loud + _MOVEMENT * lively
    smooth = _smooth(raw)
    ramp = np.arange(len(level)) * _STEP / _EASE
    rise = _START + (1 - _START) * np.clip(ramp, 0, 1)
    fall = _START + (1 - _START) * np.clip(ramp[::-1], 0, 1)
    return (np.clip(smooth, _LEAST, _MOST) * rise * fall).astype(np.float32)


_SILENT: Final = -1.65
"""Level under which nobody speaks, in the features' unit."""


def _standard(
    values: npt.NDArray[np.float32], where: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    spread = float(values[where].std())
    out: npt.NDArray[np.float32] = np.clip((values - values[where].mean()) / (spread + 1e-3), -2, 2)
    return out


def _smooth(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    reach = round(3 * _SPREAD / _STEP)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * _STEP / _SPREAD) ** 2)
    padded = np.pad(values, reach, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")
