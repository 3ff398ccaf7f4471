"""``mien edit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import complete
from mien.cli import options as opt
from mien.cli.console import check_loudness, progress_bar, show_report

if TYPE_CHECKING:
    from mien.emotion.request import Request


def edit(
    input: Annotated[
        Path | None, typer.Argument(help="Video or picture to edit.", metavar="IN")
    ] = None,
    output: opt.OutputOrPreview = None,
    project: Annotated[
        Path | None,
        typer.Option("--project", help="Edit as a project of the studio says.", metavar="FILE"),
    ] = None,
    emotion: opt.EmotionSpec = None,
    au: opt.Units = None,
    like: opt.Like = None,
    neutral: opt.Neutral = None,
    timeline: opt.TimelineFile = None,
    intensity: opt.Intensity = 1.0,
    face: opt.WhichFace = "largest",
    start: opt.From = None,
    end: opt.To = None,
    preview: opt.Preview = None,
    compare: opt.Compare = None,
    follow: opt.Follow = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            help="mesh (built in) or edtalk (C-MET as published).",
            autocompletion=complete.engines,
        ),
    ] = "mesh",
    device: opt.Device = "auto",
    dtype: opt.Dtype = "auto",
    compile: opt.Compile = False,
    restorer: opt.Restorer = None,
    connector: opt.Connector = None,
    codec: opt.Codec = None,
    quality: opt.Quality = None,
    preset: opt.EncoderPreset = None,
    lossless: opt.Lossless = False,
    overwrite: opt.Overwrite = False,
    max_pixels: opt.MaxPixels = None,
    no_provenance: opt.NoProvenance = False,
    label: opt.VisibleLabel = None,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    as_json: opt.AsJson = False,
    debug: opt.Debug = False,
) -> None:
    """Change what a face feels in a video or picture.

    The output has the input's size, rate, length and sound.
    """
    from mien.api import edit as run
    from mien.emotion.project import Project
    from mien.errors import InputError

    check_loudness(quiet, verbose)
    request: Request | str | None = emotion
    if project is not None:
        if any(given is not None for given in (emotion, au, like, neutral, timeline)):
            raise InputError("--project says what is to be felt; leave the other options out.")
        opened = Project.load(project)
        input, request = input or opened.input, opened.request
        face = opened.face if face == "largest" else face
    if input is None:
        raise InputError("Name the video or picture to edit, or a --project.")
    if input.is_dir():
        raise InputError(
            f"{input} is a folder. To edit everything in it: mien batch {input} -o OUT -e EMOTION"
        )
    with progress_bar("Editing", quiet=quiet) as progress:
        report = run(
            input,
            opt.output_or_preview(output, input, preview),
            request,
            au=au,
            timeline=timeline,
            like=like,
            neutral=neutral,
            intensity=intensity,
            face=face,
            start=start or 0.0,
            end=end,
            preview=preview,
            compare=compare,
            follow=follow,
            engine=engine,
            options=opt.edtalk_options(engine, device, dtype, compile, restorer, connector),
            encoding=opt.encoding_settings(codec, quality, preset, lossless),
            overwrite=overwrite,
            max_pixels=max_pixels,
            provenance=not no_provenance,
            label=label,
            progress=progress,
        )
    show_report(report, as_json=as_json, quiet=quiet, verbose=verbose)
