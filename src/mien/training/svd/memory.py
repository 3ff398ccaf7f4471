"""Less memory for the UNet: activations computed twice, frozen weights in half precision."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

_BLOCKS: Final = ("SpatioTemporalResBlock", "TransformerSpatioTemporalModel")
"""Diffusers' classes that hold most of the UNet's weights and activations."""


def blocks(unet: nn.Module) -> list[nn.Module]:
    """Return the UNet's blocks, which do not contain each other."""
    return [module for module in unet.modules() if type(module).__name__ in _BLOCKS]


def checkpoint_blocks(unet: nn.Module) -> None:
    """Keep only the inputs of the UNet's blocks for the backward pass.

    Diffusers' own gradient checkpointing leaves out the temporal layers of the transformers, which
    hold most of the memory.
    """
    for block in blocks(unet):
        block.forward = _checkpointed(block.forward)


def halve_frozen(unet: nn.Module, dtype: torch.dtype) -> None:
    """Keep the frozen weights of linear layers and convolutions in the precision they compute in.

    Autocast would round them to it in every call, so the result is the same.
    """
    for module in unet.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(dtype)


def _checkpointed(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def wrapper(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return wrapper
