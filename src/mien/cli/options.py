"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.errors import InputError

if TYPE_CHECKING:
    from mien.engines.edtalk.settings import EDTalkSettings

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
