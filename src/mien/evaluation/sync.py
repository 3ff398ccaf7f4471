"""Agreement of lips and sound with a user's SyncNet pair (Chung & Zisserman 2016): LSE-D, LSE-C."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mien.evaluation.networks import MetricNet, pictures
from mien.media.audio import SPEECH_RATE, Samples
from mien.media.frame import RGBImage

Array = npt.NDArray[np.float32]

RATE: Final = 25
_FRAMES: Final = 5
_STEPS: Final = 20
"""MFCC columns (100 a second) beside five pictures."""

_SHIFT: Final = 15
_WINDOW, _HOP, _FFT = 400, 160, 512
_FILTERS, _KEPT, _LIFTER = 26, 13, 22
_PREEMPHASIS: Final = 0.97


class Sync(NamedTuple):
    """How lips and sound agree.

    ``distance`` at the best offset (LSE-D, lower is better), ``confidence`` (LSE-C, higher is
    better), ``offset`` in frames.
    """

    distance: float
    confidence: float
    offset: int


def lip_sync(images: list[RGBImage], sound: Samples, video: MetricNet, audio: MetricNet) -> Sync:
    """Compare face crops at 25 frames per second with their sound.

    Args:
        images: face crops.
        sound: 16 kHz mono.
        video: ``(N, 3, 5, S, S)``, BGR, 0..255, to ``(N, E)``.
        audio: ``(N, 1, 13, 20)`` MFCCs to ``(N, E)``.
    """
    cepstrum = mfcc(sound)
    count = min(len(images) - _FRAMES, (len(cepstrum) - _STEPS) // 4) + 1
    if count < 1:
        return Sync(float("nan"), float("nan"), 0)
    stack = pictures(images, video.side(224), 0, 255)[:, ::-1]
    seen = video(np.stack([stack[i : i + _FRAMES].transpose(1, 0, 2, 3) for i in range(count)]))
    rows = [cepstrum[4 * i : 4 * i + _STEPS].T[None] for i in range(count)]
    heard = audio(np.stack(rows))
    seen, heard = seen.reshape(count, -1), heard.reshape(count, -1)
    padded = np.pad(heard, ((_SHIFT, _SHIFT), (0, 0)))
    gaps = np.stack(
        [
            np.linalg.norm(seen - padded[shift : shift + count], axis=1)
            for shift in range(2 * _SHIFT + 1)
        ],
        1,
    ).mean(0)
    best = int(gaps.argmin())
    return Sync(float(gaps[best]), float(np.median(gaps) - gaps[best]), _SHIFT - best)


def mfcc(sound: Samples) -> Array:
    """Mel cepstrum, ``float32 (T, 13)``, 100 rows per second; the first is the log energy.

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
    basis = np.cos(np.pi * np.arange(_KEPT)[:, None] * (2 * rows + 1) / (2 * _FILTERS))
    basis *= np.sqrt(2 / _FILTERS)
    basis[0] /= np.sqrt(2)
    lift = 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(_KEPT) / _LIFTER)
    out = bands @ basis.T * lift
    out[:, 0] = np.log(np.maximum(power.sum(1), tiny))
    return out.astype(np.float32)


@lru_cache(maxsize=1)
def _triangles() -> npt.NDArray[np.float64]:
    top = 2595 * np.log10(1 + SPEECH_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, _FILTERS + 2) / 2595) - 1)
    edges = np.floor((_FFT + 1) * hertz / SPEECH_RATE)
    bins = np.arange(_FFT // 2 + 1)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - left) / np.maximum(middle - left, 1)
    falling = (right - bins) / np.maximum(right - middle, 1)
    inside = (bins >= left) & (bins < right)
    return np.where(bins < middle, rising, falling) * inside
