"""``mien feel``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.options import Debug

if TYPE_CHECKING:
    from mien.speech.feeling import Feeling


def feel(
    voices: Annotated[
        list[Path], typer.Argument(help="Sound or video files.", metavar="SPEECH...")
    ],
    neutral: Annotated[
        Path | None,
        typer.Option("--neutral", help="The same speaker, speaking neutrally.", metavar="SPEECH"),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Plot the curve of one file.", metavar="OUT.png"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the picture if it exists.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per file and line.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Recognise the emotion of a voice: probabilities, valence, arousal, intensity, a curve."""
    from mien.api import feel as run
    from mien.errors import InputError

    if plot is not None:
        from mien.media.output import STILL_SUFFIXES, check_output

        if len(voices) != 1:
            raise InputError(f"--plot draws one file; {len(voices)} were given.")
        check_output(plot, inputs=voices, overwrite=overwrite, suffixes=STILL_SUFFIXES)
    for feeling in run(voices, neutral=neutral):
        for warning in feeling.warnings:
            typer.echo(f"warning: {feeling.file}: {warning}", err=True)
        if as_json:
            json.dump(feeling.to_dict(), sys.stdout)
            typer.echo()
        else:
            _print(feeling)
        if plot is not None:
            from mien.media.still import write_still
            from mien.speech.feeling import draw_curve

            write_still(plot, draw_curve(feeling))


def _print(feeling: Feeling) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    block = "#" if console.options.ascii_only else "█"
    console.print(f"[bold]{feeling.file}[/bold]  {feeling.seconds:.1f} s", highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    likeliest = sorted(feeling.emotion.items(), key=lambda item: -item[1])
    for name, share in likeliest:
        if share >= 0.01:
            table.add_row(name, f"{share:.2f}", block * round(30 * share))
    console.print(table)
    console.print(
        f"valence {feeling.valence:+.2f}  arousal {feeling.arousal:+.2f}  "
        f"intensity {feeling.intensity:.2f}  confidence {feeling.confidence:.2f}\n",
        highlight=False,
    )
