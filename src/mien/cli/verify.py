"""``mien verify``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mien.cli import options as opt


def verify(
    file: Annotated[Path, typer.Argument(help="Picture, video or sound, of any program.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    debug: opt.Debug = False,
) -> None:
    """Show what a file says about its making: its credential, metadata, and mien's mark.

    The exit code is 1 if the file was changed after it was signed.
    """
    from mien.api import verify as run

    found = run(file)
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
    else:
        typer.echo("\n".join((f"{file}:", *found.in_words())))
    if found.broken:
        raise typer.Exit(1)
