"""``mien train NAME``: one command per training."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli.console import progress_bar
from mien.cli.options import Debug
from mien.errors import needs_extra
from mien.training import TRAININGS

train = typer.Typer(help="Train a net; needs the extra mien\\[train].", no_args_is_help=True)


def _command(name: str) -> Callable[..., None]:
    def command(
        config: Annotated[Path, typer.Option("--config", help="TOML file, see configs/.")],
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
                help="Folder that relative paths in the settings start from; that of the TOML "
                "file by default.",
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
        with progress_bar("Training") as progress:
            trainer = Trainer(
                output,
                resume=resume,
                overwrite=overwrite,
                log=lambda line: typer.echo(line, err=True),
                progress=progress,
            )
            scores = run(settings, trainer)
        for measure, value in scores.items():
            typer.echo(f"{measure}: {value:.3f}")

    return command


def _found(place: str) -> Any:  # noqa: ANN401 - a class or a function
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


for _name, _training in TRAININGS.items():
    train.command(_name, help=_training.help)(_command(_name))
