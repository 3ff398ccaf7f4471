"""A look: an expression that comes from a voice or another face instead of a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mien.errors import WeightsError
from mien.face.facs import ACTION_UNITS, Expression
from mien.weights.bundled import open_arrays

PRESETS: Final = (
    "charismatic",
    "desirous",
    "empathetic",
    "envious",
    "romantic",
    "sarcastic",
)
"""Emotions without a recipe in action units; what voices full of them do to a face."""

AUTO: Final = "auto"
"""Name of the look that follows the clip's own voice."""


@dataclass(frozen=True, eq=False)
class Look:
    """An expression, steady or over time.

    Attributes:
        name: how reports call it.
        times: seconds ``float64 (K,)``, rising; K = 1 for a steady look.
        expressions: action units ``float32 (K, D)``.
        presence: how much of the person's own expression gives way, ``float32 (K,)``, 0..1.
        about: where it comes from, in plain values.
    """

    name: str
    times: npt.NDArray[np.float64]
    expressions: npt.NDArray[np.float32]
    presence: npt.NDArray[np.float32]
    about: Mapping[str, Any]

    @staticmethod
    def steady(name: str, expression: Expression, about: Mapping[str, Any]) -> Look:
        """A look that stays the same."""
        full = np.ones(1, np.float32)
        return Look(name, np.zeros(1), expression[None].astype(np.float32), full, about)

    def expression_at(self, time: float) -> Expression:
        """Action units ``float32 (D,)`` at ``time`` seconds, between the given times by line."""
        if len(self.times) == 1:
            return self.expressions[0]
        after = int(np.clip(np.searchsorted(self.times, time), 1, len(self.times) - 1))
        start, end = self.times[after - 1 : after + 1]
        share = float(np.clip((time - start) / (end - start), 0, 1))
        before, then = self.expressions[after - 1 : after + 1]
        return (before + share * (then - before)).astype(np.float32)

    def presence_at(self, time: float) -> float:
        """How much of the person's own expression gives way, 0..1."""
        return float(np.interp(time, self.times, self.presence))


@dataclass(frozen=True, slots=True)
class Preset:
    """A named emotion made of speech.

    Attributes:
        look: its expression.
        valence, arousal: of the voices, as the listener hears them, -1..1.
    """

    look: Look
    valence: float
    arousal: float


@lru_cache(maxsize=1)
def presets() -> Mapping[str, Preset]:
    """Emotions made of speech that ship with mien, by name.

    Raises:
        WeightsError: when the file is missing or damaged.
    """
    stored = open_arrays("presets.npz")
    names, faces, affect = stored["names"].tolist(), stored["expressions"], stored["affect"]
    if faces.shape[1:] != (len(ACTION_UNITS),):
        raise WeightsError("presets.npz does not fit this version; install mien again.")
    out = {}
    for name, face, (valence, arousal, _) in zip(names, faces, affect, strict=True):
        look = Look.steady(name, face, {"preset": name})
        out[name] = Preset(look, float(valence), float(arousal))
    return MappingProxyType(out)
