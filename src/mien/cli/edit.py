"""``mien edit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.options import Compile, Device, Dtype, Restorer, edtalk_options
from mien.cli.progress import progress_bar
from mien.cli.summary import show


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
    engine: Annotated[
        str, typer.Option("--engine", help="What draws the face: mesh or edtalk.")
    ] = "mesh",
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    restorer: Restorer = None,
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
            options=edtalk_options(engine, device, dtype, compile, restorer),
            overwrite=overwrite,
            progress=progress,
        )
    show(report, as_json=as_json)
