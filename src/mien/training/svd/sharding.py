"""Training with a net that is spread over the processes, by PyTorch's FSDP2."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate

from mien.training.svd.backend import AccelerateBackend
from mien.training.trainer import State


class ShardedBackend(AccelerateBackend):
    """A process that keeps a part of every weight, of its gradient, average and optimiser.

    The weights of a unit of the net (``net.units()``, inner ones first) are gathered while it
    computes. Every process must run all units in the same order, and use the same weights.
    """

    def prepare(
        self, net: Any, optimiser: Callable[[], torch.optim.Optimizer]  # noqa: ANN401
    ) -> tuple[nn.Module, torch.optim.Optimizer]:  # fmt: skip
        """Spread the net, unit by unit, so that no device ever holds all of it."""
        # Outputs that are views must not be changed in place: the UNet does not.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
        mesh = init_device_mesh(self.device.type, (self.processes,))
        for unit in net.units():
            fully_shard(unit, mesh=mesh)
        # The name is of no importance: this adds the mixed precision and nothing else.
        self.accelerator.prepare_model(net, device_placement=False, evaluation_mode=True)
        return net, optimiser()

    @contextmanager
    def accumulating(self, model: Any) -> Iterator[None]:  # noqa: ANN401
        """Keep the processes from exchanging gradients before the last ones of a step."""
        model.set_requires_gradient_sync(False)
        yield
        model.set_requires_gradient_sync(True)

    def gathered(self, state: State) -> State:
        """Return a state with whole tensors in the main process's memory, None in others'."""
        return self._gathered(state)

    def _gathered(self, value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, Mapping):
            return {name: self._gathered(entry) for name, entry in value.items()}
        if isinstance(value, DTensor):
            whole = value.full_tensor()
            return whole.cpu() if self.is_main else None
        return value

    def own_part(self, value: Tensor, weight: Tensor) -> Tensor:
        """Return the part of ``value`` that belongs to this process's part of a weight."""
        if not isinstance(weight, DTensor):
            return value
        mesh, everywhere = weight.device_mesh, [Replicate()] * weight.device_mesh.ndim
        whole = DTensor.from_local(value.to(weight.device), mesh, everywhere, run_check=False)
        return whole.redistribute(placements=weight.placements)

    @contextmanager
    def whole(self, module: nn.Module) -> Iterator[None]:
        """Gather the learned weights of a module, and keep what the block makes of them."""
        spread: list[tuple[nn.Module, str, Any]] = [
            (owner, name, weight)
            for owner in module.modules()
            for name, weight in owner.named_parameters(recurse=False)
            if weight.requires_grad
        ]
        with torch.no_grad():
            for owner, name, weight in spread:
                setattr(owner, name, nn.Parameter(weight.detach().full_tensor()))
        yield
        with torch.no_grad():
            for owner, name, weight in spread:
                weight.copy_(self.own_part(getattr(owner, name).detach(), weight))
                setattr(owner, name, weight)
