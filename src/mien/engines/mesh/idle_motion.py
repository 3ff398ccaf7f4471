"""Idle motion: blinks, glances, small head turns and breathing.

Everything is a function of time and a seed: memory does not grow with the clip, and the same seed
gives the same clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.utils.numeric import smoothstep

Array = npt.NDArray[np.float64]

_WAVES: Final = 7
_SLOWEST, _FASTEST = 0.07, 0.6
"""Hz: frequency band of the head motion."""

_HEAD_MOTION: Final = (0.045, 0.022, 0.020)
"""Typical yaw, pitch and roll, radians."""

_NOD: Final = 0.030
"""Pitch of the nod on a stressed syllable, radians."""

_BREATH: Final = (0.24, 0.006)
"""Breaths per second, and how far they raise the head, eye distances."""

_BLINK_EVERY: Final = 3.6
_MIN_BLINK_GAP: Final = 0.9
"""Mean and minimum seconds between blinks."""

_CLOSING, _SHUT, _OPENING = 0.08, 0.04, 0.16
"""Seconds that the lids of a blink close, stay closed and open."""

_TWICE: Final = 0.12
"""Probability that a blink is double."""

_GLANCE_EVERY: Final = 1.9
_MIN_GLANCE_GAP: Final = 0.4
"""Mean and minimum seconds between glances."""

_EARLIEST: Final = 0.3
"""Seconds before which there is neither: a clip begins as the picture is."""

_GLANCE: Final = (0.028, 0.012)
"""Standard deviation of the iris displacement across and down, eye distances."""

_SACCADE: Final = 0.04
"""Seconds that the irises take to move."""

_EASE_IN: Final = 1.2
"""Seconds over which head motion sets in: a clip begins with the portrait itself."""


@dataclass(frozen=True, slots=True)
class HeadState:
    """State of head and eyes at one time.

    Attributes:
        yaw, pitch, roll: radians.
        rise: upward shift, eye distances.
        blink: 0 (open) .. 1 (closed).
        gaze: displacement of the irises to the right and down, eye distances.
    """

    yaw: float
    pitch: float
    roll: float
    rise: float
    blink: float
    gaze: tuple[float, float]


@dataclass(slots=True)
class IdleMotion:
    """The idle motion of one person.

    Attributes:
        seed: of the random motion.
        liveliness: factor on all motion; 0 keeps the head still and the eyes open.
    """

    seed: int = 0
    liveliness: float = 1.0
    _waves: Array = field(init=False)
    _blinks: _Events = field(init=False)
    _glances: _Events = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.seed, 1])
        hertz = np.exp(rng.uniform(np.log(_SLOWEST), np.log(_FASTEST), (3, _WAVES)))
        phase = rng.uniform(0, 2 * np.pi, (3, _WAVES))
        size = (_SLOWEST / hertz) ** 0.6
        size /= np.sqrt((size**2).sum(1, keepdims=True) / 2)
        self._waves = np.stack([hertz, phase, size])
        self._blinks = _Events([self.seed, 2], _BLINK_EVERY, _MIN_BLINK_GAP)
        self._glances = _Events([self.seed, 3], _GLANCE_EVERY, _MIN_GLANCE_GAP)

    def at(self, time: float, stress: float = 0.0) -> HeadState:
        """Compute the state at ``time``; times must not decrease.

        Args:
            time: seconds.
            stress: loudness of the voice above its usual level, 0..1; the head nods with it.
        """
        hertz, phase, size = self._waves
        ease = min(1.0, time / _EASE_IN)
        wander = (size * np.sin(2 * np.pi * hertz * time + phase)).sum(1) * np.array(_HEAD_MOTION)
        yaw, pitch, roll = (ease * self.liveliness * wander).tolist()
        rate, lift = _BREATH
        rise = self.liveliness * lift * float(np.sin(2 * np.pi * rate * time))
        pitch += ease * self.liveliness * _NOD * stress
        return HeadState(yaw, pitch, roll, rise, self._blink(time), self._gaze(time))

    def _blink(self, time: float) -> float:
        if self.liveliness <= 0:
            return 0.0
        last = self._blinks.last(time)
        closed = _lid(time - last.time)
        if last.chance < _TWICE:
            closed = max(closed, _lid(time - last.time - _CLOSING - _SHUT - _OPENING - 0.06))
        return closed

    def _gaze(self, time: float) -> tuple[float, float]:
        now, before = self._glances.last(time), self._glances.before
        share = float(np.clip((time - now.time) / _SACCADE, 0, 1))
        x, y = (
            self.liveliness * size * (a + share * (b - a))
            for size, a, b in zip(_GLANCE, before.place, now.place, strict=True)
        )
        return x, y


@dataclass(frozen=True, slots=True)
class _Event:
    time: float
    chance: float
    place: tuple[float, float]


class _Events:
    """A random sequence of events, drawn on demand."""

    def __init__(self, seed: list[int], every: float, min_gap: float) -> None:
        self._make = self._draw(np.random.default_rng(seed), every, min_gap)
        self.before = _Event(-1e9, 1.0, (0.0, 0.0))
        self._now, self._next = self.before, next(self._make)

    def last(self, time: float) -> _Event:
        """Return the last event at or before ``time``."""
        while self._next.time <= time:
            self.before, self._now, self._next = self._now, self._next, next(self._make)
        return self._now

    @staticmethod
    def _draw(rng: np.random.Generator, every: float, min_gap: float) -> Iterator[_Event]:
        time = float(rng.uniform(_EARLIEST, every))  # a clip begins anywhere between two events
        while True:
            x, y = np.clip(rng.normal(size=2), -2, 2).tolist()
            # Half of the glances return to the camera.
            away = float(rng.random() < 0.5)
            yield _Event(time, float(rng.random()), (away * x, away * y))
            time += min_gap + float(rng.gamma(2.0, (every - min_gap) / 2))


def _lid(since: float) -> float:
    """Return how far the lid is closed ``since`` seconds after the start of a blink, 0..1."""
    if since < 0 or since > _CLOSING + _SHUT + _OPENING:
        return 0.0
    if since < _CLOSING:
        share = since / _CLOSING
    elif since < _CLOSING + _SHUT:
        return 1.0
    else:
        share = 1 - (since - _CLOSING - _SHUT) / _OPENING
    return float(smoothstep(share))
