"""What rooms, microphones and noise do to features, on whole batches."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.speech.features import MELS

GAIN: Final = 0.25
"""Spread of the level of a voice: 4.3 dB."""

NEARER: Final = 0.06
"""Spread of the level within a voice: 1 dB."""

EQUALISER: Final = 0.22
"""Spread of a voice's tone colour at six points over the bands: 3.8 dB."""

QUIETEST, LOUDEST = 3.0, 40.0
"""Signal to noise ratios, dB."""

WARP: Final = 0.1
"""Largest share by which bands are moved up or down: a shorter or longer vocal tract."""

_BANDS_HIDDEN: Final = 14
_ROWS_HIDDEN: Final = 25
_NO_PITCH: Final = 0.15


def augment(rows: Tensor, lengths: Tensor, voice: Tensor, generator: torch.Generator) -> Tensor:
    """Vary tract, level, tone colour, noise; hide bands, rows and pitch (Park et al. 2019).

    Args:
        rows: ``float32 (B, T, FEATURES)``.
        lengths: ``(B,)``.
        voice: group ``(B,)``, 0 .. G - 1: one voice in one room, varied alike.
        generator: decides everything.
    """
    count, groups = rows.shape[0], int(voice.max()) + 1
    bands = _warp(rows[..., :MELS], voice, generator)
    gain = GAIN * torch.randn(groups, 1, 1, generator=generator)[voice]
    gain = gain + NEARER * torch.randn(count, 1, 1, generator=generator)
    points = EQUALISER * torch.randn(groups, 1, 6, generator=generator)[voice]
    bands = bands + gain + F.interpolate(points, MELS, mode="linear", align_corners=True)
    bands = _noise(bands, generator)
    bands = _hide(bands, lengths, generator)
    keep = torch.rand(count, 1, 1, generator=generator) > _NO_PITCH
    return torch.cat([bands, rows[..., MELS:] * keep], 2)


def _warp(bands: Tensor, voice: Tensor, generator: torch.Generator) -> Tensor:
    """Stretch the bands of every second voice (after Jaitly & Hinton 2013)."""
    groups = int(voice.max()) + 1
    share = (torch.rand(groups, 1, generator=generator) * 2 - 1) * WARP
    share = (share * (torch.rand(groups, 1, generator=generator) < 0.5))[voice]
    at = (torch.arange(MELS)[None] * (1 + share)).clamp(0, MELS - 1)
    low = at.long()
    high = (low + 1).clamp_max(MELS - 1)
    part = (at - low)[:, None]
    low, high = (i[:, None].expand_as(bands) for i in (low, high))
    return bands.gather(2, low) * (1 - part) + bands.gather(2, high) * part


def _noise(bands: Tensor, generator: torch.Generator) -> Tensor:
    """Add steady coloured noise to every second recording, as powers."""
    count, rows, _ = bands.shape
    noisy = torch.nonzero(torch.rand(count, generator=generator) < 0.5)[:, 0]
    if not len(noisy):
        return bands
    power = torch.exp(bands[noisy] * 4 - 8)
    level = power.mean((1, 2), keepdim=True)
    ratio = torch.rand(len(noisy), 1, 1, generator=generator) * (LOUDEST - QUIETEST) + QUIETEST
    points = torch.randn(len(noisy), 1, 5, generator=generator)
    tilt = F.interpolate(points, MELS, mode="linear", align_corners=True)
    colour = torch.exp(tilt - torch.linspace(0, 2, MELS))
    colour = colour / colour.mean(2, keepdim=True)
    grain = torch.rand(len(noisy), rows, MELS, generator=generator).clamp_min_(1e-6).log_().neg_()
    power += level * 10 ** (-ratio / 10) * colour * grain
    out = bands.clone()
    out[noisy] = (torch.log(power + 1e-7) + 8) / 4
    return out


def _hide(bands: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
    count, rows, _ = bands.shape
    mean = bands.mean((1, 2), keepdim=True)
    hidden = torch.zeros(bands.shape, dtype=torch.bool)
    spans = (
        (torch.arange(MELS)[None, None], torch.full((count,), MELS), _BANDS_HIDDEN),
        (torch.arange(rows)[None, :, None], lengths, _ROWS_HIDDEN),
    )
    for places, size, widest in spans:
        for _ in range(2):
            width = torch.randint(0, widest, (count,), generator=generator)
            room = (size - width).clamp_min(0)
            start = (torch.rand(count, generator=generator) * room).long()
            begin, end = start[:, None, None], (start + width)[:, None, None]
            hidden |= (places >= begin) & (places < end)
    return torch.where(hidden, mean, bands)
