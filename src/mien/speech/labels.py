"""Emotions a voice can carry, and where they lie in valence and arousal."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

HEARD: Final = (
    "neutral",
    "happy",
    "sad",
    "angry",
    "surprised",
    "fear",
    "disgusted",
    "contempt",
    "calm",
    "bored",
)
"""Labels the listener gives probabilities for: the eight basic ones, calm and bored."""

VALENCE_AROUSAL: Final = MappingProxyType(
    {
        "neutral": (0.0, 0.0),
        "happy": (0.81, 0.51),
        "sad": (-0.63, -0.27),
        "angry": (-0.51, 0.59),
        "surprised": (0.40, 0.67),
        "fear": (-0.64, 0.60),
        "disgusted": (-0.60, 0.35),
        "contempt": (-0.55, 0.20),
        "calm": (0.40, -0.45),
        "bored": (-0.65, -0.62),
        "charismatic": (0.55, 0.45),
        "desirous": (0.45, 0.40),
        "empathetic": (0.25, -0.10),
        "envious": (-0.50, 0.20),
        "romantic": (0.70, 0.10),
        "sarcastic": (-0.30, 0.15),
    }
)
"""Valence and arousal, -1..1. Basic emotions and boredom after Russell & Mehrabian (1977);
contempt, calm and the extended emotions are this project's estimates."""
