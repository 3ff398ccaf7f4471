"""How pleasant, excited and dominant emotions are, from the literature."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

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
        "amused": (0.70, 0.45, 0.30),
        "charismatic": (0.60, 0.45, 0.60),
        "desirous": (0.45, 0.40, 0.05),
        "doubtful": (-0.30, 0.15, -0.20),
        "embarrassed": (-0.46, 0.54, -0.24),
        "empathetic": (0.25, -0.10, 0.05),
        "envious": (-0.50, 0.30, -0.20),
        "interested": (0.64, 0.51, 0.17),
        "pain": (-0.65, 0.50, -0.35),
        "proud": (0.77, 0.38, 0.65),
        "romantic": (0.70, 0.15, 0.10),
        "sarcastic": (-0.30, 0.20, 0.35),
    }
)
"""Valence, arousal and dominance of the labels and of all emotions that have a name, -1..1. Basic
emotions, bored, embarrassed, interested and proud after Russell & Mehrabian (1977); the others are
this project's estimates."""
