"""What the listener sees of a voice: log-mel bands, pitch and voicing, 100 times a second."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.media.audio import SAMPLE_RATE_HZ, Samples

Features = npt.NDArray[np.float32]
"""``float32 (T, FEATURES)``, 100 rows per second."""

HOP: Final = 160
"""Samples between rows: 10 ms."""

RATE: Final = SAMPLE_RATE_HZ // HOP
"""Rows per second."""

MELS: Final = 80
FEATURES: Final = MELS + 2
"""Bands, then pitch (octaves from 160 Hz, 0 where unvoiced), then voicing (0..1)."""

_WINDOW: Final = 400
_FFT: Final = 512
_LOWEST, _HIGHEST = 50.0, 7600.0
_FLOOR: Final = 1e-7
"""Power below which a band is silent; digital silence is not infinitely quiet."""

_PITCH_WINDOW: Final = 640
_PITCH_FFT: Final = 2048
_LOWEST_PITCH, _HIGHEST_PITCH = 65.0, 520.0
_PITCH_REFERENCE: Final = 160.0
_OCTAVE_COST: Final = 0.02
"""Per octave: what a longer period must be better by, against octave errors downwards."""

_CHUNK: Final = 6000


def features(samples: Samples) -> Features:
    """Features of a voice, ``float32 (ceil(samples / 160), 82)``.

    Bands are natural logarithms of power in 80 mel bands from 50 to 7600 Hz, divided by 4 and
    shifted so that speech lies within about -2..2. A row looks at 25 ms (pitch: 40 ms) around it.

    Args:
        samples: ``float32 (samples,)``, 16 kHz mono, -1..1.
    """
    rows = -(-len(samples) // HOP)
    if rows == 0:
        return np.zeros((0, FEATURES), np.float32)
    out = np.empty((rows, FEATURES), np.float32)
    for start in range(0, rows, _CHUNK):  # bounds the memory of the frames
        stop = min(start + _CHUNK, rows)
        out[start:stop, :MELS] = _bands(_frames(samples, start, stop, _WINDOW))
        out[start:stop, MELS:] = _pitch(_frames(samples, start, stop, _PITCH_WINDOW))
    return out


def loudness(rows: Features) -> npt.NDArray[np.float32]:
    """Mean level of every row's bands, ``float32 (T,)``, in the bands' unit."""
    return rows[:, :MELS].mean(1)


def _frames(samples: Samples, start: int, stop: int, width: int) -> npt.NDArray[np.float32]:
    """Overlapping pieces ``(stop - start, width)`` centred on their rows; zeros outside."""
    first = start * HOP + HOP // 2 - width // 2
    length = (stop - start - 1) * HOP + width
    piece = np.zeros(length, np.float32)
    low, high = max(first, 0), min(first + length, len(samples))
    if high > low:
        piece[low - first : high - first] = samples[low:high]
    return np.lib.stride_tricks.sliding_window_view(piece, width)[::HOP]


def _bands(frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    spectrum = np.abs(np.fft.rfft(frames * _window(_WINDOW), _FFT)) ** 2
    power = spectrum.astype(np.float32) @ _mel_filters() / _WINDOW
    return ((np.log(power + _FLOOR) + 8) / 4).astype(np.float32)


def _pitch(frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Pitch and voicing by normalised autocorrelation (after Boersma 1993)."""
    window = _window(_PITCH_WINDOW)
    low, high = int(SAMPLE_RATE_HZ / _HIGHEST_PITCH), int(SAMPLE_RATE_HZ / _LOWEST_PITCH)
    centred = (frames - frames.mean(1, keepdims=True)) * window
    spectrum = np.abs(np.fft.rfft(centred, _PITCH_FFT)) ** 2
    auto = np.fft.irfft(spectrum)[:, : high + 2]
    own = np.fft.irfft(np.abs(np.fft.rfft(window, _PITCH_FFT)) ** 2)[: high + 2]
    energy = auto[:, :1]
    ratio = auto / (energy + 1e-6) * (own[0] / own)
    lags = np.arange(high + 2)
    cost = _OCTAVE_COST * np.log2(np.maximum(lags, low) / low)
    scored = ratio[:, low : high + 1] - cost[low : high + 1]
    best = scored.argmax(1) + low
    rows = np.arange(len(frames))
    before, at, after = (ratio[rows, best + step] for step in (-1, 0, 1))
    bend = before - 2 * at + after
    shift = np.where(np.abs(bend) > 1e-6, 0.5 * (before - after) / np.where(bend, bend, 1), 0)
    pitch = SAMPLE_RATE_HZ / (best + np.clip(shift, -0.5, 0.5))
    voicing = np.clip((at - 0.3) / 0.5, 0, 1) * (energy[:, 0] > 1e-3)
    octaves = np.log2(pitch / _PITCH_REFERENCE) * (voicing > 0.3)
    return np.stack([octaves, voicing], 1).astype(np.float32)


@lru_cache(maxsize=4)
def _window(width: int) -> npt.NDArray[np.float32]:
    return np.hanning(width + 2)[1:-1].astype(np.float32)


@lru_cache(maxsize=1)
def _mel_filters() -> npt.NDArray[np.float32]:
    """Triangles ``(bins, MELS)``, equal in area, evenly spaced in mel (O'Shaughnessy 1987)."""
    edges = 700 * (np.exp(np.linspace(_mel(_LOWEST), _mel(_HIGHEST), MELS + 2) / 1127) - 1)
    bins = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE_HZ)[:, None]
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - left) / (middle - left), (right - bins) / (right - middle)
    filters = np.maximum(0, np.minimum(rising, falling))
    # Low bands are narrower than a bin: none of them may be empty.
    nearest = np.abs(bins - middle).argmin(0)
    filters[nearest, np.arange(MELS)] = np.maximum(filters[nearest, np.arange(MELS)], 0.5)
    return (filters / filters.sum(0)).astype(np.float32)


def _mel(hertz: float) -> float:
    return float(1127 * np.log(1 + hertz / 700))
