"""Features of a voice: log-mel bands, pitch and voicing, 100 rows per second."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from mien.media.audio import SAMPLE_RATE_HZ, Samples

Features = npt.NDArray[np.float32]
"""``float32 (T, FEATURES)``, 100 rows per second."""

HOP: Final = 160
"""Samples between rows: 10 ms."""

FEATURES_PER_SECOND: Final = SAMPLE_RATE_HZ // HOP

MELS: Final = 80
FEATURES: Final = MELS + 2
"""Bands, then pitch (octaves from 160 Hz, 0 where unvoiced), then voicing (0..1)."""

_WINDOW: Final = 400
_FFT: Final = 512
_LOWEST, _HIGHEST = 50.0, 7600.0
_FLOOR: Final = 1e-7
"""Power below which a band is silent, so that digital silence has a finite level."""

_PITCH_WINDOW: Final = 640
_PITCH_FFT: Final = 2048
_LOWEST_PITCH, _HIGHEST_PITCH = 65.0, 520.0
_PITCH_REFERENCE: Final = 160.0
_OCTAVE_COST: Final = 0.02
"""Penalty per octave of a longer period, against octave errors downwards."""

_CHUNK: Final = 6000
"""Rows computed together. Results depend on it in the last bit (matrix products)."""

_PITCH_CHUNK: Final = 500
CONTEXT_ROWS: Final = 2
"""Rows at an edge whose windows reach beyond it."""

SILENT: Final = -1.75
"""Level of the loudest row below which nobody speaks (some -65 dB)."""

_BELOW_PEAK: Final = 1.5
"""Level under the loudest row, in the features' unit (26 dB), that still counts as speech."""

_SPEECH_MARGIN: Final = 8
"""Rows kept around speech, because consonants are quiet."""


_Number = TypeVar("_Number", float, npt.NDArray[np.float64])


class Chunk(NamedTuple):
    """Consecutive rows of features ``(T, FEATURES)`` and the samples under them."""

    rows: Features
    samples: Samples


def features(samples: Samples) -> Features:
    """Compute the features of a voice, ``float32 (ceil(samples / 160), 82)``.

    Bands are natural logarithms of power in 80 mel bands from 50 to 7600 Hz, divided by 4 and
    shifted so that speech lies within about -2..2. A row covers 25 ms (pitch: 40 ms) around it.

    Args:
        samples: ``float32 (samples,)``, 16 kHz mono, -1..1.
    """
    chunks = [chunk.rows for chunk in feature_chunks([samples])]
    return np.concatenate(chunks) if chunks else np.zeros((0, FEATURES), np.float32)


def feature_chunks(blocks: Iterable[Samples]) -> Iterator[Chunk]:
    """Compute the features of sound that arrives in blocks; memory does not grow with its length.

    The rows are bit for bit those of :func:`features` of the whole sound.
    """
    held, lead = np.zeros(0, np.float32), 0  # ``lead`` rows at its start are context
    for block in blocks:
        held = np.concatenate([held, np.asarray(block, np.float32)])
        while len(held) >= (lead + _CHUNK + CONTEXT_ROWS) * HOP:
            yield _chunk(held, lead, lead + _CHUNK)
            held, lead = held[(lead + _CHUNK - CONTEXT_ROWS) * HOP :], CONTEXT_ROWS
    end = -(-len(held) // HOP)
    for start in range(lead, end, _CHUNK):
        yield _chunk(held, start, min(start + _CHUNK, end))


def _chunk(samples: Samples, start: int, stop: int) -> Chunk:
    rows = np.empty((stop - start, FEATURES), np.float32)
    rows[:, :MELS] = _bands(_frames(samples, start, stop, _WINDOW))
    for low in range(start, stop, _PITCH_CHUNK):  # bounds the memory of the spectra
        high = min(low + _PITCH_CHUNK, stop)
        pitch = _pitch(_frames(samples, low, high, _PITCH_WINDOW))
        rows[low - start : high - start, MELS:] = pitch
    return Chunk(rows, samples[start * HOP : stop * HOP])


def loudness(rows: Features) -> npt.NDArray[np.float32]:
    """Compute the mean level of every row's bands, ``float32 (T,)``, in the bands' unit."""
    return rows[:, :MELS].mean(1)


def speech_span(rows: npt.NDArray[Any]) -> tuple[int, int]:
    """Find the first row and the end of the speech in features ``(T, FEATURES)``, T >= 1."""
    level = rows[:, :MELS].astype(np.float32).mean(1)
    loud = np.flatnonzero(level > level.max() - _BELOW_PEAK)
    return max(int(loud[0]) - _SPEECH_MARGIN, 0), min(int(loud[-1]) + 1 + _SPEECH_MARGIN, len(rows))


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
    edges = _hertz(np.linspace(_mel(_LOWEST), _mel(_HIGHEST), MELS + 2))
    bins = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE_HZ)[:, None]
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - left) / (middle - left), (right - bins) / (right - middle)
    filters = np.maximum(0, np.minimum(rising, falling))
    # Low bands are narrower than a bin: none of them may be empty.
    nearest = np.abs(bins - middle).argmin(0)
    filters[nearest, np.arange(MELS)] = np.maximum(filters[nearest, np.arange(MELS)], 0.5)
    return (filters / filters.sum(0)).astype(np.float32)


def moved_bands(octaves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Say where bands come from when a spectrum moves up by ``octaves (N,)``.

    Returns:
        Fractional numbers of bands ``(N, MELS)``; the outermost ones where nothing is known.
    """
    edges = np.linspace(_mel(_LOWEST), _mel(_HIGHEST), MELS + 2)
    source = _mel(_hertz(edges[1:-1]) / 2.0 ** octaves[:, None])
    places = (source - edges[1]) / (edges[1] - edges[0])
    return np.clip(places, 0, MELS - 1).astype(np.float32)


def _mel(hertz: _Number) -> _Number:
    return 1127 * np.log(1 + hertz / 700)


def _hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 700 * (np.exp(mel / 1127) - 1)
