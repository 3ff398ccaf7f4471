"""Estimates of operations, time and memory, to warn users and to choose memory-saving options.

Counted for the published sizes at 512 x 512 with 25 frames (``benchmarks/svd.py``) and scaled by
area, frames and number of weights. Estimates are analytical; memory is untested on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Final

import torch

from mien.engines.svd.networks import SvdNetworks
from mien.engines.svd.settings import BRANCHES, SvdSettings
from mien.errors import InputError

_AREA: Final = 512 * 512
_LENGTH: Final = 25
_WEIGHTS: Final = 1.627e9
"""Weights of the published UNet with adapters."""

_LAYERS, _ATTENTION, _FINEST = 28.6e12, 3.2e12, 11.5e12
"""Operations of a UNet call per branch: proportional to the area, to its square, and of the finest
level alone.
"""

_DECODE: Final = 3.0e12
"""Operations per decoded frame."""

_UNET_VALUES, _UNET_BASE, _DECODE_VALUES = 0.93e9, 1.0e9, 0.27e9
"""Peak number of values per branch of a call, of a call whatever its size, and per frame decoded at
once.
"""

_EFFICIENCY: Final = 0.4
"""Speed of the networks relative to a large matrix product."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Estimated cost of a clip.

    Attributes:
        operations: floating-point operations.
        memory: peak, bytes.
    """

    operations: float
    memory: float


def estimate_cost(
    networks: SvdNetworks,
    settings: SvdSettings,
    width: int,
    height: int,
    frames: int,
    dtype: torch.dtype,
) -> Cost:
    """Estimate the cost of ``frames`` generated frames of ``width x height``."""
    area = width * height / _AREA
    size = sum(p.numel() for p in networks.unet.parameters()) / _WEIGHTS
    sampling = settings.sampling()
    steps, windows = sampling.num_inference_steps, sampling.windows
    whole = _LAYERS * area + _ATTENTION * area**2
    total = 0.0
    for step in range(steps):
        one = whole if step % sampling.cache_interval == 0 else _FINEST * area
        total += one * (BRANCHES if sampling.guidance.covers(step, steps) else 1)
    total *= size * windows.per_step(frames) * windows.length / _LENGTH
    total += frames * _DECODE * area * min(1.0, size)
    weights = [
        float(sum(p.numel() * p.element_size() for p in module.parameters()))
        for module in networks.modules().values()
    ]
    held = max(weights) if settings.offload else sum(weights)
    unet = _UNET_BASE + _UNET_VALUES * sampling.branches_at_once * (windows.length / _LENGTH) * area
    decode = _DECODE_VALUES * settings.decode_chunk_size * area
    return Cost(total, held + dtype.itemsize * min(1.0, size**0.5) * max(unet, decode))


def estimate_seconds(operations: float, device: torch.device, dtype: torch.dtype) -> float:
    """Estimate how long operations take on this machine, from the speed of a matrix product."""
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


def fit_memory(
    networks: SvdNetworks,
    settings: SvdSettings,
    width: int,
    height: int,
    frames: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[SvdSettings, tuple[str, ...]]:
    """Return settings that fit ``settings.max_memory_gb``, and the memory-saving options used.

    Raises:
        InputError: when no option suffices.
    """
    limit = settings.max_memory_gb
    if limit is None:
        return settings, ()
    chunk = settings.decode_chunk_size
    options: tuple[tuple[str, dict[str, Any]], ...] = (
        ("", {}),
        ("guidance branches one at a time", {"branches_at_once": 1}),
        ("decoding 4 frames at once", {"decode_chunk_size": min(4, chunk)}),
        ("idle networks on the CPU", {"offload": device.type != "cpu"}),
        ("decoding 2 frames at once", {"decode_chunk_size": min(2, chunk)}),
    )
    used: tuple[str, ...] = ()
    needed = 0.0
    for name, change in options:
        changed = replace(settings, **change)
        if changed != settings:
            used += (name,)
        settings = changed
        needed = estimate_cost(networks, settings, width, height, frames, dtype).memory / 1e9
        if needed <= limit:
            return settings, used
    raise InputError(
        f"{limit:g} GB are too little: {width} x {height} needs about "
        f"{needed:.1f} GB with all memory-saving options. Use a smaller side (now "
        f"{settings.shorter_side}), or --dtype bf16."
    )
