"""``mien emotions``."""

from __future__ import annotations

import json
import sys
from typing import Annotated, NamedTuple

import typer


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
    """Return every named emotion."""
    from mien.face.facs import NAMED
    from mien.speech.listener import AFFECT

    out = {}
    for name, recipe in NAMED.items():
        valence, arousal, _ = AFFECT[name]
        shown = "  ".join(f"{unit}={strength:g}" for unit, strength in recipe.units.items())
        out[name] = _Entry(valence, arousal, dict(recipe.units), recipe.source, shown)
    return out
