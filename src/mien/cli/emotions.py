"""``mien emotions``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from mien.emotion.expression_track import Preset

_LEAST: Final = 0.05
_SPEECH: Final = "speech and this project's estimate"


def emotions(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the emotions that have a name, and the action units they are made of."""
    from mien.face.facs import ACTION_UNITS, MEANINGS, RECIPES

    if as_json:
        data: dict[str, dict[str, Any]] = {
            name: {"action_units": dict(recipe.units), "source": recipe.source}
            for name, recipe in RECIPES.items()
        }
        for name, preset in _extended():
            entries = zip(ACTION_UNITS, preset.expression.tolist(), strict=True)
            data[name] = {
                "action_units": {unit: round(v, 3) for unit, v in entries if abs(v) >= _LEAST},
                "source": _SPEECH,
            }
        for name, entry in data.items():
            entry["valence"], entry["arousal"] = _place(name)
        json.dump(data, sys.stdout)
        typer.echo()
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(box=None, pad_edge=False)
    for title in ("emotion", "valence", "arousal", "action units at intensity 1", "source"):
        table.add_column(title)
    for name, recipe in RECIPES.items():
        units = "  ".join(f"{unit}={strength:g}" for unit, strength in recipe.units.items())
        table.add_row(name, *(f"{v:+.2f}" for v in _place(name)), units, recipe.source)
    for name, preset in _extended():
        strongest = sorted(
            zip(ACTION_UNITS, preset.expression.tolist(), strict=True),
            key=lambda item: -abs(item[1]),
        )
        units = "  ".join(f"{unit}={v:.2f}" for unit, v in strongest[:6] if abs(v) >= _LEAST)
        table.add_row(name, *(f"{v:+.2f}" for v in _place(name)), units, _SPEECH)
    console.print(table)
    console.print("auto: what the clip's own voice feels, over time.")
    console.print("\nAction units for --au (L or R behind a number: one side only):")
    console.print("  ".join(f"{unit} {meaning};" for unit, meaning in MEANINGS.items()))


def _extended() -> list[tuple[str, Preset]]:
    """The emotions made of speech that have no recipe."""
    from mien.emotion.expression_track import PRESETS, presets

    return [(name, presets()[name]) for name in PRESETS]


def _place(name: str) -> tuple[float, float]:
    """Valence and arousal of an emotion."""
    from mien.emotion.expression_track import presets
    from mien.speech.listener import AFFECT

    if name in AFFECT:
        valence, arousal, _ = AFFECT[name]
        return valence, arousal
    preset = presets()[name]
    return round(preset.valence, 2), round(preset.arousal, 2)
