"""Emotions a voice can carry, and where they lie in valence, arousal and dominance."""

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

AFFECT: Final = MappingProxyType(
    {
        "neutral": (0.0, 0.0, 0.0),
        "happy": (0.81, 0.51, 0.46),
        "sad": (-0.63, -0.27, -0.33),
        "angry": (-0.51, 0.59, 0.25),
        "surprised": (0.40, 0.67, -0.13),
        "fear": (-0.64, 0.60, -0.43),
        "disgusted": (-0.60, 0.35, 0.11),
        "contempt": (-0.55, 0.20, 0.30),
        "calm": (0.40, -0.45, 0.10),
        "bored": (-0.65, -0.62, -0.33),
    }
)
"""Valence, arousal and dominance of what is heard, -1..1. Basic emotions and boredom after Russell
& Mehrabian (1977); contempt and calm are this project's estimates."""
