"""Metrics: Fréchet distances (FID, FVD), lip sync (LSE-D, LSE-C), and the user's metric networks.

Metric networks are not part of mien: users bring them as ONNX files of a stated form.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from mien.errors import InputError, WeightsError
from mien.media.audio import SAMPLE_RATE_HZ, Samples
from mien.media.frame import RGBImage
from mien.weights.bundled import open_net

Array = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

FRAMES_PER_SECOND: Final = 25
"""Frame rate that lip sync is measured at."""

_BATCH: Final = 16


class MetricNet:
    """A network with one input and one output whose first axis is the batch.

    Args:
        path: ONNX file.
        what: what to call it in errors.
        dimensions: number of axes of the input.

    Raises:
        InputError: when there is no such file.
        WeightsError: when the network has another form.
    """

    def __init__(self, path: str | Path, what: str, dimensions: int) -> None:
        path = Path(path)
        if not path.is_file():
            raise InputError(f"There is no {what} {path}.")
        self._net = open_net(path.name, folder=path.parent, threads=0)
        inputs = self._net.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != dimensions:
            raise WeightsError(
                f"The {what} {path} should take one array of {dimensions} axes; it takes "
                f"{[(one.name, one.shape) for one in inputs]}."
            )
        self._name = inputs[0].name
        self.shape = tuple(inputs[0].shape)

    def side(self, default: int) -> int:
        """Side of the square input pictures; ``default`` where the file leaves it open."""
        last = self.shape[-1]
        return last if isinstance(last, int) else default

    def __call__(self, values: Array) -> Array:
        """Return outputs ``(N, ...)`` for inputs ``(N, ...)``, in batches the network accepts."""
        fixed = self.shape[0]
        size = fixed if isinstance(fixed, int) else _BATCH
        parts = []
        for start in range(0, len(values), size):
            batch = values[start : start + size]
            count = len(batch)
            if isinstance(fixed, int):
                batch = np.concatenate([batch, np.repeat(batch[-1:], size - count, 0)])
            out = self._net.run(None, {self._name: batch.astype(np.float32)})[0]
            parts.append(np.asarray(out)[:count])
        return np.concatenate(parts)


def stack_images(images: list[RGBImage], side: int, low: float, high: float) -> Array:
    """Return images as ``float32 (N, 3, side, side)``, 0..255 mapped to ``low``..``high``."""
    resized = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in images]
    values = np.stack(resized).transpose(0, 3, 1, 2).astype(np.float32) / 255
    return (low + (high - low) * values).astype(np.float32)


@dataclass(slots=True)
class Moments:
    """Running mean and covariance of features; the features themselves are not kept."""

    count: int = 0
    total: Matrix = field(default_factory=lambda: np.zeros(()))
    products: Matrix = field(default_factory=lambda: np.zeros(()))

    def add(self, features: npt.NDArray[np.floating]) -> None:
        """Include features ``(N, D)``."""
        values = features.astype(np.float64)
        self.count += len(values)
        self.total = self.total + values.sum(0)
        self.products = self.products + values.T @ values

    def mean_and_covariance(self) -> tuple[Matrix, Matrix]:
        """Return the mean ``(D,)`` and the covariance ``(D, D)``.

        Raises:
            InputError: for fewer than two features.
        """
        if self.count < 2:
            raise InputError(f"A Fréchet distance needs at least two samples; got {self.count}.")
        mean = self.total / self.count
        covariance = (self.products - self.count * np.outer(mean, mean)) / (self.count - 1)
        return mean, covariance


def frechet_distance(one: Moments, two: Moments) -> float:
    """Return ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` (Heusel et al. 2017), at least 0.

    The trace of the root is the sum of the roots of the eigenvalues of ``C1^(1/2) C2 C1^(1/2)``,
    which is symmetric: no complex root is needed.
    """
    (mean1, cov1), (mean2, cov2) = one.mean_and_covariance(), two.mean_and_covariance()
    values, vectors = np.linalg.eigh(cov1)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    between = np.linalg.eigvalsh(root @ cov2 @ root)
    trace = float(np.trace(cov1) + np.trace(cov2) - 2 * np.sqrt(np.maximum(between, 0)).sum())
    return max(0.0, float(((mean1 - mean2) ** 2).sum()) + trace)


_SYNC_FRAMES: Final = 5
_SYNC_COLUMNS: Final = 20
"""MFCC columns (100 per second) beside five frames."""

_MAX_SHIFT: Final = 15
"""Largest offset of picture and sound that is tried, in frames."""


class Sync(NamedTuple):
    """Agreement of lips and sound.

    Attributes:
        distance: embedding distance at the best offset (LSE-D); lower is better.
        confidence: median distance minus best distance (LSE-C); higher is better.
        offset: the best offset in frames.
    """

    distance: float
    confidence: float
    offset: int


def lip_sync(images: list[RGBImage], sound: Samples, video: MetricNet, audio: MetricNet) -> Sync:
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
    stack = stack_images(images, video.side(224), 0, 255)[:, ::-1]
    clips = [stack[i : i + _SYNC_FRAMES].transpose(1, 0, 2, 3) for i in range(count)]
    columns = [cepstrum[4 * i : 4 * i + _SYNC_COLUMNS].T[None] for i in range(count)]
    frame_codes = video(np.stack(clips)).reshape(count, -1)
    sound_codes = audio(np.stack(columns)).reshape(count, -1)
    padded = np.pad(sound_codes, ((_MAX_SHIFT, _MAX_SHIFT), (0, 0)))
    shifts = range(2 * _MAX_SHIFT + 1)
    gaps = [np.linalg.norm(frame_codes - padded[k : k + count], axis=1) for k in shifts]
    distances = np.stack(gaps, 1).mean(0)
    best = int(distances.argmin())
    confidence = float(np.median(distances) - distances[best])
    return Sync(float(distances[best]), confidence, _MAX_SHIFT - best)


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
