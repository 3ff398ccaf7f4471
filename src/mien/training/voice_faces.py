"""Recordings of people whose faces are known: what the listener hears beside what OpenFace sees.

Connector and emotion prior of the mesh engine are both trained on them.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from mien.cmet.semantic import Voice, semantic_vector, voice_of
from mien.datasets.manifest import Utterance, present, read_manifest
from mien.errors import InputError
from mien.face.facs import CODE_UNITS_PER_INTENSITY, OPENFACE_COLUMNS, OPENFACE_UNITS
from mien.media.output import whole_file
from mien.speech.listener import Listener
from mien.training.config import TrainingConfig
from mien.training.listener.data import FeatureCache, build_cache
from mien.training.listener.sampling import Excerpts, augment, stack

_BATCH: Final = 48
_LONGEST_ROWS: Final = 1000
_VERSION: Final = 1
"""Part of a cache's name; raise it when embeddings change."""

_CONTEMPT: Final = {"14": 9.0, "12": 4.5, "2": 1.0, "10": 2.0}
"""Contempt's face in code units after EMFACS (unit 14, one-sided 12); RAVDESS has none."""

_BORED: Final = {"1": 1.0, "5": -1.0, "43": 0.0, "45": 2.0, "15": 1.0}
"""Boredom's face in code units: this project's estimate."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class VoiceFacesConfig(TrainingConfig):
    """Settings of a training on voices and faces.

    Attributes:
        manifest: table of recordings (:func:`mien.datasets.manifest.read_manifest`).
        action_units: table of clip means per recording, with OpenFace's columns.
        listener: folder of the listener's nets; the bundled ones by default.
        views: versions of every recording (speed, room, noise, excerpt) that are embedded.
        most: recordings per speaker and emotion that are embedded where the face is not known.
    """

    manifest: Path
    action_units: Path
    listener: Path | None = None
    views: int = 4
    most: int = 12


@dataclass(frozen=True)
class VoiceFaces:
    """Voices of recordings and, where known, faces.

    Attributes:
        voices: embedding and affect of every recording and view, ``(N, views, E + 3)``.
        faces: expression codes ``(N, D)``, NaN where the face is not known.
        speaker, emotion, corpus: names, ``(N,)``.
        train: ``bool (N,)``.
    """

    voices: Array
    faces: Array
    speaker: npt.NDArray[np.str_]
    emotion: npt.NDArray[np.str_]
    corpus: npt.NDArray[np.str_]
    train: npt.NDArray[np.bool_]

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Which recordings have a face."""
        return np.asarray(np.isfinite(self.faces).all(1))

    def vector(self, emotional: npt.NDArray[Any], neutral: npt.NDArray[Any], view: int) -> Array:
        """Compute the semantic vector between the means of two sets of recordings."""
        return semantic_vector(self.voice(emotional, view), self.voice(neutral, view))

    def voice(self, index: npt.NDArray[Any], view: int) -> Voice:
        """Compute the mean voice of recordings in one view."""
        mean = self.voices[index, view].mean(0)
        return Voice(mean[:-3], mean[-3:])

    def typical(self) -> dict[str, Array]:
        """Compute every emotion's mean difference to neutral over the people trained on."""
        seen = self.seen & self.train
        differences = defaultdict(list)
        for person in np.unique(self.speaker[seen]):
            own = seen & (self.speaker == person)
            neutral = self.faces[own & (self.emotion == "neutral")].mean(0)
            for emotion in np.unique(self.emotion[own]):
                differences[str(emotion)].append(
                    (self.faces[own & (self.emotion == emotion)] - neutral).mean(0)
                )
        out = {name: np.mean(values, 0).astype(np.float32) for name, values in differences.items()}
        for name, units in (("contempt", _CONTEMPT), ("bored", _BORED)):
            out[name] = np.array([units.get(unit, 0.0) for unit in OPENFACE_UNITS], np.float32)
        return out


def minus_own_neutral(
    values: Array,
    speaker: npt.NDArray[np.str_],
    neutral: npt.NDArray[np.bool_],
    otherwise: Array | float = 0.0,
) -> Array:
    """Subtract from rows ``(N, ..., D)`` the mean of the same speaker's neutral ones.

    Args:
        values: the rows.
        speaker: who each is of, ``(N,)``.
        neutral: which are neutral, ``(N,)``.
        otherwise: what is subtracted for speakers without neutral ones, ``(D,)``.
    """
    out = values.copy()
    for one in np.unique(speaker):
        own = speaker == one
        known = values[own & neutral]
        out[own] -= known.mean(tuple(range(values.ndim - 1))) if len(known) else otherwise
    return out


def read_faces(path: Path, utterances: list[Utterance]) -> Array:
    """Read the expression codes of recordings from a table of OpenFace clip means.

    Returns:
        ``float32 (N, 17)``, NaN for recordings that are not in the table.

    Raises:
        InputError: when the table is missing or lacks columns.
    """
    if not path.is_file():
        raise InputError(f"There is no table of action units {path}.")
    with path.open(newline="", encoding="utf-8") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    first = next(iter(rows.values()), {})
    missing = [name for name in OPENFACE_COLUMNS if name not in first]
    if missing:
        raise InputError(f"The table {path} lacks the column(s) {', '.join(missing)}.")
    out = np.full((len(utterances), len(OPENFACE_UNITS)), np.nan, np.float32)
    for i, item in enumerate(utterances):
        row = rows.get(f"{item.path.parent.name}/{item.path.name}")
        if row is not None:
            out[i] = [float(row[name]) * CODE_UNITS_PER_INTENSITY for name in OPENFACE_COLUMNS]
    return out


def load_voice_faces(
    config: VoiceFacesConfig,
    folder: Path,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    log: Callable[[str], None] = lambda _: None,
) -> VoiceFaces:
    """Embed the voices of all recordings, or read the embeddings computed before.

    View 0 is the recording itself. The others differ in speed, room, noise and length, so that the
    listener is about as uncertain about its own training voices as about new ones.

    Args:
        config: names the data.
        folder: where features and embeddings are kept.
        progress: called with (recordings done, recordings).
        log: called with a line per file that is missing or damaged.

    Raises:
        InputError: when no recording is there, or a table cannot be used.
    """
    utterances, missing = present(read_manifest(config.manifest))
    if not utterances:
        raise InputError(f"None of the recordings in {config.manifest} is there.")
    faces = read_faces(config.action_units, utterances)
    cache = build_cache(utterances, folder / "features", progress=progress)
    missing += [u.path for u, good in zip(utterances, cache.usable, strict=True) if not good]
    for path in missing:
        log(f"left out, missing or damaged: {path}")
    chosen = _choose(utterances, cache.usable, np.asarray(np.isfinite(faces).all(1)), config)
    some = [utterances[i] for i in chosen]
    listener = files("mien") / "assets" if config.listener is None else config.listener
    listener_hash = hashlib.sha256((listener / "listener.onnx").read_bytes()).hexdigest()
    paths = [str(u.path) for u in some]
    key = json.dumps([_VERSION, config.views, config.seed, listener_hash, paths])
    path = folder / f"voices-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npy"
    if not path.exists():
        voices = _embed(chosen, cache, config, progress)
        with whole_file(path) as part, part.open("wb") as file:
            np.save(file, voices)
    return VoiceFaces(
        voices=np.load(path, allow_pickle=False),
        faces=faces[chosen],
        speaker=np.array([u.speaker for u in some]),
        emotion=np.array([u.emotion for u in some]),
        corpus=np.array([u.corpus for u in some]),
        train=np.array([u.split == "train" for u in some]),
    )


def _choose(
    utterances: list[Utterance],
    usable: npt.NDArray[np.bool_],
    seen: npt.NDArray[np.bool_],
    config: VoiceFacesConfig,
) -> list[int]:
    """All recordings with a face, and at most ``most`` others per speaker and emotion."""
    counts: Counter[tuple[str, str]] = Counter()
    out = []
    for i in np.random.default_rng(config.seed).permutation(len(utterances)).tolist():
        item = utterances[i]
        if not usable[i]:
            continue
        if not seen[i]:
            counts[item.speaker, item.emotion] += 1
            if counts[item.speaker, item.emotion] > config.most:
                continue
        out.append(i)
    return sorted(out)


def _embed(
    chosen: list[int],
    cache: FeatureCache,
    config: VoiceFacesConfig,
    progress: Callable[[int, int], None],
) -> Array:
    listener = Listener(config.listener)
    excerpts = Excerpts(cache)
    out = np.zeros((len(chosen), config.views, listener.size + 3), np.float32)
    place = {index: row for row, index in enumerate(chosen)}
    order = sorted(chosen, key=lambda i: len(excerpts.get(i)))
    done = 0
    for view in range(config.views):
        for start in range(0, len(order), _BATCH):
            some = order[start : start + _BATCH]
            rng = np.random.default_rng([config.seed, view, start])
            embeddings = listener.embed(_vary(excerpts, some, view, rng))
            for i, embedding in zip(some, embeddings, strict=True):
                out[place[i], view, :-3] = embedding
                out[place[i], view, -3:] = voice_of(listener, embedding[None]).affect
            done += len(some)
            progress(done, len(order) * config.views)
    return out


def _vary(excerpts: Excerpts, some: list[int], view: int, rng: np.random.Generator) -> list[Array]:
    """Features of some recordings in one view."""
    if view == 0:
        return [excerpts.get(i)[:_LONGEST_ROWS].astype(np.float32) for i in some]
    rows, lengths = stack([excerpts.varied(i, _LONGEST_ROWS, rng) for i in some])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    voice = torch.arange(len(some))
    varied = augment(torch.from_numpy(rows), torch.from_numpy(lengths), voice, generator)
    return [row[:length].numpy() for row, length in zip(varied, lengths, strict=True)]
