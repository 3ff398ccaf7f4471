"""``mien emotions``."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Final, NamedTuple

import typer

_MIN_STRENGTH: Final = 0.05
"""Weaker action units are not listed."""

_UNITS_SHOWN: Final = 6
_SPEECH: Final = "speech and this project's estimate"


class _Entry(NamedTuple):
    valence: float
    arousal: float
    action_units: dict[str, float]
    source: str
    shown: str


def emotions(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the emotions that have a name, and their action units."""
    from mien.face.facs import MEANINGS

    entries = _entries()
    if as_json:
        data = {
            name: {
                "action_units": entry.action_units,
                "source": entry.source,
                "valence": entry.valence,
                "arousal": entry.arousal,
            }
            for name, entry in entries.items()
        }
        json.dump(data, sys.stdout)
        typer.echo()
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(box=None, pad_edge=False)
    for title in ("emotion", "valence", "arousal", "action units at intensity 1", "source"):
        table.add_column(title)
    for name, entry in entries.items():
        affect = (f"{entry.valence:+.2f}", f"{entry.arousal:+.2f}")
        table.add_row(name, *affect, entry.shown, entry.source)
    console.print(table)
    console.print("auto: the emotion of the clip's own voice, over time.")
    console.print("\nAction units for --au (with L or R: one side only):")
    console.print("  ".join(f"{unit} {meaning};" for unit, meaning in MEANINGS.items()))


def _entries() -> dict[str, _Entry]:
    """Return every named emotion: those with a recipe, then those derived from speech."""
    from mien.emotion.expression_track import PRESETS, presets
    from mien.face.facs import ACTION_UNITS, RECIPES
    from mien.speech.listener import AFFECT

    out = {}
    for name, recipe in RECIPES.items():
        valence, arousal, _ = AFFECT[name]
        shown = "  ".join(f"{unit}={strength:g}" for unit, strength in recipe.units.items())
        out[name] = _Entry(valence, arousal, dict(recipe.units), recipe.source, shown)
    for name in PRESETS:
        preset = presets()[name]
        pairs = zip(ACTION_UNITS, preset.expression.tolist(), strict=True)
        units = {unit: strength for unit, strength in pairs if abs(strength) >= _MIN_STRENGTH}
        strongest = sorted(units.items(), key=lambda item: -abs(item[1]))[:_UNITS_SHOWN]
        shown = "  ".join(f"{unit}={strength:.2f}" for unit, strength in strongest)
        rounded = {unit: round(strength, 3) for unit, strength in units.items()}
        affect = round(preset.valence, 2), round(preset.arousal, 2)
        out[name] = _Entry(*affect, rounded, _SPEECH, shown)
    return out
