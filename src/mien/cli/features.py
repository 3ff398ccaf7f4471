"""``mien features``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.options import Compile, Debug, Device, Dtype
from mien.cli.progress import progress_bar
from mien.errors import InputError


def features(
    videos: Annotated[Path, typer.Argument(help="Folder of videos (MEAD).", metavar="DIR")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.", metavar="OUT")],
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    debug: Debug = False,
) -> None:
    """Expression coefficients and speech embeddings of many videos, to train on."""
    from mien.editing.edtalk import Published
    from mien.editing.features import extract
    from mien.engines.edtalk.settings import EDTalkSettings

    if not videos.is_dir():
        raise InputError(f"There is no folder {videos}.")
    nets = Published.open(EDTalkSettings(device, dtype, compile))

    def say(line: str) -> None:
        typer.echo(line, err=True)

    with progress_bar("Reading") as progress:
        done = extract(videos, output, nets, say=say, progress=progress)
    typer.echo(f"{output}: features of {done} videos")
