"""The emotions that have a name, as plain values."""

from __future__ import annotations

from typing import TypedDict


class NamedEmotion(TypedDict):
    """An emotion that has a name: its action units at intensity 1, and what a person would say."""

    action_units: dict[str, float]
    source: str
    valence: float
    arousal: float


def named_emotions() -> dict[str, NamedEmotion]:
    """Return every emotion that has a name."""
    from mien.face.facs import NAMED
    from mien.utils.affect import AFFECT

    return {
        name: {
            "action_units": dict(recipe.units),
            "source": recipe.source,
            "valence": AFFECT[name][0],
            "arousal": AFFECT[name][1],
        }
        for name, recipe in NAMED.items()
    }
