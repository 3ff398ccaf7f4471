"""``mien edit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.console import progress_bar, show_report
from mien.cli.options import (
    AsJson,
    Compile,
    Debug,
    Device,
    Dtype,
    EmotionSpec,
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


def edit(
    input: Annotated[Path, typer.Argument(help="Video or picture to edit.", metavar="IN")],
    output: Output,
    emotion: EmotionSpec = None,
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
    """Change what a face feels in a video or picture."""
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
    show_report(report, as_json=as_json)
