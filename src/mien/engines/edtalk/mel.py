"""The mel front end of Audio2Lip (cmet.md section 3)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mien.media.audio import SPEECH_RATE, Samples

RATE: Final = 25
"""Video frames per second of everything EDTalk has learned."""

FRAME: Final = SPEECH_RATE // RATE
"""Samples per video frame."""

COLUMNS: Final = 16
"""Mel columns a video frame sees."""

MELS: Final = 80
_FFT: Final = 800
_HOP: Final = 200
_LOWEST, _HIGHEST = 55.0, 7600.0
_PREEMPHASIS: Final = 0.97
_FLOOR: Final = 1e-5
_REFERENCE_DB: Final = 20.0
_RANGE_DB: Final = 100.0
_MOST: Final = 4.0
_BLOCK: Final = 4096

Mel = npt.NDArray[np.float32]


def mel_spectrogram(samples: Samples) -> Mel:
    """Decibels in 80 mel bands, 80 columns per second, ``float32 (80, columns)`` in [-4, 4].

    Pre-emphasis, Hann windows of 50 ms centred on their columns with zeros beyond the ends,
    magnitudes, Slaney's mel scale.

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
    for start in range(0, columns, _BLOCK):  # bounds the memory of the spectra
        spectrum = np.abs(np.fft.rfft(frames[start : start + _BLOCK] * window))
        level = 20 * np.log10(np.maximum(_FLOOR, spectrum @ mel_filters().T)) - _REFERENCE_DB
        scaled = 2 * _MOST * (level + _RANGE_DB) / _RANGE_DB - _MOST
        out[:, start : start + _BLOCK] = np.clip(scaled, -_MOST, _MOST).T
    return out


def mel_windows(samples: Samples) -> npt.NDArray[np.float32]:
    """What every video frame sees, ``float32 (T, 1, 80, 16)``; T = whole frames of 640 samples.

    Frame i starts at column ``int(80 (i - 2) / 25)``, cut toward zero; beyond the ends the first
    and last column repeat.
    """
    count = len(samples) // FRAME
    if count == 0:
        return np.zeros((0, 1, MELS, COLUMNS), np.float32)
    mel = mel_spectrogram(samples[: count * FRAME])
    per_second = SPEECH_RATE / _HOP
    first = np.trunc(per_second * (np.arange(count) - 2) / RATE).astype(int)
    index = np.clip(first[:, None] + np.arange(COLUMNS), 0, mel.shape[1] - 1)
    return np.ascontiguousarray(mel[:, index].transpose(1, 0, 2))[:, None]


@lru_cache(maxsize=1)
def mel_filters() -> npt.NDArray[np.float64]:
    """Triangles of equal area on Slaney's mel scale, ``float64 (80, bins)``."""
    edges = _hertz(np.linspace(_mel(_LOWEST), _mel(_HIGHEST), MELS + 2))
    bins = np.fft.rfftfreq(_FFT, 1 / SPEECH_RATE)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - left) / (middle - left), (right - bins) / (right - middle)
    triangles: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return triangles * (2 / (right - left))


_BREAK: Final = 1000.0
_PER_MEL: Final = 200.0 / 3
_LOG_STEP: Final = np.log(6.4) / 27
"""Linear up to 1 kHz, 27 mels per factor of 6.4 above (Slaney 1998)."""


def _mel(hertz: float) -> float:
    if hertz < _BREAK:
        return hertz / _PER_MEL
    return float(_BREAK / _PER_MEL + np.log(hertz / _BREAK) / _LOG_STEP)


def _hertz(mel: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    corner = _BREAK / _PER_MEL
    high = _BREAK * np.exp(_LOG_STEP * (np.maximum(mel, corner) - corner))
    return np.where(mel < corner, mel * _PER_MEL, high)
