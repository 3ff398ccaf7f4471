"""The recordings of a training run, with what is known of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from mien.datasets.corpora import read_corpus
from mien.datasets.manifest import Utterance, check_split, present, read_manifest
from mien.errors import InputError
from mien.speech.labels import HEARD
from mien.training.listener.cache import FeatureCache, build_cache
from mien.training.listener.config import ListenerConfig
from mien.training.listener.losses import Targets
from mien.training.listener.sampling import Batch

_TEACHER = 1024


@dataclass(frozen=True)
class SpeechData:
    """Recordings, their features and labels.

    Attributes:
        utterances: all of them.
        cache: their features.
        emotion, intensity: per recording, as in :class:`Targets`.
        teacher: ``float32 (N, 1024)``, zeros where unknown; ``teacher_mean (1024,)`` of known ones.
        speaker: ``int64 (N,)``; ``speakers`` is how many there are.
        train, held_out: indices; no speaker is in both, except for held-out files with teacher
            features, which measure the distillation only.
        missing: files the manifest names that are not there.
    """

    utterances: list[Utterance]
    cache: FeatureCache
    emotion: npt.NDArray[np.int64]
    intensity: npt.NDArray[np.float32]
    teacher: npt.NDArray[np.float32]
    teacher_mean: npt.NDArray[np.float32]
    speaker: npt.NDArray[np.int64]
    speakers: int
    train: list[int]
    held_out: list[int]
    missing: list[Path]

    def targets(self, batch: Batch, device: torch.device) -> Targets:
        """What is known of a batch, on a device."""
        index = batch.index
        known = (
            self.emotion[index],
            batch.neutral >= 0,
            self.intensity[index],
            self.teacher[index],
            self.speaker[index],
        )
        return Targets(*(torch.from_numpy(values).to(device) for values in known))


def load_data(
    config: ListenerConfig,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> SpeechData:
    """Read the manifest, compute or open the features in ``folder``, split.

    Raises:
        InputError: when nothing is left to train on.
    """
    listed = read_manifest(config.manifest) if config.manifest else []
    for corpus, folder_of in config.folders.items():
        listed += read_corpus(corpus, folder_of)
    check_split(listed)
    listed = [item for item in listed if item.corpus in config.corpora]
    utterances, missing = present(listed)
    if not utterances:
        raise InputError(
            f"None of the recordings of {', '.join(config.corpora)} is there; see the settings."
        )
    cache = build_cache(utterances, folder, progress=progress)
    teacher = _teacher(config, utterances)
    known = np.abs(teacher).sum(1) > 0
    names = sorted({u.speaker for u in utterances})
    place = {name: i for i, name in enumerate(names)}
    train: list[int] = []
    held_out: list[int] = []
    for i, item in enumerate(utterances):
        if not cache.usable[i]:
            missing.append(item.path)
            continue
        out = item.split != "train" or item.speaker in config.held_out
        out = out or bool(known[i] and i % config.held_out_every == 0)
        (held_out if out else train).append(i)
    if not train or not held_out:
        raise InputError("The recordings need speakers in both splits, train and val.")
    emotion = [HEARD.index(u.emotion) if u.emotion in HEARD else -1 for u in utterances]
    return SpeechData(
        utterances=utterances,
        cache=cache,
        emotion=np.array(emotion, np.int64),
        intensity=np.array([u.intensity or 0 for u in utterances], np.float32),
        teacher=teacher,
        teacher_mean=teacher[known].mean(0) if known.any() else np.zeros(_TEACHER, np.float32),
        speaker=np.array([place[u.speaker] for u in utterances], np.int64),
        speakers=len(names),
        train=train,
        held_out=held_out,
        missing=missing,
    )


def _teacher(config: ListenerConfig, utterances: list[Utterance]) -> npt.NDArray[np.float32]:
    out = np.zeros((len(utterances), _TEACHER), np.float32)
    if config.teacher is None:
        return out
    path = Path(config.teacher)
    if not path.is_file():
        raise InputError(
            f"There are no teacher features {path}; leave out 'teacher' to do without."
        )
    with np.load(path, allow_pickle=False) as stored:
        features = dict(zip(stored["files"].tolist(), stored["features"], strict=True))
    for row, item in zip(out, utterances, strict=True):
        name = f"{item.path.parent.name}/{item.path.name}"
        if name in features:
            row[:] = features[name]
    return out
