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
from mien.engines.svd.settings import TOGETHER, Sampling, SvdSettings, Windows
from mien.errors import InputError

_AREA: Final = 512 * 512
_LENGTH: Final = 25
_WEIGHTS: Final = 1.627e9
"""Weights of the published UNet with adapters."""

_LAYERS, _ATTENTION, _FINEST = 28.6e12, 3.2e12, 11.5e12
"""Operations of a UNet call per branch: proportional to the area, to its square, and of the finest
level alone.
"""

_DECODE, _INTERPOLATE = 3.0e12, 67e9
"""Operations per decoded and per interpolated frame."""

_UNET_VALUES, _UNET_BASE = 0.93e9, 1.0e9
"""Peak number of values per branch of a call, and of a call whatever its size."""

_DECODE_ALL, _DECODE_BASE, _DECODE_VALUES = 2.7e9, 1.43e9, 0.09e9
"""Peak number of values when all frames are decoded at once; otherwise of one layer's input and
output, and per frame at once.
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


@dataclass(frozen=True, slots=True)
class Work:
    """Estimated operations of the pieces of a clip.

    Attributes:
        whole: of a guidance branch of a call of the UNet.
        finest: likewise where its deep features are reused.
        decoding: of a frame.
        interpolation: of a frame.
    """

    whole: float
    finest: float
    decoding: float
    interpolation: float

    @classmethod
    def of(cls, networks: SvdNetworks, windows: Windows, width: int, height: int) -> Work:
        """Estimate from the sizes of networks, windows and frames."""
        area = width * height / _AREA
        size = sum(p.numel() for p in networks.unet.parameters()) / _WEIGHTS
        share = size * windows.length / _LENGTH
        return cls(
            whole=(_LAYERS * area + _ATTENTION * area**2) * share,
            finest=_FINEST * area * share,
            decoding=_DECODE * area * min(1.0, size),
            interpolation=0.0 if networks.interpolator is None else _INTERPOLATE * area,
        )

    def branch(self, sampling: Sampling, step: int) -> float:
        """Return the operations of a guidance branch of a call at a step."""
        return self.finest if sampling.reuses(step) else self.whole

    def total(self, sampling: Sampling, frames: int) -> float:
        """Return the operations of a clip of ``frames`` generated frames."""
        steps = range(sampling.num_inference_steps)
        calls = sum(len(sampling.branches(k)) * self.branch(sampling, k) for k in steps)
        after = frames * (self.decoding + self.interpolation)
        return calls * sampling.windows.per_step(frames) + after


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
    windows, chunk = sampling.windows, settings.decode_chunk_size
    total = Work.of(networks, windows, width, height).total(sampling, frames)
    weights = [
        float(sum(p.numel() * p.element_size() for p in module.parameters()))
        for module in networks.modules().values()
    ]
    held = max(weights) if settings.offload else sum(weights)
    unet = _UNET_BASE + _UNET_VALUES * sampling.branches_at_once * (windows.length / _LENGTH) * area
    some = _DECODE_BASE + _DECODE_VALUES * chunk
    decode = area * (_DECODE_ALL if chunk >= TOGETHER else some)
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
