"""``mien features``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.console import progress_bar
from mien.cli.options import Compile, Debug, Device, Dtype
from mien.errors import InputError


def features(
    videos: Annotated[Path, typer.Argument(help="Folder of videos, e.g. MEAD.", metavar="DIR")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.", metavar="OUT")],
    engine: Annotated[
        str, typer.Option("--engine", help="Whose training: edtalk or svd.")
    ] = "edtalk",
    side: Annotated[
        int | None, typer.Option("--side", help="Side of the crops in pixels (svd; default 512).")
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    debug: Debug = False,
) -> None:
    """Read a folder of videos into what the published engines' nets are trained on."""
    from mien.datasets.edtalk_features import extract_features
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.pipelines.models import EDTalkModels

    if not videos.is_dir():
        raise InputError(f"There is no folder {videos}.")
    if engine not in ("edtalk", "svd"):
        raise InputError(f"There is no engine {engine!r} here. Valid: edtalk, svd.")
    if engine == "svd":
        if dtype != "auto" or compile:
            raise InputError("--dtype and --compile belong to --engine edtalk.")
        _latents(videos, output, side or 512, device)
        return
    if side is not None:
        raise InputError("--side belongs to --engine svd.")
    models = EDTalkModels.open(EDTalkSettings(device, dtype, compile))
    with progress_bar("Reading") as progress:
        done = extract_features(videos, output, models, log=_log, progress=progress)
    typer.echo(f"{output}: features of {done} videos")


def _latents(videos: Path, output: Path, side: int, device: str) -> None:
    from mien.datasets.svd_clips import ClipEncoder, cache_clips
    from mien.utils.device import torch_device
    from mien.weights.store import Store

    encoder = ClipEncoder.open(Store(), side, torch_device(device))
    with progress_bar("Reading") as progress:
        done = cache_clips(videos, output, encoder, log=_log, progress=progress)
    typer.echo(f"{output}: {done} cached clips")


def _log(line: str) -> None:
    typer.echo(line, err=True)
