"""Less memory for the UNet's activations, at the price of computing them twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

_BLOCKS: Final = ("SpatioTemporalResBlock", "TransformerSpatioTemporalModel")
"""Diffusers' classes whose inputs are all that is kept."""


def checkpoint_blocks(unet: nn.Module) -> None:
    """Keep only the inputs of the UNet's blocks for the backward pass.

    Diffusers' own gradient checkpointing leaves out the temporal layers of the transformers, which
    hold most of the memory.
    """
    for module in unet.modules():
        if type(module).__name__ in _BLOCKS:
            module.forward = _checkpointed(module.forward)


def _checkpointed(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def wrapper(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return wrapper
