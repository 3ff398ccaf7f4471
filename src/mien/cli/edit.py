"""``mien edit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.options import (
    AsJson,
    Compile,
    Debug,
    Device,
    Dtype,
    Intensity,
    Like,
    Neutral,
    Output,
    Overwrite,
    Restorer,
    TimelineFile,
    Units,
    WhichFace,
    edtalk_options,
)
from mien.cli.progress import progress_bar
from mien.cli.summary import show


def edit(
    input: Annotated[Path, typer.Argument(help="Video or picture to edit.", metavar="IN")],
    output: Output,
    emotion: Annotated[
        str | None,
        typer.Option(
            "--emotion", "-e", help="sad, sad:0.6, happy:0.7,surprised:0.4 or auto", metavar="SPEC"
        ),
    ] = None,
    au: Units = None,
    like: Like = None,
    neutral: Neutral = None,
    timeline: TimelineFile = None,
    intensity: Intensity = 1.0,
    face: WhichFace = "largest",
    engine: Annotated[str, typer.Option("--engine", help="Renderer: mesh or edtalk.")] = "mesh",
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    restorer: Restorer = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    debug: Debug = False,
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
