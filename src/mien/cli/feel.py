"""``mien feel``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.options import Debug

if TYPE_CHECKING:
    from rich.console import Console

    from mien.face.feeling import FaceFeeling
    from mien.speech.feeling import Feeling


def feel(
    files: Annotated[
        list[Path],
        typer.Argument(help="Sound or video files, pictures, silent films.", metavar="FILE..."),
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
        bool, typer.Option("--overwrite", "-y", help="Replace the picture if it exists.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per file and line.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Recognise the emotion of voices, or of faces in pictures and silent films."""
    from mien.api import feel as run
    from mien.errors import InputError
    from mien.speech.feeling import Feeling, draw_curve

    if plot is not None:
        from mien.media.output import STILL_SUFFIXES, check_output

        if len(files) != 1:
            raise InputError(f"--plot draws one file; {len(files)} were given.")
        check_output(plot, inputs=files, overwrite=overwrite, suffixes=STILL_SUFFIXES)
    for feeling in run(files, neutral=neutral):
        for warning in feeling.warnings:
            typer.echo(f"warning: {feeling.file}: {warning}", err=True)
        if plot is not None and not isinstance(feeling, Feeling):
            raise InputError(f"--plot draws the curve of a voice; {feeling.file} has no sound.")
        if as_json:
            json.dump(feeling.to_dict(), sys.stdout)
            typer.echo()
        else:
            _print(feeling)
        if plot is not None and isinstance(feeling, Feeling):
            from mien.media.still import write_still

            write_still(plot, draw_curve(feeling))


def _print(feeling: Feeling | FaceFeeling) -> None:
    from rich.console import Console

    from mien.speech.feeling import Feeling

    console = Console()
    length = f"  {feeling.seconds:.1f} s" if feeling.seconds else ""
    console.print(f"[bold]{feeling.file}[/bold]{length}", highlight=False)
    if isinstance(feeling, Feeling):
        _print_emotion(console, feeling.emotion)
        intensity = f"intensity {feeling.intensity:.2f}  "
        _print_measures(console, feeling.valence, feeling.arousal, intensity, feeling.confidence)
        return
    for number, face in enumerate(feeling.faces, 1):
        left, top, right, bottom = face.box
        console.print(f"face {number}: {left},{top} to {right},{bottom}", highlight=False)
        _print_emotion(console, face.emotion)
        _print_measures(console, face.valence, face.arousal, "", face.confidence)


def _print_emotion(console: Console, emotion: dict[str, float]) -> None:
    from rich.table import Table

    block = "#" if console.options.ascii_only else "█"
    table = Table(box=None, pad_edge=False, show_header=False)
    likeliest = sorted(emotion.items(), key=lambda item: -item[1])
    for name, share in likeliest:
        if share >= 0.01:
            table.add_row(name, f"{share:.2f}", block * round(30 * share))
    console.print(table)


def _print_measures(
    console: Console, valence: float, arousal: float, intensity: str, confidence: float
) -> None:
    console.print(
        f"valence {valence:+.2f}  arousal {arousal:+.2f}  {intensity}confidence {confidence:.2f}\n",
        highlight=False,
    )
