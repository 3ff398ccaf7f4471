"""Device and precision that nets run in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mien.errors import InputError, needs_extra

if TYPE_CHECKING:
    import torch

DTYPES: Final = ("auto", "fp32", "bf16", "fp16")
"""Names of precisions."""

_NAMES: Final = "auto, cpu, cuda, cuda:N, mps"


def torch_device(name: str, *, auto: tuple[str, ...] = ("cuda", "mps")) -> torch.device:
    """Return the device called ``auto``, ``cpu``, ``cuda[:N]`` or ``mps``.

    Args:
        name: requested device.
        auto: kinds that ``auto`` may choose, the first available one; else the CPU.

    Raises:
        InputError: for another name, or a device that is not available.
        MissingExtraError: without PyTorch.
    """
    with needs_extra("edtalk", "This engine"):
        import torch
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return torch.device(next((kind for kind in auto if available[kind]), "cpu"))
    kind, _, number = name.partition(":")
    if kind not in available or (number and not (kind == "cuda" and number.isdigit())):
        raise InputError(f"There is no device {name!r}. Valid: {_NAMES}.")
    if not available[kind]:
        raise InputError(
            f"{kind.upper()} was asked for, but this PyTorch sees none; use auto or cpu."
        )
    if number and int(number) >= torch.cuda.device_count():
        raise InputError(f"There is no {name}; this machine has {torch.cuda.device_count()}.")
    return torch.device(name)


def training_device(name: str) -> torch.device:
    """As :func:`torch_device`, but ``auto`` is CUDA or the CPU, which resume bit for bit."""
    return torch_device(name, auto=("cuda",))


def working_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of large convolutions; ``auto``: bfloat16 on CUDA, float32 elsewhere.

    Raises:
        InputError: for another name, or float16 on a CPU, where it is slow and overflows.
    """
    import torch

    if name not in DTYPES:
        raise InputError(f"There is no precision {name!r}. Valid: {', '.join(DTYPES)}.")
    if name == "auto":
        name = "bf16" if device.type == "cuda" else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise InputError("fp16 is for GPUs; on a CPU use fp32, or bf16 if it is a recent one.")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def out_of_memory(error: Exception) -> bool:
    """Return whether ``error`` is PyTorch's report that a GPU or CPU ran out of memory."""
    import torch

    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in text for words in ("out of memory", "can't allocate memory", "not enough memory")
    )
