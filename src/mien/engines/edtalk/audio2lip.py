"""Audio2Lip: the lip coefficients of EDTalk from speech (C-MET, arXiv 2604.07786)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.engines.edtalk.settings import FRAMES_PER_SECOND
from mien.media.audio import SAMPLE_RATE_HZ, Samples

FRAME_SAMPLES: Final = SAMPLE_RATE_HZ // FRAMES_PER_SECOND
"""Audio samples per video frame."""

WINDOW_COLUMNS: Final = 16
"""Mel columns in the window of one video frame."""

MELS: Final = 80
_FFT: Final = 800
_HOP: Final = 200
_LOWEST_HZ, _HIGHEST_HZ = 55.0, 7600.0
_PREEMPHASIS: Final = 0.97
_FLOOR: Final = 1e-5
_REFERENCE_DB: Final = 20.0
_RANGE_DB: Final = 100.0
_LARGEST: Final = 4.0
_BLOCK: Final = 4096
_BATCH: Final = 64
_SMOOTHING: Final = (0.27406862, 0.45186276, 0.27406862)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Audio2LipConfig:
    """Sizes; the defaults are the published ones.

    Attributes:
        lip: number of lip coefficients.
        width: channels of the first block; the last ones have 16 times as many.
    """

    lip: int = 20
    width: int = 32


_BLOCKS: Final[tuple[tuple[int, int, Any, int], ...]] = (
    *[(1, 3, 1, 1)] * 3,
    (2, 3, (3, 1), 1), *[(2, 3, 1, 1)] * 2,
    (4, 3, 3, 1), *[(4, 3, 1, 1)] * 2,
    (8, 3, (3, 2), 1), (8, 3, 1, 1),
    (16, 3, 1, 0), (16, 1, 1, 0),
)  # fmt: skip
"""Channels (as a multiple of the first block's), kernel, stride and padding of the blocks."""


class _Block(nn.Module):
    """Convolution, batch norm, optional residual, ReLU; attribute names are the published ones."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int | tuple[int, int], padding: int
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs)
        )
        self.residual = inputs == outputs and stride == 1 and kernel == 3

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_block(x)
        return F.relu(y + x if self.residual else y)


class Audio2Lip(nn.Module):
    """Mel windows ``(T, 1, 80, 16)`` to lip coefficients ``(T, lip)``; by default as published."""

    def __init__(self, config: Audio2LipConfig | None = None) -> None:
        super().__init__()
        config = config or Audio2LipConfig()
        widths = [1, *(config.width * times for times, *_ in _BLOCKS)]
        self.audio_encoder = nn.Sequential(
            *(
                _Block(a, b, *form)
                for (a, b), (_, *form) in zip(pairwise(widths), _BLOCKS, strict=True)
            )
        )
        self.mapping = nn.Linear(widths[-1], config.lip)

    def forward(self, windows: Tensor) -> Tensor:
        """Compute the coefficients of every window."""
        out: Tensor = self.mapping(self.audio_encoder(windows).flatten(1))
        return out


def lip_coefficients(net: Audio2Lip, samples: Samples) -> Floats:
    """Compute smoothed lip coefficients at 25 frames per second, ``float32 (T, lip)``.

    Args:
        net: in evaluation mode.
        samples: ``float32 (samples,)``, 16 kHz mono; filled with silence to whole frames.
    """
    windows = mel_windows(np.pad(samples, (0, -len(samples) % FRAME_SAMPLES)))
    weight = net.mapping.weight
    parts = []
    with torch.no_grad():
        for start in range(0, len(windows), _BATCH):
            batch = torch.from_numpy(windows[start : start + _BATCH]).to(weight)
            parts.append(net(batch).float().cpu().numpy())
    if not parts:
        return np.zeros((0, net.mapping.out_features), np.float32)
    return smooth(np.concatenate(parts))


def smooth(lip: Floats, *, zero_padded: bool = False) -> Floats:
    """Filter coefficients ``(T, lip)`` over time with three taps.

    Args:
        lip: coefficients.
        zero_padded: assume zeros beyond the ends, as the released code does, which takes a quarter
            off the first and the last frame; by default the ends are repeated.
    """
    if not len(lip):
        return lip
    padded = np.pad(lip, ((1, 1), (0, 0)), mode="constant" if zero_padded else "edge")
    out = sum(tap * padded[i : i + len(lip)] for i, tap in enumerate(_SMOOTHING))
    return np.asarray(out, np.float32)


def mel_windows(samples: Samples) -> Floats:
    """Cut the mel window of every video frame, ``float32 (T, 1, 80, 16)``.

    T is the number of whole frames of 640 samples. The window of frame i starts at column
    ``80 (i - 2) / 25``, truncated toward zero; beyond the ends the first and last column repeat.
    """
    count = len(samples) // FRAME_SAMPLES
    if count == 0:
        return np.zeros((0, 1, MELS, WINDOW_COLUMNS), np.float32)
    mel = mel_spectrogram(samples[: count * FRAME_SAMPLES])
    columns_per_second = SAMPLE_RATE_HZ / _HOP
    first = np.trunc(columns_per_second * (np.arange(count) - 2) / FRAMES_PER_SECOND).astype(int)
    index = np.clip(first[:, None] + np.arange(WINDOW_COLUMNS), 0, mel.shape[1] - 1)
    return np.ascontiguousarray(mel[:, index].transpose(1, 0, 2))[:, None]


def mel_spectrogram(samples: Samples) -> Floats:
    """Compute scaled decibels in 80 mel bands, ``float32 (80, columns)`` in [-4, 4].

    80 columns per second; pre-emphasis, Hann windows of 50 ms centred on their columns with zeros
    beyond the ends, magnitudes, Slaney's mel scale.

    Args:
        samples: ``float32 (samples,)``, 16 kHz mono.
    """
    columns = 1 + len(samples) // _HOP
    if not len(samples):
        return np.zeros((MELS, 0), np.float32)
    sharp = samples.astype(np.float64)
    sharp[1:] -= _PREEMPHASIS * samples[:-1].astype(np.float64)
    padded = np.pad(sharp, _FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP]
    out = np.empty((MELS, columns), np.float32)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)
    for start in range(0, columns, _BLOCK):  # limits the memory of the spectra
        spectrum = np.abs(np.fft.rfft(frames[start : start + _BLOCK] * window))
        level = 20 * np.log10(np.maximum(_FLOOR, spectrum @ mel_filters().T)) - _REFERENCE_DB
        scaled = 2 * _LARGEST * (level + _RANGE_DB) / _RANGE_DB - _LARGEST
        out[:, start : start + _BLOCK] = np.clip(scaled, -_LARGEST, _LARGEST).T
    return out


@lru_cache(maxsize=1)
def mel_filters() -> npt.NDArray[np.float64]:
    """Compute triangles of equal area on Slaney's mel scale, ``float64 (80, bins)``."""
    edges = _hertz(np.linspace(_mel(_LOWEST_HZ), _mel(_HIGHEST_HZ), MELS + 2))
    bins = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE_HZ)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - left) / (middle - left), (right - bins) / (right - middle)
    triangles: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return triangles * (2 / (right - left))


# Slaney (1998): linear up to 1 kHz, above it 27 mels per factor of 6.4.
_CORNER_HZ: Final = 1000.0
_HZ_PER_MEL: Final = 200.0 / 3
_LOG_STEP: Final = np.log(6.4) / 27


def _mel(hertz: float) -> float:
    if hertz < _CORNER_HZ:
        return hertz / _HZ_PER_MEL
    return float(_CORNER_HZ / _HZ_PER_MEL + np.log(hertz / _CORNER_HZ) / _LOG_STEP)


def _hertz(mel: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    corner = _CORNER_HZ / _HZ_PER_MEL
    high = _CORNER_HZ * np.exp(_LOG_STEP * (np.maximum(mel, corner) - corner))
    return np.where(mel < corner, mel * _HZ_PER_MEL, high)
