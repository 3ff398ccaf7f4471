"""Features of MEAD in their published layout, and the published way to draw pairs from them.

A folder ``<ID>/front/<emotion>/<level_N>`` holds ``NNN_ED_exp.npy`` (expression coefficients
``(L, 10)`` at 25 frames per second) and ``emotion2vec+large_features/NNN.npy`` (``(1024,)``).
``mien features`` writes both. Section 3.4 of arXiv 2604.07786.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.cmet.connector import WINDOW
from mien.datasets.mead import EMOTIONS, EXPRESSION_SUFFIX, SPEECH_FOLDER
from mien.errors import InputError

_NEUTRAL: Final = "neutral"
_AVERAGED: Final = 10
"""Recordings of an emotion that are averaged, voices and faces alike."""

_SECOND_STRIDE: Final = 7
_NAMED: Final = 5

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recording:
    """One video's features.

    Attributes:
        person, emotion, level: as the folders say.
        sentence: its number.
        expression: ``float32 (L, D)``.
        voice: ``float32 (S,)``.
    """

    person: str
    emotion: str
    level: str
    sentence: int
    expression: Array
    voice: Array


def read_features(folder: Path, people: Sequence[str]) -> list[Recording]:
    """All recordings of some people, in order of their paths.

    Raises:
        InputError: when there are none, or when some lack a voice, naming them.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder of features {folder}; make it with mien features.")
    out, missing = [], []
    for path in sorted(folder.glob(f"*/front/*/level_*/*{EXPRESSION_SUFFIX}")):
        level, emotion, person = path.parent, path.parent.parent, path.parents[3]
        if person.name not in people or emotion.name not in EMOTIONS:
            continue
        name = path.name.removesuffix(EXPRESSION_SUFFIX)
        voice = level / SPEECH_FOLDER / f"{name}.npy"
        if not voice.is_file() or not name.isdigit():
            missing.append(str(voice))
            continue
        code = np.load(path, allow_pickle=False).astype(np.float32)
        if code.ndim != 2 or len(code) < 1 or not np.isfinite(code).all():
            raise InputError(f"{path} should hold finite coefficients (L, D); it is {code.shape}.")
        heard = np.load(voice, allow_pickle=False).astype(np.float32).reshape(-1)
        out.append(Recording(person.name, emotion.name, level.name, int(name), code, heard))
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise InputError(f"Features are missing: {', '.join(missing[:_NAMED])}{more}.")
    if not out:
        raise InputError(
            f"{folder} holds no <ID>/front/<emotion>/<level_N>/NNN{EXPRESSION_SUFFIX} of the "
            f"{len(people)} people asked for."
        )
    return out


def _starts(emotion: str, sentence: int) -> bool:
    """Whether a video is in the published list of items."""
    last = range(31, 41) if emotion == _NEUTRAL else range(21, 31)
    return sentence in range(1, 4) or sentence in last


def _averaged(emotion: str, sentence: int) -> bool:
    """Whether a video's face may be averaged."""
    last = range(31, 41) if emotion == _NEUTRAL else range(21, 31)
    return sentence in range(1, 11) or sentence in last


@dataclass(slots=True)
class MeadSampler:
    """Draws pairs of two emotions of one person.

    Attributes:
        recordings: of the people to train on.
        batch: pairs at once.
        no_reference: share of pairs whose reference is zero. The published training always gives
            it, and from the sixth frame on it equals the target: copying is enough.
    """

    recordings: list[Recording]
    batch: int
    no_reference: float = 0.0
    _items: list[Recording] = field(default_factory=list)
    _voices: dict[tuple[str, str], Array] = field(default_factory=dict)
    _faces: dict[tuple[str, str, str], list[Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._items = [r for r in self.recordings if _starts(r.emotion, r.sentence)]
        voices, faces = defaultdict(list), defaultdict(list)
        for one in self.recordings:
            voices[one.emotion, one.level].append(one.voice)
            if _averaged(one.emotion, one.sentence):
                faces[one.person, one.emotion, one.level].append(one.expression)
        self._voices = {key: np.stack(values) for key, values in voices.items()}
        self._faces = dict(faces)
        self._items = [item for item in self._items if self._others(item)]
        if not self._items:
            raise InputError("Nobody in the features shows two emotions at one level.")

    def draw(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """A batch for :func:`mien.training.connector.objective.both_ways`."""
        pairs = [self._pair(int(i), rng) for i in rng.integers(len(self._items), size=self.batch)]
        speech, first, second, direction, reference, label = zip(*pairs, strict=True)
        return {
            "reference": torch.from_numpy(np.stack(reference)),
            "speech": torch.from_numpy(np.stack(speech)[:, None]),
            "first": torch.from_numpy(np.stack(first)),
            "second": torch.from_numpy(np.stack(second)),
            "target": torch.from_numpy(np.stack(direction)),
            "label": torch.tensor(label),
        }

    def _others(self, item: Recording) -> list[tuple[str, str]]:
        """Emotions (with their level) that the person of an item shows besides the item's own."""
        out = []
        for emotion in EMOTIONS:
            level = "level_1" if emotion == _NEUTRAL else item.level
            if emotion != item.emotion and (item.person, emotion, level) in self._faces:
                out.append((emotion, level))
        return out

    def _pair(
        self, i: int, rng: np.random.Generator
    ) -> tuple[Array, Array, Array, Array, Array, int]:
        item = self._items[i]
        others = self._others(item)
        emotion, level = others[rng.integers(len(others))]
        speech = self._voice(emotion, level, i, _SECOND_STRIDE)
        speech = speech - self._voice(item.emotion, item.level, i, 1)
        one = self._face(item.person, item.emotion, item.level, rng)
        two = self._face(item.person, emotion, level, rng)
        length = min(len(one), len(two))
        one, two = one[:length], two[:length]
        direction = (two - one).mean(0)
        start = int(rng.integers(max(1, length - WINDOW + 1)))
        before = np.arange(start - WINDOW, start) >= 0
        if rng.random() < self.no_reference:
            before[:] = False
        reference = before[:, None] * direction
        window = np.minimum(np.arange(start, start + WINDOW), length - 1)
        target = np.repeat(direction[None], WINDOW, 0)
        return (
            speech,
            one[window],
            two[window],
            target,
            reference.astype(np.float32),
            EMOTIONS.index(emotion),
        )

    def _voice(self, emotion: str, level: str, i: int, stride: int) -> Array:
        pool = self._voices[emotion, level]
        mean: Array = pool[(i + stride * np.arange(_AVERAGED)) % len(pool)].mean(0)
        return mean

    def _face(self, person: str, emotion: str, level: str, rng: np.random.Generator) -> Array:
        clips = self._faces[person, emotion, level]
        chosen = [clips[j] for j in rng.permutation(len(clips))[:_AVERAGED]]
        longest = max(map(len, chosen))
        tiled = [np.resize(clip, (longest, clip.shape[1])) for clip in chosen]
        mean: Array = np.mean(tiled, 0).astype(np.float32)
        return mean
