"""Memory of the published UNet's activations in DICE-Talk's stage 2, counted without computing.

    python -m benchmarks.dice_memory --side 512 --frames 25

A forward pass of one window on PyTorch's meta device, where tensors have sizes and no values. The
tensors that autograd saves for the backward pass are counted once each, in single precision;
weights are not counted, nor are the attention's matrices, which a GPU does not store.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor

from mien.engines.svd.attention import Stream
from mien.engines.svd.unet import ADAPTER, SVD_XT, build_unet
from mien.training.svd.memory import checkpoint_blocks


def main() -> None:  # noqa: D103
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--frames", type=int, default=25)
    args = parser.parse_args()
    print("| checkpointing | saved | largest block, computed again |\n| --- | --- | --- |")
    for name in ("none", "diffusers", "mien"):
        saved, block = count(name, args.side, args.frames)
        again = f"{block / 1e9:.1f} GB" if name == "mien" else ""
        print(f"| {name} | {saved / 1e9:.1f} GB | {again} |", flush=True)


def count(checkpointing: str, side: int, frames: int) -> tuple[int, int]:
    """Count bytes saved by a window, and those of the largest block without checkpointing."""
    with torch.device("meta"):
        unet, conditioning = build_unet(dict(SVD_XT))
        unet.to("meta").train().requires_grad_(False)
        for weight, parameter in unet.named_parameters():
            parameter.requires_grad_(ADAPTER in weight)
        blocks = largest_blocks(unet)
        if checkpointing == "diffusers":
            unet.enable_gradient_checkpointing()
        elif checkpointing == "mien":
            checkpoint_blocks(unet)
        height = side // 8
        rows = torch.zeros(1, frames, dtype=torch.int64)
        streams = (
            Stream(torch.empty(frames + 1, 32, 1024, requires_grad=True), rows),
            Stream(torch.empty(2, 32, 1024, requires_grad=True), rows),
        )
        conditioning.caching = False
        pose = torch.empty(1, 320, height, height, requires_grad=True)
        conditioning.start(streams, torch.empty(1, 1, side, side), pose)
        given = (torch.empty(1, frames, 8, height, height), torch.empty(()),
                 torch.empty(1, 1, 1024), torch.empty(1, 3))  # fmt: skip
        saved = Saved(unet)
        with saved:
            unet(*given)
        largest = 0
        for block, inputs in blocks.items() if checkpointing == "mien" else ():
            own = Saved(unet)
            with own:
                block.forward.__wrapped__(*inputs[0], **inputs[1])
            largest = max(largest, own.total)
    return saved.total, largest


class Saved(torch.autograd.graph.saved_tensors_hooks):
    """Sums the sizes of saved tensors that are neither weights nor attention matrices."""

    def __init__(self, net: torch.nn.Module) -> None:
        left_out = {p.untyped_storage()._cdata for p in net.parameters()}
        kept: dict[int, Any] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage
            if tensor.ndim == 3 and tensor.shape[1] == tensor.shape[2]:  # attention
                left_out.add(storage._cdata)
            return tensor

        self._kept, self._left_out = kept, left_out
        super().__init__(keep, lambda tensor: tensor)

    @property
    def total(self) -> int:
        """Bytes."""
        return sum(s.nbytes() for key, s in self._kept.items() if key not in self._left_out)


def largest_blocks(unet: torch.nn.Module) -> dict[Any, Any]:
    """Remember the inputs of the blocks of the finest level, which are the largest."""
    found: dict[Any, Any] = {}
    for level in (unet.down_blocks[0], unet.up_blocks[-1]):
        for block in (*level.resnets, *level.attentions):

            def remember(module: Any, args: Any, more: Any) -> None:
                found[module] = (args, more)

            block.register_forward_pre_hook(remember, with_kwargs=True)
    return found


if __name__ == "__main__":
    main()
