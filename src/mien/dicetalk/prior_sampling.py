"""Draw expressions from emotion distributions: they vary over time and stay in their class."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.face.facs import INDEX, Expression, openface_to_rig
from mien.weights.bundled import open_arrays, open_net

Array = npt.NDArray[np.float32]

_WAVES: Final = 5
_SLOWEST_HZ, _FASTEST_HZ = 0.04, 0.28
"""Range of the drift's frequencies: slow enough not to flicker."""

_CONSTANT_SHARE: Final = 0.5
"""Share of the variance that stays constant over the clip."""

_STEP_SECONDS: Final = 0.2
"""Time between samples, which are interpolated linearly."""

_SHARPNESS: Final = 8.0
_FAINT: Final = 0.05
_TYPICAL_CHANGE: Final = 0.45
"""Norm of a typical change relative to the expression's, at ``amount`` 1."""

_LARGEST_CHANGE: Final = 0.5
"""Norm of the largest change relative to the expression's."""

_TRIALS: Final = 32
"""Samples from which the typical change of an emotion is estimated."""

_CACHED_STEPS: Final = 8

_SPEECH_UNITS: Final = ("16L", "16R", "18", "23", "24", "25", "26", "43L", "43R")
"""Action units of speech and blinks, which never vary."""


@dataclass(frozen=True, slots=True)
class EmotionGaussians:
    """A Gaussian prior per emotion.

    Attributes:
        names: the emotions.
        mean, spread: ``float32 (K, width)``.
    """

    names: tuple[str, ...]
    mean: Array
    spread: Array


@lru_cache(maxsize=1)
def emotion_gaussians() -> EmotionGaussians:
    """Load the priors bundled with mien.

    Raises:
        WeightsError: when the file is missing.
    """
    stored = open_arrays("dice.npz")
    return EmotionGaussians(tuple(stored["names"].tolist()), stored["mean"], stored["spread"])


def decode_priors(samples: Array) -> Array:
    """Decode prior samples ``(N, width)`` to rig action units ``float32 (N, D)``."""
    net = open_net("dice.onnx")
    change = net.run(None, {"prior": np.ascontiguousarray(samples, np.float32)})[0]
    out: Array = (change @ openface_to_rig()).astype(np.float32)
    out[:, [INDEX[name] for name in _SPEECH_UNITS]] = 0
    return out


@dataclass(slots=True)
class PriorSampler:
    """Varies an expression over time by samples from the emotions' Gaussians.

    Attributes:
        amount: 0 (one face per emotion) .. 1 (as people differ).
        seed: selects the course of the variation.
    """

    amount: float
    seed: int
    _typical: Array = field(init=False)
    _typical_change: Array = field(init=False)
    _waves: Array = field(init=False)
    _constant: Array = field(init=False)
    _cache: dict[int, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        priors = emotion_gaussians()
        self._typical = decode_priors(priors.mean)
        noise = np.random.default_rng(0).normal(size=(_TRIALS, *priors.mean.shape))
        changes = [decode_priors(priors.mean + priors.spread * z) - self._typical for z in noise]
        self._typical_change = np.sqrt((np.stack(changes) ** 2).sum(2).mean(0)) + 1e-6
        rng = np.random.default_rng([self.seed, 7])
        size = (_WAVES, *priors.mean.shape)
        hertz = np.exp(rng.uniform(np.log(_SLOWEST_HZ), np.log(_FASTEST_HZ), size))
        self._waves = np.stack([hertz, rng.uniform(0, 2 * np.pi, size)]).astype(np.float32)
        self._constant = rng.normal(size=priors.mean.shape).astype(np.float32)

    def change(self, expression: Expression, time: float) -> Expression:
        """Return what to add to ``expression`` at ``time`` seconds, ``float32 (D,)``."""
        size = float(np.linalg.norm(expression))
        if self.amount <= 0 or size < _FAINT:
            return np.zeros_like(expression)
        norms = np.linalg.norm(self._typical, axis=1) + 1e-6
        similarity = self._typical @ expression / (norms * size)
        shares = np.exp(_SHARPNESS * (similarity - similarity.max()))
        shares *= norms > _FAINT  # priors without a typical face (neutral) do not vary
        shares /= shares.sum() + 1e-9
        before = int(time / _STEP_SECONDS)
        share = time / _STEP_SECONDS - before
        now = (1 - share) * self._at(before) + share * self._at(before + 1)
        added = self.amount * _TYPICAL_CHANGE * size * ((shares / self._typical_change) @ now)
        limit = _LARGEST_CHANGE * size / max(float(np.linalg.norm(added)), 1e-6)
        out: Expression = (added * min(1.0, limit)).astype(np.float32)
        return out

    def _at(self, step: int) -> Array:
        """Differences from the typical faces at one step, ``(K, D)``."""
        if step not in self._cache:
            priors = emotion_gaussians()
            hertz, phase = self._waves
            angle = 2 * np.pi * hertz * step * _STEP_SECONDS + phase
            drift = np.sqrt(2 / _WAVES) * np.sin(angle).sum(0)
            noise = _CONSTANT_SHARE**0.5 * self._constant + (1 - _CONSTANT_SHARE) ** 0.5 * drift
            if len(self._cache) > _CACHED_STEPS:
                self._cache.clear()
            self._cache[step] = decode_priors(priors.mean + priors.spread * noise) - self._typical
        return self._cache[step]
