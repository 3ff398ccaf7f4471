"""Memory of DICE-Talk's stage 2 at the published sizes, counted without computing.

    python -m benchmarks.dice_memory --side 512 --frames 25 --processes 8

On PyTorch's meta device, where tensors have sizes and no values.

Activations: a forward pass of one window. The tensors that autograd saves for the backward pass are
counted once each, in single precision, without weights and without the attention's matrices, which
a GPU does not store.

State: weights, gradients, both moments of AdamW and averages, whole in every process or spread
over several (the process with the largest share). A spread net also has up to two units of whole
weights in memory, the second on its way, and the gradients of one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mien.dicetalk.bank import BankSpec, EmotionBank, TokenNet
from mien.engines.svd.attention import Stream
from mien.engines.svd.networks import PUBLISHED, SvdNetworks
from mien.engines.svd.unet import ADAPTER, SVD_XT, PoseGuider, build_unet
from mien.training.svd.diffusion import Trainee
from mien.training.svd.memory import checkpoint_blocks, halve_frozen
from mien.weights.manifest import AUDIO

GB = 1e9


def main() -> None:  # noqa: D103
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--processes", type=int, default=8)
    args = parser.parse_args()
    print(f"| precision | processes | {' | '.join(STATE)} | all | whole units |\n{'| --- ' * 8}|")
    for precision in ("no", "bf16"):
        net = published_net(precision)
        for processes in (1, args.processes):
            sizes = state(net, processes)
            kept = " | ".join(f"{size / GB:.2f}" for size in (*sizes, sum(sizes)))
            whole = f"{gathered(net) / GB:.2f}" if processes > 1 else ""
            print(f"| {precision} | {processes} | {kept} | {whole} |", flush=True)
    print("\n| checkpointing | saved | largest block, computed again |\n| --- | --- | --- |")
    for name in ("none", "diffusers", "mien"):
        saved, block = count(name, args.side, args.frames)
        again = f"{block / GB:.1f} GB" if name == "mien" else ""
        print(f"| {name} | {saved / GB:.1f} GB | {again} |", flush=True)


STATE = ("weights", "gradients", "optimiser", "averages")


def published_net(precision: str) -> Trainee:
    """Build what stage 2 trains, on the meta device."""
    with torch.device("meta"):
        unet, conditioning = build_unet(dict(SVD_XT))
        small = (TokenNet(**PUBLISHED[AUDIO]), EmotionBank(BankSpec()), PoseGuider())
    nets = SvdNetworks(unet, conditioning, None, None, None, *small)
    net = Trainee(nets, temporal=False)
    if precision == "bf16":
        halve_frozen(unet, torch.bfloat16)
    return net


def state(net: Trainee, processes: int) -> tuple[int, int, int, int]:
    """Count the bytes of :data:`STATE` that a process keeps."""
    learned = share(net.learned().values(), processes)
    return share(net.parameters(), processes), learned, 2 * learned, learned


def share(parameters: Iterable[nn.Parameter], processes: int) -> int:
    """Count bytes of a process; weights are cut along their first axis."""
    return sum(p[: -(-len(p) // processes)].nbytes for p in parameters)


def gathered(net: Trainee) -> int:
    """Count the bytes of the two largest units that are whole at once, and of gradients of one."""
    sizes, seen = [], set[nn.Parameter]()
    for unit in net.units():
        own = [p for p in unit.parameters() if p not in seen]
        seen.update(own)
        learned = sum(p.nbytes for p in own if p.requires_grad)
        sizes.append((sum(p.nbytes for p in own), learned))
    weights = sorted(size for size, _ in sizes)
    return weights[-1] + weights[-2] + max(learned for _, learned in sizes)


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

    def __init__(self, net: nn.Module) -> None:
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


def largest_blocks(unet: nn.Module) -> dict[Any, Any]:
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
