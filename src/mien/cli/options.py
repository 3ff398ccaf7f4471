"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.errors import InputError

if TYPE_CHECKING:
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.engines.svd.settings import SvdSettings

Output = Annotated[Path, typer.Option("-o", "--output", help="File to write.", metavar="OUT")]
Units = Annotated[
    str | None, typer.Option("--au", help="Action units: 12L=0.8,4=0.5", metavar="SPEC")
]
Like = Annotated[
    list[Path] | None,
    typer.Option(
        "--like",
        help="A voice that sounds, or a face that looks, as the face shall feel; repeatable.",
        metavar="FILE",
    ),
]
Neutral = Annotated[
    list[Path] | None,
    typer.Option(
        "--neutral", help="The speaker of --like speaking plainly; repeatable.", metavar="FILE"
    ),
]
TimelineFile = Annotated[
    Path | None,
    typer.Option("--timeline", help="JSON file: emotions over time.", metavar="FILE"),
]
Intensity = Annotated[
    float, typer.Option("--intensity", "-i", help="0 (nothing) to 1.5; 1 is natural.")
]
WhichFace = Annotated[
    str, typer.Option("--face", help="largest, all, a number (1 = leftmost) or a picture.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

_PUBLISHED = "Published engines"

Device = Annotated[
    str,
    typer.Option("--device", help="auto, cpu, cuda, cuda:N, mps.", rich_help_panel=_PUBLISHED),
]
Dtype = Annotated[
    str,
    typer.Option("--dtype", help="auto, fp32, bf16, fp16.", rich_help_panel=_PUBLISHED),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile", help="Compile the nets first; for long clips.", rich_help_panel=_PUBLISHED
    ),
]
Restorer = Annotated[
    Path | None,
    typer.Option(
        "--restorer",
        help="ONNX net that sharpens drawn faces.",
        metavar="FILE",
        rich_help_panel=_PUBLISHED,
    ),
]


def edtalk_options(
    engine: str, device: str, dtype: str, compile: bool, restorer: Path | None
) -> EDTalkSettings | None:
    """Settings of the engine edtalk; None for the mesh.

    Raises:
        InputError: when the mesh is asked for something it does not have.
    """
    if engine == "mesh":
        if (device, dtype, compile, restorer) != ("auto", "auto", False, None):
            raise InputError(
                "--device, --dtype, --compile and --restorer belong to --engine edtalk; the mesh "
                "needs none of them."
            )
        return None
    from mien.engines.edtalk.settings import EDTalkSettings

    return EDTalkSettings(device, dtype, compile, restorer)


_DIFFUSION = "Engine svd"

Preset = Annotated[
    str | None,
    typer.Option("--preset", help="exact (usual), fewer or fast.", rich_help_panel=_DIFFUSION),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps", help="Of the sampler, instead of the preset's.", rich_help_panel=_DIFFUSION
    ),
]
Side = Annotated[
    int | None,
    typer.Option(
        "--side", help="Shorter side that is made; usually 512.", rich_help_panel=_DIFFUSION
    ),
]
ImageGuidance = Annotated[
    float | None,
    typer.Option("--image-guidance", help="Weight of the picture; 3.", rich_help_panel=_DIFFUSION),
]
SpeechGuidance = Annotated[
    float | None,
    typer.Option(
        "--speech-guidance", help="Weight of voice and emotion; 6.", rich_help_panel=_DIFFUSION
    ),
]
Retrieval = Annotated[
    bool,
    typer.Option(
        "--retrieval", help="Ask the bank's nearest entry alone.", rich_help_panel=_DIFFUSION
    ),
]
Embedder = Annotated[
    Path | None,
    typer.Option(
        "--embedder",
        help="Of mien train dice-embedder: --like by face and voice.",
        metavar="FILE",
        rich_help_panel=_DIFFUSION,
    ),
]
MaxMemory = Annotated[
    float | None,
    typer.Option(
        "--max-memory", help="Gigabytes to stay within; chooses levers.", rich_help_panel=_DIFFUSION
    ),
]
Offload = Annotated[
    bool,
    typer.Option("--offload", help="Nets wait off the GPU.", rich_help_panel=_DIFFUSION),
]
Yes = Annotated[
    bool,
    typer.Option("--yes", help="Go ahead although it takes long.", rich_help_panel=_DIFFUSION),
]


_SHARED = ("device", "dtype", "seed", "compile", "restorer")
"""Options that other engines know too."""


def svd_options(engine: str, **given: object) -> SvdSettings | None:
    """Settings of the engine svd out of the options that were given (not None, not False).

    Raises:
        InputError: when another engine is asked for something it does not have.
    """
    named = {
        name: value for name, value in given.items() if value is not None and value is not False
    }
    if engine == "svd":
        from mien.engines.svd.settings import SvdSettings

        if named.pop("compile", None) or named.pop("restorer", None):
            raise InputError("--compile and --restorer belong to --engine edtalk.")
        return SvdSettings(**named)  # type: ignore[arg-type]
    own = [name for name in named if name not in _SHARED]
    if own:
        said = {"patient": "--yes", "memory": "--max-memory"}
        options = ", ".join(said.get(name, "--" + name.replace("_", "-")) for name in own)
        raise InputError(f"{options}: for --engine svd alone.")
    return None
