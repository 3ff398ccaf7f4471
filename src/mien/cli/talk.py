"""``mien talk``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import complete
from mien.cli import options as opt
from mien.cli.console import check_loudness, progress_bar, show_report

if TYPE_CHECKING:
    from mien.pipelines.mesh_talk import TalkSettings


def talk(
    portrait: Annotated[Path, typer.Argument(help="Picture, or video to dub.", metavar="PORTRAIT")],
    speech: Annotated[
        Path, typer.Argument(help="Sound or video file with the voice.", metavar="SPEECH")
    ],
    output: opt.OutputOrPreview = None,
    emotion: opt.EmotionSpec = None,
    au: opt.Units = None,
    like: opt.Like = None,
    neutral: opt.Neutral = None,
    timeline: opt.TimelineFile = None,
    intensity: opt.Intensity = 1.0,
    face: opt.WhichFace = "largest",
    preview: opt.Preview = None,
    compare: opt.Compare = None,
    follow: opt.Follow = None,
    fps: Annotated[int | None, typer.Option("--fps", help="25 (default), 30, 50 or 60.")] = None,
    max_side: Annotated[
        int | None, typer.Option("--max-side", help="Longest side of the output in pixels.")
    ] = None,
    liveliness: Annotated[
        float | None,
        typer.Option("--liveliness", help="Blinks, glances and head motion: 0 to 2; default 1."),
    ] = None,
    variety: Annotated[
        float | None,
        typer.Option("--variety", help="How much the expression varies: 0 to 1; default 0.5."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")] = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            help="mesh (built in), edtalk (C-MET as published) or svd (DICE-Talk as published).",
            autocompletion=complete.engines,
        ),
    ] = "mesh",
    device: opt.Device = "auto",
    dtype: opt.Dtype = "auto",
    compile: opt.Compile = False,
    restorer: opt.Restorer = None,
    connector: opt.Connector = None,
    svd_preset: opt.Preset = None,
    steps: opt.Steps = None,
    side: opt.Side = None,
    crop: opt.Crop = None,
    image_guidance: opt.ImageGuidance = None,
    audio_guidance: opt.AudioGuidance = None,
    emotion_guidance: opt.EmotionGuidance = None,
    retrieval: opt.Retrieval = False,
    embedder: opt.Embedder = None,
    max_memory: opt.MaxMemory = None,
    offload: opt.Offload = False,
    yes: opt.Yes = False,
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
    """Make a portrait speak, or dub the person in a video.

    A video longer than the speech keeps its length, with the mouth at rest after the speech. If the
    speech is longer, the last seconds of the video play back and forth until it ends.

    Without a requested emotion, the face shows that of the voice.
    """
    from mien.api import talk as run

    check_loudness(quiet, verbose)
    diffusion = opt.svd_options(
        engine,
        device=device,
        dtype=dtype,
        seed=seed,
        preset=svd_preset,
        num_inference_steps=steps,
        shorter_side=side,
        crop=crop,
        image_guidance=image_guidance,
        audio_guidance=audio_guidance,
        emotion_guidance=emotion_guidance,
        retrieval=retrieval,
        embedder=embedder,
        max_memory_gb=max_memory,
        offload=offload,
        allow_slow=yes,
        compile=compile,
        restorer=restorer,
        connector=connector,
    )
    unit = "calls" if diffusion else "frames"
    with progress_bar("Talking", unit, quiet=quiet) as progress:
        report = run(
            portrait,
            speech,
            opt.output_or_preview(output, portrait, preview),
            emotion,
            au=au,
            timeline=timeline,
            like=like,
            neutral=neutral,
            intensity=intensity,
            face=face,
            preview=preview,
            compare=compare,
            follow=follow,
            engine=engine,
            settings=_mesh_settings(
                rate=fps,
                side=max_side,
                liveliness=liveliness,
                variety=variety,
                seed=None if diffusion else seed,
            ),
            options=diffusion
            or opt.edtalk_options(engine, device, dtype, compile, restorer, connector),
            encoding=opt.encoding_settings(codec, quality, preset, lossless),
            overwrite=overwrite,
            max_pixels=max_pixels,
            provenance=not no_provenance,
            label=label,
            progress=progress,
        )
    show_report(report, as_json=as_json, quiet=quiet, verbose=verbose)


def _mesh_settings(**given: float | None) -> TalkSettings | None:
    """Return settings of the mesh engine from the options that were given; None without any."""
    named = {name: value for name, value in given.items() if value is not None}
    if not named:
        return None
    from mien.pipelines.mesh_talk import TalkSettings

    return TalkSettings(**named)  # type: ignore[arg-type]
