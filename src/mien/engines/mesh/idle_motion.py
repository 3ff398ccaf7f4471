"""What a living face does by itself: blinks, glances, small turns of the head, breath.

Everything is a function of time and of a seed, so that a clip of any length costs the same memory
and the same seed gives the same clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_WAVES: Final = 7
_SLOWEST, _FASTEST = 0.07, 0.6
"""Hz: band of the head's wandering."""

_TURN: Final = (0.045, 0.022, 0.020)
"""Typical yaw, pitch and roll, radians."""

_NOD: Final = 0.030
"""Pitch, radians, with which a stressed syllable nods."""

_BREATH: Final = (0.24, 0.006)
"""Breaths per second, and how far they lift the head, eye distances."""

_BLINK_EVERY: Final = 3.6
_SOONEST: Final = 0.9
_DOWN, _SHUT, _UP = 0.08, 0.04, 0.16
"""Seconds a blink takes to close, stays closed, takes to open."""

_TWICE: Final = 0.12
"""Share of blinks that come in pairs."""

_GLANCE_EVERY: Final = 1.9
_GLANCE: Final = (0.028, 0.012)
"""Spread of glances sideways and up or down, eye distances of iris travel."""

_SACCADE: Final = 0.04


@dataclass(frozen=True, slots=True)
class Moment:
    """What the head and eyes do at one time.

    Attributes:
        yaw, pitch, roll: radians.
        rise: eye distances, upwards.
        blink: 0 (open) .. 1 (closed).
        gaze: travel of the iris to the picture's right and down, eye distances.
    """

    yaw: float
    pitch: float
    roll: float
    rise: float
    blink: float
    gaze: tuple[float, float]


@dataclass(slots=True)
class Idle:
    """A person's small motions.

    Attributes:
        seed: which.
        liveliness: factor on all of them; 0 holds the head still and the eyes open.
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
        self._blinks = _Events([self.seed, 2], _BLINK_EVERY, _SOONEST)
        self._glances = _Events([self.seed, 3], _GLANCE_EVERY, 0.4)

    def at(self, time: float, stress: float = 0.0) -> Moment:
        """What happens at ``time`` seconds; times must not go back.

        Args:
            time: seconds.
            stress: how much louder than usual the voice is, 0..1: the head nods.
        """
        hertz, phase, size = self._waves
        # Begins at rest: a clip's first picture is the portrait's own.
        begin = min(1.0, time / 1.2)
        wander = (size * np.sin(2 * np.pi * hertz * time + phase)).sum(1) * np.array(_TURN)
        yaw, pitch, roll = (begin * self.liveliness * wander).tolist()
        rate, lift = _BREATH
        rise = self.liveliness * lift * float(np.sin(2 * np.pi * rate * time))
        pitch += begin * self.liveliness * _NOD * stress
        return Moment(yaw, pitch, roll, rise, self._blink(time), self._gaze(time))

    def _blink(self, time: float) -> float:
        if self.liveliness <= 0:
            return 0.0
        last = self._blinks.last(time)
        closed = _lid(time - last.time)
        if last.chance < _TWICE:
            closed = max(closed, _lid(time - last.time - _DOWN - _SHUT - _UP - 0.06))
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
    """Moments at random, one after another, as they are asked for."""

    def __init__(self, seed: list[int], every: float, soonest: float) -> None:
        self._make = self._draw(np.random.default_rng(seed), every, soonest)
        self.before = _Event(-1e9, 1.0, (0.0, 0.0))
        self._now, self._next = self.before, next(self._make)

    def last(self, time: float) -> _Event:
        """The event that began last at or before ``time``."""
        while self._next.time <= time:
            self.before, self._now, self._next = self._now, self._next, next(self._make)
        return self._now

    @staticmethod
    def _draw(rng: np.random.Generator, every: float, soonest: float) -> Iterator[_Event]:
        time = 0.0
        while True:
            time += soonest + float(rng.gamma(2.0, (every - soonest) / 2))
            x, y = np.clip(rng.normal(size=2), -2, 2).tolist()
            # The eyes come back to the camera every other time.
            away = float(rng.random() < 0.5)
            yield _Event(time, float(rng.random()), (away * x, away * y))


def _lid(since: float) -> float:
    """How far a lid is down ``since`` seconds after a blink began, 0..1."""
    if since < 0 or since > _DOWN + _SHUT + _UP:
        return 0.0
    if since < _DOWN:
        share = since / _DOWN
    elif since < _DOWN + _SHUT:
        return 1.0
    else:
        share = 1 - (since - _DOWN - _SHUT) / _UP
    return share * share * (3 - 2 * share)
