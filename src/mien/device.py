"""Where nets are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.errors import InputError

if TYPE_CHECKING:
    import torch


def training_device(name: str) -> torch.device:
    """The device called ``auto`` (CUDA if there is one, else the CPU), ``cpu`` or ``cuda[:N]``.

    Raises:
        InputError: for another name, or CUDA where there is none.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.partition(":")[0] not in ("cpu", "cuda"):
        raise InputError(f"There is no device {name!r}. Valid: auto, cpu, cuda, cuda:N.")
    if name != "cpu" and not torch.cuda.is_available():
        raise InputError("CUDA was asked for, but this PyTorch sees none; use auto or cpu.")
    return torch.device(name)
