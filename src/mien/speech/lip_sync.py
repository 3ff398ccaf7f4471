"""What the sync net compares, and how: SyncNet's measures of agreement of lips and sound."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mien.speech.features import FEATURES_PER_SECOND

Codes = npt.NDArray[np.float32]

FRAMES_PER_SECOND: Final = 25
"""Frame rate that lip sync is measured at."""

SHIFTS: Final = 15
"""Largest offset of picture and sound that is tried, in frames."""

MOUTH_PIXELS: Final = 48
"""Side of the pictures of mouth and chin."""

ROWS_PER_FRAME: Final = FEATURES_PER_SECOND // FRAMES_PER_SECOND

_FEWEST: Final = 4
"""Codes below which nothing is compared."""


class Sync(NamedTuple):
    """Agreement of lips and sound.

    Attributes:
        distance: embedding distance at the best offset (LSE-D); lower is better.
        confidence: median distance minus best distance (LSE-C); higher is better.
        offset: the best offset in frames; positive where the sound leads the picture.
    """

    distance: float
    confidence: float
    offset: int


def surrounded(sound: Codes, count: int, silence: float = np.nan) -> Codes:
    """Return the codes of sound from 15 frames before the first of ``count`` frames to 15 after.

    Args:
        sound: ``(S, E)``, from the first frame on.
        count: codes of the lips.
        silence: what stands where there is no sound.
    """
    out = np.full((count + 2 * SHIFTS, sound.shape[1]), silence, np.float32)
    heard = sound[: count + SHIFTS]
    out[SHIFTS : SHIFTS + len(heard)] = heard
    return out


def agreement(lips: Codes, sound: Codes) -> Sync:
    """Compare the codes of lips and sound at every offset (Chung & Zisserman 2016).

    Args:
        lips: ``(T, E)``, one code per frame.
        sound: ``(T + 30, E)``, see :func:`surrounded`; NaN counts at no offset.

    Returns:
        The agreement at the offsets where enough frames have sound; not a number where too few have
        at any.
    """
    count = len(lips)
    shifts = range(2 * SHIFTS + 1)
    gaps = np.stack([np.linalg.norm(lips - sound[k : k + count], axis=1) for k in shifts], 1)
    known = np.isfinite(gaps)
    overlap = known.sum(0)
    if overlap.max() < _FEWEST:
        return Sync(float("nan"), float("nan"), 0)
    tried = overlap > overlap.max() / 2
    distances = np.where(known, gaps, 0).sum(0)[tried] / overlap[tried]
    best = int(distances.argmin())
    confidence = float(np.median(distances) - distances[best])
    return Sync(float(distances[best]), confidence, SHIFTS - int(np.flatnonzero(tried)[best]))
