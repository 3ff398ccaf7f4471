"""Recordings with their labels, and their features in one memory-mapped file."""

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
import torch

from mien.datasets.corpora import read_corpus
from mien.datasets.manifest import Utterance, check_split, present, read_manifest
from mien.errors import InputError
from mien.media.audio import read_speech
from mien.media.output import whole_file
from mien.speech.features import FEATURES, features
from mien.speech.listener import LEARNED_EMOTIONS
from mien.training.listener import ListenerConfig
from mien.training.listener.net import Targets

_LONGEST_SECONDS: Final = 12.0
_TEACHER_SIZE: Final = 1024
_VERSION: Final = 2
"""Part of a cache's name; raise it when features change."""


@dataclass(frozen=True)
class FeatureCache:
    """Features by recording.

    Attributes:
        rows: ``float16 (sum of T, FEATURES)``.
        offsets: ``int64 (recordings, 2)``: first row and end.
        usable: ``bool (recordings,)``; False where the file could not be decoded.
    """

    rows: npt.NDArray[np.float16]
    offsets: npt.NDArray[np.int64]
    usable: npt.NDArray[np.bool_]

    def get(self, index: int) -> npt.NDArray[np.float16]:
        """Return the features of one recording, ``float16 (T, FEATURES)``."""
        start, stop = self.offsets[index]
        return self.rows[start:stop]


def build_cache(
    utterances: Sequence[Utterance],
    folder: Path,
    *,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureCache:
    """Compute the features of recordings, or open those that were computed before.

    The cache's name follows from the list of files, so that a change makes a new one. Files that
    cannot be decoded are marked as not ``usable``.

    Raises:
        InputError: when no recording can be decoded.
    """
    key = json.dumps([_VERSION, [str(item.path) for item in utterances]])
    stem = folder / f"features-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    data, index = stem.with_suffix(".f16"), stem.with_suffix(".npz")
    if not (data.exists() and index.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        _write(utterances, data, index, workers, progress)
    with np.load(index, allow_pickle=False) as stored:
        offsets, usable = stored["offsets"], stored["usable"]
    rows = np.memmap(data, np.float16, "r").reshape(-1, FEATURES)
    return FeatureCache(rows, offsets, usable)


def _write(
    utterances: Sequence[Utterance],
    data: Path,
    index: Path,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    offsets = np.zeros((len(utterances), 2), np.int64)
    usable = np.zeros(len(utterances), bool)
    at = 0
    paths = [item.path for item in utterances]
    with whole_file(data) as part, part.open("wb") as file, ProcessPoolExecutor(workers) as pool:
        for i, rows in enumerate(pool.map(_features_of, paths, chunksize=16)):
            usable[i] = len(rows) > 0
            offsets[i] = at, at + len(rows)
            at += len(rows)
            file.write(rows.tobytes())
            if progress is not None:
                progress(i + 1, len(utterances))
    if not usable.any():
        raise InputError("None of the recordings can be decoded.")
    with whole_file(index) as part, part.open("wb") as file:
        np.savez(file, offsets=offsets, usable=usable)


def _features_of(path: Path) -> npt.NDArray[np.float16]:
    """Features of a recording; none for a file that cannot be decoded."""
    try:
        return features(read_speech(path, _LONGEST_SECONDS)).astype(np.float16)
    except InputError:
        return np.zeros((0, FEATURES), np.float16)


@dataclass(frozen=True)
class SpeechData:
    """Recordings, their features and labels.

    Attributes:
        utterances: all of them.
        cache: their features.
        emotion, intensity: per recording, as in :class:`Targets`.
        teacher: ``float32 (N, 1024)``, zeros where unknown; ``teacher_mean (1024,)`` of known ones.
        speaker: ``int64 (N,)``; ``speakers`` is their number.
        possible: ``bool (N, labels)``: the labels that the recording's corpus has.
        train, held_out, test: indices; no speaker is in two of them, except for held-out files
            with teacher features. Those of the test are not looked at in training.
        missing: files that the manifest names and that are not there or cannot be decoded.
    """

    utterances: list[Utterance]
    cache: FeatureCache
    emotion: npt.NDArray[np.int64]
    intensity: npt.NDArray[np.float32]
    teacher: npt.NDArray[np.float32]
    teacher_mean: npt.NDArray[np.float32]
    speaker: npt.NDArray[np.int64]
    possible: npt.NDArray[np.bool_]
    speakers: int
    train: list[int]
    held_out: list[int]
    test: list[int]
    missing: list[Path]

    def targets(self, index: npt.NDArray[np.int64], relative: npt.NDArray[np.bool_]) -> Targets:
        """Return what is known of the recordings ``index (B,)``; ``relative`` as in ``Targets``."""
        labels, graded = self.emotion[index], self.intensity[index]
        known = (labels, relative, graded, self.teacher[index], self.speaker[index])
        return Targets(*map(torch.from_numpy, (*known, self.possible[index])))


def load_data(
    config: ListenerConfig, folder: Path, progress: Callable[[int, int], None] | None = None
) -> SpeechData:
    """Read the manifest, compute or open the features in ``folder``, split by speaker.

    Raises:
        InputError: when there is nothing to train or to measure on.
    """
    listed = read_manifest(config.manifest) if config.manifest else []
    for corpus, root in config.folders.items():
        listed += read_corpus(corpus, root)
    check_split(listed)
    utterances, missing = present([item for item in listed if item.corpus in config.corpora])
    if not utterances:
        raise InputError(
            f"None of the recordings of {', '.join(config.corpora)} is there; see the settings."
        )
    cache = build_cache(utterances, folder, progress=progress)
    teacher = _teacher(config, utterances)
    teacher[[item.split == "test" for item in utterances]] = 0
    known = np.abs(teacher).sum(1) > 0
    names = sorted({u.speaker for u in utterances})
    place = {name: i for i, name in enumerate(names)}
    train: list[int] = []
    held_out: list[int] = []
    test: list[int] = []
    for i, item in enumerate(utterances):
        if not cache.usable[i]:
            missing.append(item.path)
            continue
        if item.split == "test":
            test.append(i)
            continue
        out = item.split == "val" or item.speaker in config.held_out
        out = out or bool(known[i] and i % config.held_out_every == 0)
        (held_out if out else train).append(i)
    if not train or not held_out:
        raise InputError("The recordings need speakers in both splits, train and val.")
    index = {name: i for i, name in enumerate(LEARNED_EMOTIONS)}
    emotion = np.array([index.get(u.emotion, -1) for u in utterances], np.int64)
    return SpeechData(
        utterances=utterances,
        cache=cache,
        emotion=emotion,
        intensity=np.array([u.intensity or 0 for u in utterances], np.float32),
        teacher=teacher,
        teacher_mean=teacher[known].mean(0) if known.any() else np.zeros(_TEACHER_SIZE, np.float32),
        speaker=np.array([place[u.speaker] for u in utterances], np.int64),
        possible=_possible(utterances, emotion),
        speakers=len(names),
        train=train,
        held_out=held_out,
        test=test,
        missing=missing,
    )


def _possible(utterances: list[Utterance], emotion: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    corpus = np.array([item.corpus for item in utterances])
    out = np.zeros((len(corpus), len(LEARNED_EMOTIONS)), bool)
    for name in np.unique(corpus):
        out[corpus == name] = np.isin(np.arange(out.shape[1]), emotion[corpus == name])
    return out


def _teacher(config: ListenerConfig, utterances: list[Utterance]) -> npt.NDArray[np.float32]:
    out = np.zeros((len(utterances), _TEACHER_SIZE), np.float32)
    if config.teacher is None:
        return out
    with np.load(config.teacher, allow_pickle=False) as stored:
        vectors = dict(zip(stored["files"].tolist(), stored["features"], strict=True))
    for row, item in zip(out, utterances, strict=True):
        name = f"{item.path.parent.name}/{item.path.name}"
        if name in vectors:
            row[:] = vectors[name]
    return out
