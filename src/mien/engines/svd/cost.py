"""What a clip costs: operations, seconds, memory. Estimates, to warn and to choose levers by.

Counted for the published sizes at 512 x 512 with 25 frames (``benchmarks/svd.py``); other sizes
follow by area, frames and number of weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Final

import torch

from mien.engines.svd.guidance import BRANCHES
from mien.engines.svd.nets import Nets
from mien.engines.svd.settings import PRESETS, SvdSettings
from mien.errors import InputError

_AREA: Final = 512 * 512
_LENGTH: Final = 25
_WEIGHTS: Final = 1.627e9
"""Of the published UNet with adapters."""

_LAYERS, _ATTENTION, _FINEST = 28.6e12, 3.2e12, 11.5e12
"""Operations of a UNet call per branch: growing with the area, with its square, and of the finest
level alone."""

_DECODE: Final = 3.0e12
"""Operations per decoded frame."""

_UNET_BYTES, _UNET_BASE, _DECODE_BYTES = 0.93e9, 1.0e9, 0.27e9
"""Peak per branch of a call and whatever its size, and per frame decoded at once, for one byte per
value."""

_EFFICIENCY: Final = 0.4
"""Share of a large matrix product's speed that the nets reach."""


@dataclass(frozen=True, slots=True)
class Cost:
    """An estimate.

    Attributes:
        operations: floating-point operations.
        memory: peak, bytes.
    """

    operations: float
    memory: float


def cost(
    nets: Nets, settings: SvdSettings, width: int, height: int, frames: int, dtype: torch.dtype
) -> Cost:
    """Estimate a clip of ``frames`` (12.5 a second) at ``width x height``."""
    area = width * height / _AREA
    size = sum(p.numel() for p in nets.unet.parameters()) / _WEIGHTS
    preset, windows = PRESETS[settings.preset], settings.windows
    steps, guidance = settings.number_of_steps, settings.guidance()
    whole = _LAYERS * area + _ATTENTION * area**2
    total = 0.0
    for step in range(steps):
        one = whole if step % preset.reuse == 0 else _FINEST * area
        total += one * (BRANCHES if guidance.covers(step, steps) else 1)
    calls = -(-windows.total(frames) // windows.length)
    total *= size * calls * windows.length / _LENGTH
    total += frames * _DECODE * area * min(1.0, size)
    return Cost(total, _memory(nets, settings, area, size, dtype))


def _memory(
    nets: Nets, settings: SvdSettings, area: float, size: float, dtype: torch.dtype
) -> float:
    width = dtype.itemsize
    weights = {
        name: float(sum(p.numel() * p.element_size() for p in net.parameters()))
        for name, net in nets.modules().items()
    }
    held = max(weights.values()) if settings.offload else sum(weights.values())
    length = settings.windows.length / _LENGTH
    unet = _UNET_BASE + _UNET_BYTES * settings.branches_at_once * length * area
    decode = _DECODE_BYTES * settings.decode * area
    return held + width * min(1.0, size**0.5) * max(unet, decode)


def seconds(operations: float, device: torch.device, dtype: torch.dtype) -> float:
    """How long operations will take here, from the speed of a large matrix product."""
    side = 1024 if device.type == "cpu" else 4096
    kind = dtype if device.type != "cpu" else torch.float32
    a = torch.randn(side, side, device=device, dtype=kind)
    b = a @ a
    times = []
    for _ in range(3):
        start = perf_counter()
        b = a @ a
        float(b[0, 0])  # waits for the device
        times.append(perf_counter() - start)
    return operations / (_EFFICIENCY * 2 * side**3 / min(times))


def within(
    nets: Nets,
    settings: SvdSettings,
    width: int,
    height: int,
    frames: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[SvdSettings, tuple[str, ...]]:
    """Settings that fit ``settings.memory``, and which levers were used.

    Raises:
        InputError: when none suffice.
    """
    if settings.memory is None:
        return settings, ()
    limit = settings.memory * 1e9
    used: tuple[str, ...] = ()
    levers: tuple[tuple[str, dict[str, Any]], ...] = (
        ("", {}),
        ("branches one after the other", {"branches_at_once": 1}),
        ("decoding 4 frames at once", {"decode": min(4, settings.decode)}),
        ("nets wait on the CPU", {"offload": device.type != "cpu"}),
        ("decoding 2 frames at once", {"decode": min(2, settings.decode)}),
    )
    now = settings
    for name, change in levers:
        changed = replace(now, **change)
        if changed != now:
            used += (name,)
        now = changed
        if cost(nets, now, width, height, frames, dtype).memory <= limit:
            return now, used
    need = cost(nets, now, width, height, frames, dtype).memory / 1e9
    raise InputError(
        f"{settings.memory:g} GB are too little: with all levers some {need:.1f} GB are needed at "
        f"{width} x {height}. Use a smaller side (now {settings.side}), or --dtype bf16."
    )
