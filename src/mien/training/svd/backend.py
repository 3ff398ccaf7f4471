"""Training in several processes and in mixed precision, by accelerate."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from mien.errors import InputError, needs_extra
from mien.training.trainer import Backend
from mien.utils.device import training_device


class AccelerateBackend(Backend):
    """The process of a run that ``accelerate launch`` started, or the only one.

    Args:
        device: as in :func:`mien.utils.device.training_device`.
        precision: accelerate's mixed precision.

    Attributes:
        process, processes: number of this process, and how many there are.

    Raises:
        InputError: when the launcher asks for another library to spread the net.
    """

    def __init__(self, device: str, precision: str) -> None:
        with needs_extra("svd", "The training of the svd engine"):
            from accelerate import Accelerator
        for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
            if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true":
                raise InputError(
                    f"This training spreads its net itself and does not run with {name}; launch it "
                    "with --multi_gpu, and set sharding=full to spread the net."
                )
        cpu = training_device(device).type == "cpu"
        self.accelerator: Any = Accelerator(cpu=cpu, mixed_precision=precision)
        super().__init__(self.accelerator.device)
        self.is_main = self.accelerator.is_main_process
        self.process = int(self.accelerator.process_index)
        self.processes = int(self.accelerator.num_processes)

    def prepare(
        self, net: nn.Module, optimiser: Callable[[], torch.optim.Optimizer]
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Wrap both for the processes and the precision."""
        net, wrapped = self.accelerator.prepare(*super().prepare(net, optimiser))
        return net, wrapped

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, scaled where the precision needs it."""
        self.accelerator.backward(loss)

    def accumulating(self, model: nn.Module) -> AbstractContextManager[None]:
        """Keep the processes from exchanging gradients before the last ones of a step."""
        context: AbstractContextManager[None] = self.accelerator.no_sync(model)
        return context

    def clip(self, parameters: Iterable[nn.Parameter], norm: float) -> None:
        """Limit the norm of the gradients."""
        self.accelerator.clip_grad_norm_(parameters, norm)

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the means over all processes."""
        own = torch.tensor(list(values.values()), device=self.device)
        return dict(zip(values, self.accelerator.reduce(own, "mean").tolist(), strict=True))

    def state(self) -> dict[str, Any]:
        """Return the state of the gradients' scaler, which half precision has."""
        scaler = self.accelerator.scaler
        return {} if scaler is None else {"scaler": scaler.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue with the scaler's state."""
        if "scaler" in state and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
