"""Lip sync by a SyncNet pair that the user supplies: LSE-D, LSE-C and the offset."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.evaluation.slots import MetricNet
from mien.media.audio import SAMPLE_RATE_HZ, Samples
from mien.media.frame import RGBImage
from mien.speech.lip_sync import Sync, agreement, surrounded

Array = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

_SYNC_FRAMES: Final = 5
_SYNC_COLUMNS: Final = 20
"""MFCC columns (100 per second) beside five frames."""


def lip_sync(
    images: Sequence[RGBImage], sound: Samples, video: MetricNet, audio: MetricNet
) -> Sync:
    """Compare lips with sound by a SyncNet pair (Chung & Zisserman 2016).

    Args:
        images: face crops at 25 frames per second.
        sound: 16 kHz mono.
        video: ``(N, 3, 5, S, S)``, BGR, 0..255, to ``(N, E)``.
        audio: ``(N, 1, 13, 20)`` MFCCs to ``(N, E)``.

    Returns:
        The agreement; not a number for clips that are too short.
    """
    cepstrum = mfcc(sound)
    count = min(len(images) - _SYNC_FRAMES, (len(cepstrum) - _SYNC_COLUMNS) // 4) + 1
    if count < 1:
        return Sync(float("nan"), float("nan"), 0)
    stack = video.stack(images)[:, ::-1]
    clips = [stack[i : i + _SYNC_FRAMES].transpose(1, 0, 2, 3) for i in range(count)]
    columns = [cepstrum[4 * i : 4 * i + _SYNC_COLUMNS].T[None] for i in range(count)]
    frame_codes = video(np.stack(clips)).reshape(count, -1)
    sound_codes = audio(np.stack(columns)).reshape(count, -1)
    return agreement(frame_codes, surrounded(sound_codes, count, silence=0.0))


_WINDOW, _HOP, _FFT = 400, 160, 512
_FILTERS, _COEFFICIENTS, _LIFTER = 26, 13, 22
_PREEMPHASIS: Final = 0.97


def mfcc(sound: Samples) -> Array:
    """Return the mel cepstrum, ``float32 (T, 13)``, 100 rows per second; log energy comes first.

    Pre-emphasis 0.97, rectangular windows of 25 ms, power spectrum of 512 points, 26 triangles to
    8 kHz on the HTK mel scale, orthonormal cosine transform, liftering with 22.
    """
    values = sound.astype(np.float64) * 32_768
    values[1:] = values[1:] - _PREEMPHASIS * values[:-1]
    count = max(1, 1 + -(-max(0, len(values) - _WINDOW) // _HOP))
    padded = np.pad(values, (0, max(0, (count - 1) * _HOP + _WINDOW - len(values))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][:count]
    power = np.abs(np.fft.rfft(frames, _FFT)) ** 2 / _FFT
    tiny = np.finfo(float).eps
    bands = np.log(np.maximum(power @ _triangles().T, tiny))
    rows = np.arange(_FILTERS)
    basis = np.cos(np.pi * np.arange(_COEFFICIENTS)[:, None] * (2 * rows + 1) / (2 * _FILTERS))
    basis *= np.sqrt(2 / _FILTERS)
    basis[0] /= np.sqrt(2)
    lift = 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(_COEFFICIENTS) / _LIFTER)
    out = bands @ basis.T * lift
    out[:, 0] = np.log(np.maximum(power.sum(1), tiny))
    return out.astype(np.float32)


@lru_cache(maxsize=1)
def _triangles() -> Matrix:
    top = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, _FILTERS + 2) / 2595) - 1)
    edges = np.floor((_FFT + 1) * hertz / SAMPLE_RATE_HZ)
    bins = np.arange(_FFT // 2 + 1)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - left) / np.maximum(middle - left, 1)
    falling = (right - bins) / np.maximum(right - middle, 1)
    inside = (bins >= left) & (bins < right)
    return np.where(bins < middle, rising, falling) * inside
