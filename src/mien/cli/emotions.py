"""``mien emotions``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mien.cli.options import Debug, Overwrite
from mien.errors import InputError


def emotions(
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", help="Draw all of them on a face instead.", metavar="OUT.png"),
    ] = None,
    on: Annotated[
        Path | None,
        typer.Option("--on", help="The face to draw them on: a picture.", metavar="FILE"),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """List the emotions that have a name, or draw them."""
    from mien.emotion.named import named_emotions
    from mien.face.facs import MEANINGS

    if sheet is not None:
        from mien.cli.sheet import write_sheet

        if as_json:
            raise InputError("--json lists the emotions; leave it out to draw them.")
        write_sheet(sheet, on, overwrite=overwrite)
        typer.echo(f"{sheet}: {len(named_emotions())} emotions")
        return
    if on is not None or overwrite:
        raise InputError("--on and --overwrite belong to --sheet.")
    entries = named_emotions()
    if as_json:
        json.dump(entries, sys.stdout)
        typer.echo()
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(box=None, pad_edge=False)
    for title in ("emotion", "valence", "arousal", "action units at intensity 1", "source"):
        table.add_column(title)
    for name, entry in entries.items():
        affect = (f"{entry['valence']:+.2f}", f"{entry['arousal']:+.2f}")
        units = "  ".join(f"{u}={strength:g}" for u, strength in entry["action_units"].items())
        table.add_row(name, *affect, units, entry["source"])
    console.print(table)
    console.print("auto: the emotion of the clip's own voice, over time.")
    console.print("\nAction units for --au (with L or R: one side only):")
    console.print("  ".join(f"{unit} {meaning};" for unit, meaning in MEANINGS.items()))
