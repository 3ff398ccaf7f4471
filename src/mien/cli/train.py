"""``mien train``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable


class Net(StrEnum):
    """What can be trained."""

    listener = "listener"
    connector = "connector"
    tracker = "tracker"
    articulator = "articulator"
    dice_mesh = "dice-mesh"
    connector_edtalk = "connector-edtalk"
    dice_embedder = "dice-embedder"
    dice = "dice"


def train(
    net: Annotated[Net, typer.Argument(help="Which net.")],
    config: Annotated[Path, typer.Option("--config", help="TOML file, see configs/.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for checkpoints and logs.", metavar="DIR")
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in DIR.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew where DIR has a checkpoint.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train a net; needs the extra mien[train]. Prints measures on held-out speakers."""
    from mien.errors import InputError, MissingExtraError

    try:
        import tensorboard  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"Training needs more than the core ({error.name}): pip install 'mien[train]'."
        ) from error
    if (output / "checkpoint.pt").exists() and not (resume or overwrite):
        raise InputError(
            f"{output} holds a checkpoint; use --resume to go on or --overwrite to start anew."
        )
    with progress_bar("Training") as progress:
        scores = _run(net, config, output, resume, progress)
    for name, value in scores.items():
        typer.echo(f"{name}: {value:.3f}")


def _run(
    net: Net,
    config: Path,
    output: Path,
    resume: bool,
    progress: Callable[[int, int | None], None] | None,
) -> dict[str, float]:
    def say(line: str) -> None:
        typer.echo(line, err=True)

    if net is Net.listener:
        from mien.training.listener.config import ListenerConfig
        from mien.training.listener.loop import train_listener

        settings = ListenerConfig.load(config)
        return train_listener(settings, output, resume=resume, say=say, progress=progress)
    if net is Net.tracker:
        from mien.training.tracker.config import FaceNetConfig
        from mien.training.tracker.loop import train_face_net

        tracker = FaceNetConfig.load(config)
        return train_face_net(tracker, output, resume=resume, say=say, progress=progress)
    if net is Net.dice_mesh:
        from mien.training.emotion_prior.config import DiceConfig
        from mien.training.emotion_prior.mesh import train_dice

        return train_dice(DiceConfig.load(config), output, say=say, progress=progress)
    if net is Net.articulator:
        from mien.training.articulator.config import ArticulatorConfig
        from mien.training.articulator.loop import train_articulator

        mouth = ArticulatorConfig.load(config)
        return train_articulator(mouth, output, resume=resume, say=say, progress=progress)
    if net is Net.dice_embedder:
        from mien.training.emotion_prior.published import EmbedderConfig, train_sequences

        first = EmbedderConfig.load(config)
        return train_sequences(first, output, resume=resume, say=say, progress=progress)
    if net is Net.dice:
        from mien.training.svd.config import DiffusionConfig
        from mien.training.svd.loop import nets_for, train_diffusion

        second = DiffusionConfig.load(config)
        nets = nets_for(second)
        return train_diffusion(second, nets, output, resume=resume, say=say, progress=progress)
    if net is Net.connector_edtalk:
        from mien.training.connector.edtalk import PublishedConfig, train_published

        published = PublishedConfig.load(config)
        return train_published(published, output, resume=resume, say=say, progress=progress)
    from mien.training.connector.config import ConnectorConfig
    from mien.training.connector.loop import train_connector

    plan = ConnectorConfig.load(config)
    return train_connector(plan, output, resume=resume, say=say, progress=progress)
