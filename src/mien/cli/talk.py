"""``mien talk``."""

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
    WhichFace,
    edtalk_options,
)
from mien.cli.progress import progress_bar
from mien.cli.summary import show


def talk(
    portrait: Annotated[Path, typer.Argument(help="Picture, or video to dub.", metavar="PORTRAIT")],
    speech: Annotated[Path, typer.Argument(help="What it says.", metavar="SPEECH")],
    output: Output,
    emotion: Annotated[
        str | None,
        typer.Option(
            "--emotion",
            "-e",
            help="sad, sad:0.6, happy:0.7,surprised:0.4 or auto (the default)",
            metavar="SPEC",
        ),
    ] = None,
    like: Like = None,
    neutral: Neutral = None,
    timeline: TimelineFile = None,
    intensity: Intensity = 1.0,
    face: WhichFace = "largest",
    engine: Annotated[str, typer.Option("--engine", help="What draws the face.")] = "edtalk",
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    restorer: Restorer = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a portrait speak, or dub the person in a video."""
    from mien.api import talk as run

    with progress_bar("Talking") as progress:
        report = run(
            portrait,
            speech,
            output,
            emotion,
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
