"""Pairs of voices and faces: how both differ between two emotions of one person."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.cmet.semantic import WINDOW, Voice, semantic_vector
from mien.datasets.manifest import Utterance
from mien.errors import InputError
from mien.face.readers import CODE_UNITS_PER_INTENSITY, OPENFACE_COLUMNS, OPENFACE_UNITS
from mien.training.connector.config import ConnectorConfig

_CLIPS: Final = (1, 1, 2, 4)
"""How many recordings of the second emotion are averaged; the paper uses ten, a user often one."""

_NEUTRAL_CLIPS: Final = 4
_STEADY_NOISE, _FRAME_NOISE = 1.0, 0.5
"""Of the face that is started from, code units: between clips, between frames."""

_CONTEMPT: Final = {"14": 9.0, "12": 4.5, "2": 1.0, "10": 2.0}
"""Contempt's face in code units after EMFACS (unit 14, one-sided 12); RAVDESS has none."""

_BORED: Final = {"1": 1.0, "5": -1.0, "43": 0.0, "45": 2.0, "15": 1.0}
"""Boredom's face in code units: this project's estimate."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pairs:
    """Recordings with what was heard and, where known, seen.

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
        """Semantic vector between the means of two sets of recordings."""
        return semantic_vector(self.voice(emotional, view), self.voice(neutral, view))

    def voice(self, index: npt.NDArray[Any], view: int) -> Voice:
        """Mean of recordings as they sound in one view."""
        mean = self.voices[index, view].mean(0)
        return Voice(mean[:-3], mean[-3:])

    def typical(self) -> dict[str, Array]:
        """The mean difference to neutral of every emotion over the people trained on."""
        seen = self.seen & self.train
        differences = defaultdict(list)
        for person in np.unique(self.speaker[seen]):
            own = seen & (self.speaker == person)
            plain = self.faces[own & (self.emotion == "neutral")].mean(0)
            for emotion in np.unique(self.emotion[own]):
                differences[str(emotion)].append(
                    (self.faces[own & (self.emotion == emotion)] - plain).mean(0)
                )
        out = {name: np.mean(values, 0).astype(np.float32) for name, values in differences.items()}
        for name, units in (("contempt", _CONTEMPT), ("bored", _BORED)):
            out[name] = np.array([units.get(unit, 0.0) for unit in OPENFACE_UNITS], np.float32)
        return out


def read_faces(path: str | Path, utterances: list[Utterance]) -> Array:
    """Expression codes of recordings out of a table of OpenFace clip means, NaN where missing.

    Raises:
        InputError: when the table is missing or lacks columns.
    """
    path = Path(path).resolve()
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
        name = f"{item.path.parent.name}/{item.path.name}"
        if name in rows:
            out[i] = [
                float(rows[name][column]) * CODE_UNITS_PER_INTENSITY for column in OPENFACE_COLUMNS
            ]
    return out


class PairSampler:
    """Draws pairs: two emotions of a person, their voices' difference and their faces'."""

    def __init__(self, pairs: Pairs, config: ConnectorConfig) -> None:
        self.pairs, self.config = pairs, config
        allowed = pairs.train & (pairs.emotion != (config.held_out_emotion or ""))
        self._people = _by_person(pairs, allowed & pairs.seen)
        self._typical = pairs.typical()
        voices = _by_person(pairs, allowed & ~pairs.seen & (pairs.corpus != "tts"))
        self._voices: dict[str, list[dict[str, list[int]]]] = defaultdict(list)
        for person, emotions in voices.items():
            usable = {k: v for k, v in emotions.items() if k in self._typical}
            if "neutral" in usable and len(usable) > 1:
                corpus = str(pairs.corpus[pairs.speaker == person][0])
                self._voices[corpus].append(usable)
        if not self._people:
            raise InputError("No recording to train on has a face in the table of action units.")
        self._labels = {name: i for i, name in enumerate(sorted(self._typical))}
        self._plain = [e["neutral"] for e in self._people.values() if "neutral" in e]

    def draw(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """A batch for :func:`mien.training.connector.objective.both_ways`."""
        recipes = self.config.recipes if self._voices else 0.0
        rows = [
            self._typical_pair(rng) if rng.random() < recipes else self._real_pair(rng)
            for _ in range(self.config.batch)
        ]
        speech, start, difference, label = zip(*rows, strict=True)
        target = _frames(np.stack(difference))
        first = _frames(np.stack(start))
        given = rng.random((len(rows), 1, 1)) >= self.config.no_reference
        return {
            "reference": _tensor(target * given),
            "speech": _tensor(np.stack(speech)[:, None]),
            "first": _tensor(_shaken(first, rng)),
            "second": _tensor(_shaken(first + target, rng)),
            "target": _tensor(target),
            "label": torch.tensor([self._labels[name] for name in label]),
        }

    def _real_pair(self, rng: np.random.Generator) -> tuple[Array, Array, Array, str]:
        faces = self.pairs.faces
        people = list(self._people.values())
        emotions = people[rng.integers(len(people))]
        names = list(emotions)
        from_neutral = "neutral" in emotions and rng.random() < self.config.from_neutral
        before = "neutral" if from_neutral else names[rng.integers(len(names))]
        others = [name for name in names if name != before]
        after = others[rng.integers(len(others))]
        one = _some(emotions[before], _NEUTRAL_CLIPS, rng)
        two = _some(emotions[after], int(rng.choice(_CLIPS)), rng)
        start = faces[one].mean(0)
        difference = faces[two].mean(0) - start
        if rng.random() < self.config.other_face:
            other = people[rng.integers(len(people))]
            start = faces[rng.choice(other.get(before, emotions[before]))]
        return self._heard(two, one, rng), start, difference, after

    def _typical_pair(self, rng: np.random.Generator) -> tuple[Array, Array, Array, str]:
        corpora = list(self._voices.values())
        people = corpora[rng.integers(len(corpora))]
        emotions = people[rng.integers(len(people))]
        names = [name for name in emotions if name != "neutral"]
        after = names[rng.integers(len(names))]
        one = _some(emotions["neutral"], _NEUTRAL_CLIPS, rng)
        two = _some(emotions[after], int(rng.choice(_CLIPS)), rng)
        start = self.pairs.faces[rng.choice(self._plain[rng.integers(len(self._plain))])]
        return self._heard(two, one, rng), start, self._typical[after], after

    def _heard(
        self, two: npt.NDArray[Any], one: npt.NDArray[Any], rng: np.random.Generator
    ) -> Array:
        view = int(rng.integers(self.pairs.voices.shape[1]))
        vector = self.pairs.vector(two, one, view)
        if rng.random() < self.config.affect_only:
            vector[:-3] = 0
        size = float(np.linalg.norm(vector)) / len(vector) ** 0.5
        noise = rng.normal(0, self.config.noise * size, len(vector))
        return (vector + noise).astype(np.float32)


def _by_person(pairs: Pairs, which: npt.NDArray[np.bool_]) -> dict[str, dict[str, list[int]]]:
    out: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i in np.flatnonzero(which):
        out[str(pairs.speaker[i])][str(pairs.emotion[i])].append(int(i))
    return {person: dict(emotions) for person, emotions in out.items()}


def _some(items: list[int], count: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    return rng.choice(items, min(count, len(items)), replace=False)


def _frames(code: Array) -> Array:
    return np.repeat(code[:, None], WINDOW, 1)


def _shaken(codes: Array, rng: np.random.Generator) -> Array:
    steady = rng.normal(0, _STEADY_NOISE, (codes.shape[0], 1, codes.shape[2]))
    return (codes + steady + rng.normal(0, _FRAME_NOISE, codes.shape)).astype(np.float32)


def _tensor(values: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


Progress = Callable[[int, int], None]
