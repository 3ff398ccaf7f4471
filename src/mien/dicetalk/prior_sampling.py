"""Emotions as distributions: expressions that differ from moment to moment and stay in class."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.face.facs import INDEX, Expression
from mien.face.readers import openface_to_rig
from mien.weights.bundled import open_arrays, open_net

Array = npt.NDArray[np.float32]

_WAVES: Final = 5
_SLOWEST, _FASTEST = 0.04, 0.28
"""Hz: feelings drift, they do not flicker."""

_LASTING: Final = 0.5
"""Share of the variance that a seed keeps for the whole clip."""

_STEP: Final = 0.2
"""Seconds between samples; between them by line."""

_SHARPNESS: Final = 8.0
_FAINT: Final = 0.05
_USUAL: Final = 0.45
"""Size of a usual change by the expression's, where ``amount`` is 1."""

_MOST: Final = 0.5
"""Size of the largest change by the expression's."""

_TRIED: Final = 32
"""Samples by which the usual change of an emotion is known."""

_SPEECH: Final = ("16L", "16R", "18", "23", "24", "25", "26", "43L", "43R")
"""Units that belong to speech and blinks."""


@dataclass(frozen=True, slots=True)
class Priors:
    """Gaussians of emotions.

    Attributes:
        names: of the emotions.
        mean, spread: ``float32 (K, width)``.
    """

    names: tuple[str, ...]
    mean: Array
    spread: Array


@lru_cache(maxsize=1)
def priors() -> Priors:
    """The priors that ship with mien.

    Raises:
        WeightsError: when the file is missing.
    """
    stored = open_arrays("dice.npz")
    return Priors(tuple(stored["names"].tolist()), stored["mean"], stored["spread"])


def faces_of(samples: Array) -> Array:
    """What samples ``(N, width)`` do to a face: rig action units ``float32 (N, D)``."""
    net = open_net("dice.onnx")
    change = net.run(None, {"prior": np.ascontiguousarray(samples, np.float32)})[0]
    out: Array = (change @ openface_to_rig()).astype(np.float32)
    out[:, [INDEX[name] for name in _SPEECH]] = 0
    return out


@dataclass(slots=True)
class Variety:
    """How an expression varies over time.

    Attributes:
        amount: 0 (one face per emotion) .. 1 (as people differ).
        seed: which course.
    """

    amount: float
    seed: int
    _typical: Array = field(init=False)
    _waves: Array = field(init=False)
    _always: Array = field(init=False)
    _usual: Array = field(init=False)
    _known: dict[int, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = priors()
        self._typical = faces_of(known.mean)
        noise = np.random.default_rng(0).normal(size=(_TRIED, *known.mean.shape))
        tried = [faces_of(known.mean + known.spread * one) - self._typical for one in noise]
        self._usual = np.sqrt((np.stack(tried) ** 2).sum(2).mean(0)) + 1e-6
        rng = np.random.default_rng([self.seed, 7])
        size = (_WAVES, *known.mean.shape)
        hertz = np.exp(rng.uniform(np.log(_SLOWEST), np.log(_FASTEST), size))
        self._waves = np.stack([hertz, rng.uniform(0, 2 * np.pi, size)]).astype(np.float32)
        self._always = rng.normal(size=known.mean.shape).astype(np.float32)

    def change(self, expression: Expression, time: float) -> Expression:
        """What is added to ``expression`` at ``time`` seconds, ``float32 (D,)``."""
        size = float(np.linalg.norm(expression))
        if self.amount <= 0 or size < _FAINT:
            return np.zeros_like(expression)
        typical = self._typical
        norms = np.linalg.norm(typical, axis=1) + 1e-6
        alike = typical @ expression / (norms * size)
        shares = np.exp(_SHARPNESS * (alike - alike.max()))
        # A prior without a face of its own (neutral) has nothing to vary.
        shares *= norms > _FAINT
        shares /= shares.sum() + 1e-9
        before = int(time / _STEP)
        share = time / _STEP - before
        now = (1 - share) * self._at(before) + share * self._at(before + 1)
        added = self.amount * _USUAL * size * ((shares / self._usual) @ now)
        most = _MOST * size / max(float(np.linalg.norm(added)), 1e-6)
        out: Expression = (added * min(1.0, most)).astype(np.float32)
        return out

    def _at(self, step: int) -> Array:
        """Differences from the typical faces at one sample, ``(K, D)``."""
        if step not in self._known:
            known = priors()
            hertz, phase = self._waves
            drift = np.sqrt(2 / _WAVES) * np.sin(2 * np.pi * hertz * step * _STEP + phase).sum(0)
            noise = _LASTING**0.5 * self._always + (1 - _LASTING) ** 0.5 * drift
            sample = known.mean + known.spread * noise
            if len(self._known) > 8:
                self._known.clear()
            self._known[step] = faces_of(sample) - self._typical
        return self._known[step]
