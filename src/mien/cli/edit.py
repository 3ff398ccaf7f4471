"""``mien edit``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.progress import progress_bar

if TYPE_CHECKING:
    from mien.editing.report import Report


def edit(
    input: Annotated[Path, typer.Argument(help="Video or picture to edit.", metavar="IN")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.", metavar="OUT")],
    emotion: Annotated[
        str | None,
        typer.Option(
            "--emotion", "-e", help="sad, sad:0.6, happy:0.7,surprised:0.4 or auto", metavar="SPEC"
        ),
    ] = None,
    au: Annotated[
        str | None, typer.Option("--au", help="Action units: 12L=0.8,4=0.5", metavar="SPEC")
    ] = None,
    like: Annotated[
        list[Path] | None,
        typer.Option(
            "--like",
            help="A voice that sounds, or a face that looks, as the face shall feel; repeatable.",
            metavar="FILE",
        ),
    ] = None,
    neutral: Annotated[
        list[Path] | None,
        typer.Option(
            "--neutral", help="The speaker of --like speaking plainly; repeatable.", metavar="FILE"
        ),
    ] = None,
    timeline: Annotated[
        Path | None,
        typer.Option("--timeline", help="JSON file: emotions over time.", metavar="FILE"),
    ] = None,
    intensity: Annotated[
        float, typer.Option("--intensity", "-i", help="0 (nothing) to 1.5; 1 is natural.")
    ] = 1.0,
    face: Annotated[
        str, typer.Option("--face", help="largest, all, a number (1 = leftmost) or a picture.")
    ] = "largest",
    engine: Annotated[str, typer.Option("--engine", help="What draws the face: mesh.")] = "mesh",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT if it exists.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Change what a face feels; everything else in the video stays."""
    from mien.api import edit as run

    with progress_bar("Editing") as progress:
        report = run(
            input,
            output,
            emotion,
            au=au,
            timeline=timeline,
            like=like,
            neutral=neutral,
            intensity=intensity,
            face=face,
            engine=engine,
            overwrite=overwrite,
            progress=progress,
        )
    for warning in report.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        json.dump(report.to_dict(), sys.stdout)
        typer.echo()
    else:
        typer.echo(_summary(report))


def _summary(report: Report) -> str:
    people = "1 face" if report.faces == 1 else f"{report.faces} faces"
    text = f"{report.output}: {people}, {report.frames} frame{'s' if report.frames != 1 else ''}"
    if report.frames > 1:
        text += f", {report.frames_per_second:.0f} frames/s"
    if report.spans_without_face:
        spans = ", ".join(f"{a:.2f}-{b:.2f} s" for a, b in report.spans_without_face[:5])
        more = len(report.spans_without_face) - 5
        text += f"\nno face, left as it was: {spans}" + (f" and {more} more" if more > 0 else "")
    return text
