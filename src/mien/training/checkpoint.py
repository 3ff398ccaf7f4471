"""State of trainings on disk, whole or not at all; averaged weights. Needs the extra ``train``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from mien.errors import InputError
from mien.media.output import whole_file

_NAME: Final = "checkpoint.pt"


def save_checkpoint(folder: Path, config: Any, done: int, parts: Mapping[str, Any]) -> None:  # noqa: ANN401
    """Write ``checkpoint.pt``.

    Args:
        folder: where to.
        config: dataclass of the run's settings; a run can only be resumed with the same.
        done: steps done.
        parts: nets and optimisers by name.
    """
    state: dict[str, Any] = {"config": _said(config), "done": done}
    state |= {name: part.state_dict() for name, part in parts.items()}
    with whole_file(folder / _NAME) as part:
        torch.save(state, part)


def load_checkpoint(
    folder: Path,
    config: Any,  # noqa: ANN401
    parts: Mapping[str, Any],
    device: torch.device,
) -> int:
    """Put what ``checkpoint.pt`` holds into ``parts``; the steps done.

    Raises:
        InputError: when there is none, or it belongs to other settings.
    """
    path = folder / _NAME
    if not path.is_file():
        raise InputError(f"There is no checkpoint {path} to resume from.")
    state = torch.load(path, map_location=device, weights_only=True)
    if state["config"] != _said(config):
        raise InputError(f"The checkpoint {path} was made with other settings.")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["done"])


def save_weights(path: Path, net: Any) -> None:  # noqa: ANN401 - has a spec
    """Write a net's weights with its ``spec``."""
    state = {"spec": net.spec.to_dict(), "weights": net.state_dict()}
    with whole_file(path) as part:
        torch.save(state, part)


def load_weights(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Sizes and weights that :func:`save_weights` wrote.

    Raises:
        InputError: when there is no such file.
    """
    if not path.is_file():
        raise InputError(f"There is no trained net {path}.")
    state = torch.load(path, map_location="cpu", weights_only=True)
    return state["spec"], state["weights"]


@torch.no_grad()
def average_into(mean: nn.Module, now: nn.Module, keep: float, *, buffers: bool = True) -> None:
    """Move averaged weights towards ``now``: ``keep`` of the old ones is kept.

    ``buffers``: average running statistics too, instead of copying them.
    """
    for kept, value in zip(mean.parameters(), now.parameters(), strict=True):
        kept.lerp_(value, 1 - keep)
    for buffer, current in zip(mean.buffers(), now.buffers(), strict=True):
        if buffers and current.is_floating_point():
            buffer.lerp_(current, 1 - keep)
        else:
            buffer.copy_(current)


def _said(config: Any) -> str:  # noqa: ANN401
    return json.dumps(asdict(config), default=list)
