"""``mien train NAME``, and ``mien features``, which prepares the data of two trainings."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.console import progress_bar
from mien.cli.data import Ray, Workers
from mien.cli.options import Compile, Debug, Device, Dtype
from mien.errors import InputError, needs_extra
from mien.training import TRAININGS

if TYPE_CHECKING:
    from mien.datasets.manifest import Processed

train = typer.Typer(help="Train a net; needs the extra mien\\[train].", no_args_is_help=True)


def _command(name: str) -> Callable[..., None]:
    def command(
        config: Annotated[
            Path, typer.Option("--config", help="TOML file, see configs/.", metavar="FILE")
        ],
        output: Annotated[
            Path,
            typer.Option(
                "-o", "--output", help="Folder for nets, checkpoints and logs.", metavar="DIR"
            ),
        ],
        data: Annotated[
            Path | None,
            typer.Option(
                "--data",
                help="Folder that relative paths in the settings refer to; by default that of "
                "the TOML file.",
                metavar="DIR",
            ),
        ] = None,
        changes: Annotated[
            list[str] | None,
            typer.Option("--set", help="Change a setting: --set seed=1.", metavar="NAME=VALUE"),
        ] = None,
        resume: Annotated[
            bool, typer.Option("--resume", help="Continue from the checkpoint in DIR.")
        ] = False,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Start anew where DIR has a checkpoint.")
        ] = False,
        debug: Debug = False,
    ) -> None:
        with needs_extra("train", "Training"):
            from mien.training.trainer import Trainer
        kind, run = _found(TRAININGS[name].config), _found(TRAININGS[name].run)
        settings = kind.load(config, data=data, changes=changes or ())
        settings.check_files()
        prints = os.environ.get("RANK", "0") == "0"  # of the processes of accelerate launch
        with progress_bar("Training") if prints else nullcontext() as progress:
            trainer = Trainer(
                output,
                resume=resume,
                overwrite=overwrite,
                log=_log if prints else None,
                progress=progress,
            )
            scores = run(settings, trainer)
        for measure, value in scores.items() if prints else ():
            typer.echo(f"{measure}: {value:.3f}")

    return command


def _found(place: str) -> Any:  # noqa: ANN401 - a class or a function
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def features(
    videos: Annotated[Path, typer.Argument(help="Folder of videos, e.g. MEAD.", metavar="DIR")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.", metavar="OUT")],
    engine: Annotated[
        str, typer.Option("--engine", help="Whose training: edtalk or svd.")
    ] = "edtalk",
    side: Annotated[
        int | None, typer.Option("--side", help="Side of the crops in pixels (svd; default 512).")
    ] = None,
    views: Annotated[
        list[str] | None,
        typer.Option("--view", help="View of MEAD, e.g. front; repeatable.", metavar="VIEW"),
    ] = None,
    workers: Workers = 1,
    ray: Ray = None,
    gpus: Annotated[float, typer.Option("--gpus", help="GPUs of each worker on Ray.")] = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    debug: Debug = False,
) -> None:
    """Read a folder of videos into what the published engines' nets are trained on.

    The exit code is 1 if videos were left out.
    """
    from mien.datasets.edtalk_features import extract_features
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.pipelines.cmet_models import CmetModels

    if not videos.is_dir():
        raise InputError(f"There is no folder {videos}.")
    if engine not in ("edtalk", "svd"):
        raise InputError(f"There is no engine {engine!r} here. Valid: edtalk, svd.")
    if engine == "svd":
        if compile:
            raise InputError("--compile belongs to --engine edtalk.")
        _cache_clips(videos, output, side or 512, device, dtype, views or (), workers, ray, gpus)
        return
    if side is not None or workers != 1 or ray is not None or gpus:
        raise InputError("--side, --workers, --ray and --gpus belong to --engine svd.")
    models = CmetModels.open(EDTalkSettings(device, dtype, compile))
    with progress_bar("Reading") as progress:
        done = extract_features(
            videos, output, models, views=views or (), log=_log, progress=progress
        )
    _count(done, f"{output}: features of {done.videos} videos")


def _cache_clips(
    videos: Path,
    output: Path,
    side: int,
    device: str,
    dtype: str,
    views: Sequence[str],
    workers: int,
    ray: str | None,
    gpus: float,
) -> None:
    from mien.datasets.svd_encoding import EncoderSettings, cache_clips
    from mien.weights.store import Store

    if gpus and ray is None:
        raise InputError("--gpus belongs to --ray; without it each worker takes the next GPU.")
    settings = EncoderSettings(Store().folder, side, device, dtype)
    with progress_bar("Reading") as progress:
        done = cache_clips(
            videos, output, settings, views=views, workers=workers, ray=ray, gpus=gpus, log=_log,
            progress=progress,
        )  # fmt: skip
    _count(done, f"{output}: {done.videos} cached clips")


def _count(done: Processed, text: str) -> None:
    typer.echo(text)
    if done.left_out:
        typer.echo(
            f"warning: {done.left_out} were left out, {done.silent} of them without sound", err=True
        )
        raise typer.Exit(1)


def _log(line: str) -> None:
    typer.echo(line, err=True)


for _name, _training in TRAININGS.items():
    train.command(_name, help=_training.help)(_command(_name))
