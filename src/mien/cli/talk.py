"""``mien talk``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.console import progress_bar, show_report
from mien.cli.options import (
    AsJson,
    Compile,
    Debug,
    Device,
    Dtype,
    Embedder,
    EmotionSpec,
    ImageGuidance,
    Intensity,
    Like,
    MaxMemory,
    Neutral,
    Offload,
    Output,
    Overwrite,
    Preset,
    Restorer,
    Retrieval,
    Side,
    SpeechGuidance,
    Steps,
    TimelineFile,
    Units,
    WhichFace,
    Yes,
    edtalk_options,
    svd_options,
)

if TYPE_CHECKING:
    from mien.pipelines.mesh_talk import TalkSettings


def talk(
    portrait: Annotated[Path, typer.Argument(help="Picture, or video to dub.", metavar="PORTRAIT")],
    speech: Annotated[
        Path, typer.Argument(help="Sound or video file with the voice.", metavar="SPEECH")
    ],
    output: Output,
    emotion: EmotionSpec = None,
    au: Units = None,
    like: Like = None,
    neutral: Neutral = None,
    timeline: TimelineFile = None,
    intensity: Intensity = 1.0,
    face: WhichFace = "largest",
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
        str, typer.Option("--engine", help="Renderer: mesh, edtalk or svd.")
    ] = "mesh",
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    restorer: Restorer = None,
    preset: Preset = None,
    steps: Steps = None,
    side: Side = None,
    image_guidance: ImageGuidance = None,
    speech_guidance: SpeechGuidance = None,
    retrieval: Retrieval = False,
    embedder: Embedder = None,
    max_memory: MaxMemory = None,
    offload: Offload = False,
    yes: Yes = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a portrait speak, or dub the person in a video.

    Without a requested emotion, the face shows that of the voice.
    """
    from mien.api import talk as run

    diffusion = svd_options(
        engine,
        device=device,
        dtype=dtype,
        seed=seed,
        preset=preset,
        num_inference_steps=steps,
        shorter_side=side,
        image_guidance=image_guidance,
        speech_guidance=speech_guidance,
        retrieval=retrieval,
        embedder=embedder,
        max_memory_gb=max_memory,
        offload=offload,
        allow_slow=yes,
        compile=compile,
        restorer=restorer,
    )
    with progress_bar("Talking") as progress:
        report = run(
            portrait,
            speech,
            output,
            emotion,
            au=au,
            timeline=timeline,
            like=like,
            neutral=neutral,
            intensity=intensity,
            face=face,
            engine=engine,
            settings=_mesh_settings(
                rate=fps,
                side=max_side,
                liveliness=liveliness,
                variety=variety,
                seed=None if diffusion else seed,
            ),
            options=diffusion or edtalk_options(engine, device, dtype, compile, restorer),
            overwrite=overwrite,
            progress=progress,
        )
    show_report(report, as_json=as_json)


def _mesh_settings(**given: float | None) -> TalkSettings | None:
    """Return settings of the mesh engine from the options that were given; None without any."""
    named = {name: value for name, value in given.items() if value is not None}
    if not named:
        return None
    from mien.pipelines.mesh_talk import TalkSettings

    return TalkSettings(**named)  # type: ignore[arg-type]
