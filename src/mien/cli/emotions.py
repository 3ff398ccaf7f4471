"""``mien emotions``."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer


def emotions(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the emotions that have a name, and the action units they are made of."""
    from mien.facs import MEANINGS, RECIPES

    if as_json:
        data = {
            name: {"action_units": dict(recipe.units), "source": recipe.source}
            for name, recipe in RECIPES.items()
        }
        json.dump(data, sys.stdout)
        typer.echo()
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(box=None, pad_edge=False)
    for title in ("emotion", "action units at intensity 1", "source"):
        table.add_column(title)
    for name, recipe in RECIPES.items():
        units = "  ".join(f"{unit}={strength:g}" for unit, strength in recipe.units.items())
        table.add_row(name, units, recipe.source)
    console.print(table)
    console.print("\nAction units for --au (L or R behind a number: one side only):")
    console.print("  ".join(f"{unit} {meaning};" for unit, meaning in MEANINGS.items()))
