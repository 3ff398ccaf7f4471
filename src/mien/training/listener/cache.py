"""Features of all recordings in one file, at several speeds, read through a memory map."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.datasets.manifest import Utterance
from mien.errors import InputError
from mien.media.audio import read_speech
from mien.media.output import whole_file
from mien.speech.features import FEATURES, features

SPEEDS: Final = (1.0, 0.84, 0.92, 1.09, 1.2)
"""Playing faster raises pitch and formants together: to the net it is another speaker."""

LONGEST: Final = 12.0
"""Seconds of a recording that are used."""

_VERSION: Final = 1


@dataclass(frozen=True)
class FeatureCache:
    """Features by recording and speed.

    Attributes:
        rows: ``float16 (sum of T, FEATURES)``.
        offsets: ``int64 (recordings, speeds, 2)``: first row and end.
        usable: ``bool (recordings,)``; False where the file could not be decoded.
    """

    rows: npt.NDArray[np.float16]
    offsets: npt.NDArray[np.int64]
    usable: npt.NDArray[np.bool_]

    def get(self, index: int, speed: int = 0) -> npt.NDArray[np.float16]:
        """Features of one recording, ``float16 (T, FEATURES)``."""
        start, stop = self.offsets[index, speed]
        return self.rows[start:stop]


def build_cache(
    utterances: Sequence[Utterance],
    folder: Path,
    *,
    speeds: Sequence[float] = SPEEDS,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureCache:
    """Compute the features of ``utterances``, or open those computed before.

    The cache's name follows from the list of files and the speeds, so that a change of either
    makes a new one. Files that cannot be decoded are left out (``usable``).
    """
    key = json.dumps([_VERSION, list(speeds), [str(item.path) for item in utterances]])
    stem = folder / f"features-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    data, index = stem.with_suffix(".f16"), stem.with_suffix(".npz")
    if not (data.exists() and index.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        _write(utterances, speeds, data, index, workers, progress)
    with np.load(index, allow_pickle=False) as stored:
        offsets, usable = stored["offsets"], stored["usable"]
    rows = np.memmap(data, np.float16, "r").reshape(-1, FEATURES)
    return FeatureCache(rows, offsets, usable)


def _write(
    utterances: Sequence[Utterance],
    speeds: Sequence[float],
    data: Path,
    index: Path,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    offsets = np.zeros((len(utterances), len(speeds), 2), np.int64)
    usable = np.zeros(len(utterances), bool)
    at = 0
    jobs = [(item.path, tuple(speeds)) for item in utterances]
    with (
        whole_file(data) as part,
        part.open("wb") as file,
        ProcessPoolExecutor(workers) as pool,
    ):
        for i, versions in enumerate(pool.map(_features_of, jobs, chunksize=16)):
            usable[i] = bool(versions)
            for j, rows in enumerate(versions):
                offsets[i, j] = at, at + len(rows)
                at += len(rows)
                file.write(rows.tobytes())
            if progress is not None:
                progress(i + 1, len(utterances))
    if not usable.any():
        raise InputError("None of the recordings can be decoded.")
    with whole_file(index) as part, part.open("wb") as file:
        np.savez(file, offsets=offsets, usable=usable)


def _features_of(job: tuple[Path, tuple[float, ...]]) -> list[npt.NDArray[np.float16]]:
    """Features at every speed; an empty list for a file that cannot be decoded."""
    import soxr

    path, speeds = job
    try:
        samples = read_speech(path, LONGEST)
    except InputError:
        return []
    out = []
    for speed in speeds:
        played = samples if speed == 1 else soxr.resample(samples, 16_000 * speed, 16_000)
        out.append(features(played.astype(np.float32)).astype(np.float16))
    return out
