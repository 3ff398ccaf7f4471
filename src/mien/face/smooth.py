"""One-Euro filter: still when the face is still, quick when it moves (Casiez et al., CHI 2012)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.face.topology import EYES, LOWER_LIP, UPPER_LIP
from mien.face.types import LANDMARK_COUNT, Landmarks

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SmoothSettings:
    """Cutoffs of the filter.

    Attributes:
        cutoff: Hz, for a point that stands still.
        lip_cutoff: Hz, for lips and lids, which speak and blink.
        speed: Hz of extra cutoff per eye distance and second.
        derivative_cutoff: Hz, of the speed estimate.
    """

    cutoff: float = 2.5
    lip_cutoff: float = 6.0
    speed: float = 4.0
    derivative_cutoff: float = 1.5


def _quick_points() -> list[int]:
    lips = [p for row in (*UPPER_LIP, *LOWER_LIP) for p in row]
    lids = [p for e in EYES.values() for p in (*e.upper_lid, *e.lower_lid, *e.iris)]
    return lips + lids


class OneEuro:
    """Filters one face's landmarks; a new one (or ``reset``) after a cut."""

    def __init__(self, settings: SmoothSettings | None = None) -> None:
        self._settings = settings or SmoothSettings()
        cutoff = np.full((LANDMARK_COUNT, 1), self._settings.cutoff)
        cutoff[_quick_points()] = self._settings.lip_cutoff
        self._cutoff: Array = cutoff
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._value: Array | None = None
        self._speed: Array | None = None

    def __call__(self, landmarks: Landmarks, elapsed: float) -> Landmarks:
        """Filter ``landmarks`` ``(478, 3)`` pixels, ``elapsed`` seconds after the last ones."""
        now = landmarks.astype(np.float64)
        if self._value is None or self._speed is None or elapsed <= 0:
            self._value, self._speed = now, np.zeros_like(now)
            return landmarks.copy()
        size = max(float(np.linalg.norm(now[33, :2] - now[263, :2])) * 0.7, 1e-3)
        speed = (now - self._value) / (elapsed * size)
        self._speed += _alpha(self._settings.derivative_cutoff, elapsed) * (speed - self._speed)
        pace = np.linalg.norm(self._speed[:, :2], axis=1, keepdims=True)
        cutoff = self._cutoff + self._settings.speed * pace
        self._value = self._value + _alpha(cutoff, elapsed) * (now - self._value)
        return self._value.astype(np.float32)


def _alpha(cutoff: float | Array, elapsed: float) -> Array:
    """Share of the new value for a first-order low pass."""
    rate = 2 * np.pi * np.asarray(cutoff) * elapsed
    out: Array = rate / (rate + 1)
    return out
