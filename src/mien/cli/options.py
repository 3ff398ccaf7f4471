"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import complete
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.engines.svd.settings import SvdSettings
    from mien.media.encode import EncodingSettings


def _published(flag: str, help: str, **more: Any) -> Any:  # noqa: ANN401 - Typer's own types
    return typer.Option(flag, help=help, rich_help_panel="Published engines", **more)


def _video(flag: str, help: str, **more: Any) -> Any:  # noqa: ANN401
    return typer.Option(flag, help=help, rich_help_panel="Video encoding", **more)


def _svd(flag: str, help: str, **more: Any) -> Any:  # noqa: ANN401
    return typer.Option(flag, help=help, rich_help_panel="Engine svd", **more)


def _seconds(text: str) -> float:
    """Read ``83.5``, ``1:23.5`` or ``0:01:23.5`` as seconds."""
    parts = text.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3 or min(numbers) < 0:
        raise typer.BadParameter(f"{text!r} is no time; write seconds or minutes:seconds.")
    return sum(number * 60**place for place, number in enumerate(reversed(numbers)))


Output = Annotated[Path, typer.Option("-o", "--output", help="File to write.", metavar="OUT")]
OutputOrPreview = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="File to write; a preview without it is a PNG file in the current folder.",
        metavar="OUT",
    ),
]
Preview = Annotated[
    float | None,
    typer.Option(
        "--preview",
        help="Make only the frame at this time, as a picture: 83.5 or 1:23.5.",
        metavar="TIME",
        parser=_seconds,
    ),
]
From = Annotated[
    float | None,
    typer.Option(
        "--from", help="Leave the film as it is before this time.", metavar="TIME", parser=_seconds
    ),
]
To = Annotated[
    float | None,
    typer.Option(
        "--to", help="Leave the film as it is after this time.", metavar="TIME", parser=_seconds
    ),
]
Compare = Annotated[
    str | None,
    typer.Option(
        "--compare",
        help="Show the original too: side (beside the result) or split (as the left half).",
        metavar="HOW",
        autocompletion=complete.comparisons,
    ),
]
EmotionSpec = Annotated[
    str | None,
    typer.Option(
        "--emotion",
        "-e",
        help="sad, sad:0.6, happy:0.7,surprised:0.4, or auto: that of the clip's own voice.",
        metavar="SPEC",
        autocompletion=complete.emotions,
    ),
]
Units = Annotated[
    str | None, typer.Option("--au", help="Action units, such as 12L=0.8,4=0.5.", metavar="SPEC")
]
Like = Annotated[
    list[Path] | None,
    typer.Option(
        "--like", help="Take the emotion of this voice, clip or face; repeatable.", metavar="FILE"
    ),
]
Neutral = Annotated[
    list[Path] | None,
    typer.Option(
        "--neutral", help="The same speaker, speaking neutrally; repeatable.", metavar="FILE"
    ),
]
TimelineFile = Annotated[
    Path | None,
    typer.Option(
        "--timeline",
        help="Emotions over time: JSON, subtitles with tags such as \\[sad], or text.",
        metavar="FILE",
    ),
]
Intensity = Annotated[
    float, typer.Option("--intensity", "-I", help="From 0 (no change) to 1.5; 1 is natural.")
]
WhichFace = Annotated[
    str,
    typer.Option(
        "--face",
        help="Whose face: largest, all, a number (1 is leftmost) or a picture of the person.",
        autocompletion=complete.faces,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", "-y", help="Replace OUT if it exists.")]
MaxPixels = Annotated[
    int | None,
    typer.Option("--max-pixels", help="Largest size of inputs in pixels; default 2^27."),
]
NoProvenance = Annotated[
    bool,
    typer.Option("--no-provenance", help="Do not mark or sign the output; the report says so."),
]
VisibleLabel = Annotated[
    str | None,
    typer.Option(
        "--label",
        help='Show "AI edited" in a corner, in this language: en, de …',
        metavar="LANG",
        autocompletion=complete.languages,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also print the encoding, the nets and the mark.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

Codec = Annotated[
    str | None,
    _video(
        "--codec",
        "h264, hevc, av1, vp9, prores, ffv1 or an encoder of FFmpeg.",
        autocompletion=complete.codecs,
    ),
]
Quality = Annotated[
    int | None, _video("--quality", "On the codec's scale; lower is better; 18 for H.264.")
]
EncoderPreset = Annotated[
    str | None, _video("--preset", "Speed against size, as the encoder names it.")
]
Lossless = Annotated[bool, _video("--lossless", "Store every sample exactly.")]

Device = Annotated[str, _published("--device", "auto, cpu, cuda, cuda:N or mps.")]
Dtype = Annotated[str, _published("--dtype", "auto, fp32, bf16 or fp16.")]
Compile = Annotated[
    bool, _published("--compile", "Compile the nets first; worth it for long clips.")
]
Restorer = Annotated[
    Path | None, _published("--restorer", "ONNX net that restores drawn faces.", metavar="FILE")
]
Connector = Annotated[
    Path | None,
    _published(
        "--connector", "Net of mien train connector-edtalk, not the published one.", metavar="FILE"
    ),
]

Preset = Annotated[str | None, _svd("--svd-preset", "exact (default), fewer, fast or turbo.")]
Steps = Annotated[int | None, _svd("--steps", "Sampling steps; overrides the preset.")]
Side = Annotated[
    int | None, _svd("--side", "Shorter side of the frames, a multiple of 64; default 512.")
]
ImageGuidance = Annotated[
    float | None, _svd("--image-guidance", "Guidance weight of the picture; default 3.")
]
Crop = Annotated[
    float | None,
    _svd("--crop", "Cut a square around the face, its box grown by this share; 0.5 is usual."),
]
AudioGuidance = Annotated[
    float | None, _svd("--audio-guidance", "Guidance weight of the voice; default 6.")
]
EmotionGuidance = Annotated[
    float | None,
    _svd(
        "--emotion-guidance", "Guidance weight of the emotion; default 6. Unequal ones cost more."
    ),
]
Retrieval = Annotated[bool, _svd("--retrieval", "Use only the nearest entry of the emotion bank.")]
Embedder = Annotated[
    Path | None,
    _svd("--embedder", "Net of mien train dice-embedder; lets --like name faces.", metavar="FILE"),
]
MaxMemory = Annotated[
    float | None, _svd("--max-memory", "Memory limit in gigabytes; adapts the run to it.")
]
Offload = Annotated[bool, _svd("--offload", "Keep idle nets off the GPU.")]
Yes = Annotated[bool, _svd("--yes", "Run even if it is estimated to take very long.")]


def output_or_preview(output: Path | None, source: Path, preview: float | None) -> Path:
    """Return the file to write; a preview has a name of its own where none is given.

    Raises:
        InputError: where there is neither.
    """
    if output is not None:
        return output
    if preview is None:
        raise InputError("Name the file to write with -o (--output).")
    return Path(f"{source.stem}_{preview:g}s.png")


Follow = Annotated[
    Path | None,
    typer.Option(
        "--follow",
        help="Film of a person whose brows, eyes, cheeks and smile to take over, over time.",
        metavar="FILM",
    ),
]


def encoding_settings(
    codec: str | None, quality: int | None, preset: str | None, lossless: bool
) -> EncodingSettings:
    """Return how a video is written."""
    from mien.media.encode import EncodingSettings

    return EncodingSettings(codec, quality, preset, lossless)


def edtalk_options(
    engine: str,
    device: str,
    dtype: str,
    compile: bool,
    restorer: Path | None,
    connector: Path | None = None,
) -> EDTalkSettings | None:
    """Return the settings of the engine edtalk; None for the mesh.

    Raises:
        InputError: for an option that the mesh does not have.
    """
    if engine == "mesh":
        given = (device, dtype, compile, restorer, connector)
        if given != ("auto", "auto", False, None, None):
            raise InputError(
                "--device, --dtype, --compile, --restorer and --connector belong to --engine "
                "edtalk; the mesh needs none of them."
            )
        return None
    from mien.engines.edtalk.settings import EDTalkSettings

    return EDTalkSettings(device, dtype, compile, restorer, connector)


_SHARED = ("device", "dtype", "seed", "compile", "restorer", "connector")
"""Options that other engines have too."""


def svd_options(engine: str, **given: object) -> SvdSettings | None:
    """Return the settings of the engine svd from the options given; None for other engines.

    Raises:
        InputError: for an option that the engine does not have.
    """
    named = {
        name: value for name, value in given.items() if value is not None and value is not False
    }
    if engine == "svd":
        from mien.engines.svd.settings import SvdSettings

        if any(named.pop(name, None) for name in ("compile", "restorer", "connector")):
            raise InputError("--compile, --restorer and --connector belong to --engine edtalk.")
        return SvdSettings(**named)  # type: ignore[arg-type]
    own = [name for name in named if name not in _SHARED]
    if own:
        names = {
            "num_inference_steps": "--steps",
            "shorter_side": "--side",
            "allow_slow": "--yes",
            "preset": "--svd-preset",
            "max_memory_gb": "--max-memory",
        }
        options = ", ".join(names.get(name, "--" + name.replace("_", "-")) for name in own)
        raise InputError(f"{options}: only for --engine svd.")
    return None
