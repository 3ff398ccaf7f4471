"""How well a mouth follows a voice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from mien.speech.articulation import NAMES
from mien.training.articulator.material import Array, TalkingClip
from mien.training.articulator.sampling import heard

Predict = Callable[[Array], Array]
"""Rows ``(R, 82)`` to codes ``(R / 2, 7)``."""

_LAGS: Final = 15
_CLOSED: Final = 0.02
"""Opening, eye distances beyond rest, under which lips touch."""

_NEAR: Final = 3
"""Codes (60 ms) around a closure in which the prediction may close."""

_SHUT: Final = 0.35
"""Share of its mean opening under which a predicted mouth counts as closing."""


class Measures(NamedTuple):
    """Of one clip.

    Correlations of ``opening``, ``width`` and ``protrusion``; ``closures``: share of closures of
    the lips that the prediction makes too (NaN without any); ``lag``: codes by which shifting the
    prediction would correlate best; ``best``: that correlation.
    """

    opening: float
    width: float
    protrusion: float
    closures: float
    lag: int
    best: float


def measure(predict: Predict, clip: TalkingClip, *, corrected: bool = True) -> Measures:
    """Compare a prediction with what the mouth did.

    Args:
        predict: of the net.
        clip: with its lag.
        corrected: whether the sound is moved by the clip's lag first.
    """
    said = predict(heard(clip, 0, len(clip.code), None if corrected else 0))
    true = clip.code
    opening, width, protrusion = (
        correlation(said[:, NAMES.index(name)], true[:, NAMES.index(name)])
        for name in ("opening", "width", "protrusion")
    )
    lag, best = best_lag(said[:, 0], true[:, 0])
    shut = closures(said[:, 0], true[:, 0])
    return Measures(opening, width, protrusion, shut, lag, best)


def correlation(a: Array, b: Array) -> float:
    """Pearson's r; 0 where one does not move."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 1e-9 else 0.0


def best_lag(said: Array, true: Array) -> tuple[int, float]:
    """Shift of the prediction (codes; positive: it comes late) with the largest correlation."""
    found = []
    for lag in range(-_LAGS, _LAGS + 1):
        a = said[max(0, lag) : len(said) + min(0, lag)]
        b = true[max(0, -lag) : len(true) - max(0, lag)]
        found.append(correlation(a, b) if len(a) > 10 else -1.0)
    best = int(np.argmax(found))
    return best - _LAGS, found[best]


def closures(said: Array, true: Array) -> float:
    """Share of the moments in which the lips close within speech that the prediction closes too.

    A moment is a local minimum of the true opening under 0.02 eye distances with an open mouth
    within a quarter of a second before or after.
    """
    mean = float(np.maximum(said, 0).mean())
    hits = []
    for i in range(1, len(true) - 1):
        lowest = true[i] <= true[i - 1] and true[i] < true[i + 1]
        around = true[max(0, i - 12) : i + 13]
        if lowest and true[i] < _CLOSED and around.max() > 3 * _CLOSED:
            near = said[max(0, i - _NEAR) : i + _NEAR + 1]
            hits.append(bool(near.min() < _SHUT * mean))
    return float(np.mean(hits)) if hits else float("nan")
