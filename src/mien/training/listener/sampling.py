"""Which recordings make a batch, and their features cut and varied."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.datasets.manifest import Utterance
from mien.speech.features import FEATURES, MELS
from mien.speech.trim import speech_span
from mien.training.listener.cache import FeatureCache

SILENCE: Final = -2.0
"""Bands of the rows after a recording's end."""

_FEW: Final = 16
"""Speakers with fewer recordings share their groups with others of the corpus."""

_SLOWEST, _FASTEST = 0.85, 1.18
_SHORTEST_CUT: Final = 120


@dataclass(frozen=True)
class Batch:
    """A batch of excerpts.

    Attributes:
        rows: ``float32 (B, T, FEATURES)``.
        lengths: ``int64 (B,)``.
        index: which recordings, ``int64 (B,)``.
        neutral: position in the batch of the speaker's neutral recording; -1 where there is none.
        voice: which group of the batch, ``int64 (B,)``. A group is one voice in one room: what is
            varied of these is varied alike, so that a neutral recording stays a yardstick.
    """

    rows: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]
    neutral: npt.NDArray[np.int64]
    voice: npt.NDArray[np.int64]


class Excerpts:
    """Features of recordings without the silence at both ends."""

    def __init__(self, cache: FeatureCache) -> None:
        self._cache = cache
        self._spans: dict[tuple[int, int], tuple[int, int]] = {}

    def get(self, index: int, speed: int = 0) -> npt.NDArray[np.float16]:
        """Features of one recording at one speed, ``float16 (T, FEATURES)``."""
        rows = self._cache.get(index, speed)
        span = self._spans.get((index, speed))
        if span is None:
            span = self._spans[index, speed] = speech_span(rows)
        return rows[span[0] : span[1]]

    def varied(
        self, index: int, speed: int, longest: int, rng: np.random.Generator
    ) -> npt.NDArray[np.float16]:
        """An excerpt at a random tempo and place."""
        rows = self.get(index, speed)
        if rng.random() < 0.5:
            tempo = rng.uniform(_SLOWEST, _FASTEST)
            at = (np.arange(int(len(rows) / tempo)) * tempo).astype(int)
            rows = rows[np.minimum(at, len(rows) - 1)]
        if len(rows) > longest:
            start = int(rng.integers(len(rows) - longest + 1))
            rows = rows[start : start + longest]
        elif rng.random() < 0.3 and len(rows) > _SHORTEST_CUT:
            length = int(len(rows) * rng.uniform(0.7, 1))
            start = int(rng.integers(len(rows) - length + 1))
            rows = rows[start : start + length]
        return rows


class Sampler:
    """Draws batches: some speakers, several emotions of each, one neutral recording beside them."""

    def __init__(
        self,
        utterances: Sequence[Utterance],
        chosen: Sequence[int],
        shares: Mapping[str, float],
        *,
        groups: int,
        group: int,
    ) -> None:
        self._groups, self._group = groups, group
        speakers: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for i in chosen:
            speakers[utterances[i].speaker][utterances[i].emotion].append(i)
        self._corpora: dict[str, list[dict[str, list[int]]]] = defaultdict(list)
        mixed: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for by_emotion in speakers.values():
            first = utterances[next(iter(by_emotion.values()))[0]]
            if sum(map(len, by_emotion.values())) >= _FEW:
                self._corpora[first.corpus].append(by_emotion)
                continue
            for emotion, items in by_emotion.items():
                mixed[first.corpus][emotion] += items
        self._mixed = {name: dict(by.items()) for name, by in mixed.items()}
        names = [n for n in shares if n in self._corpora or n in self._mixed]
        share = np.array([shares[n] for n in names])
        self._names, self._share = names, share / share.sum()

    def draw(self, rng: np.random.Generator) -> tuple[list[int], list[int], list[int]]:
        """Indices of recordings; for each the position of its neutral one or -1; its group."""
        index: list[int] = []
        neutral: list[int] = []
        voice: list[int] = []
        for number in range(self._groups):
            by_emotion, one_speaker = self._speaker(rng)
            at = -1
            if one_speaker and by_emotion.get("neutral"):
                at = len(index)
                index.append(int(rng.choice(by_emotion["neutral"])))
                neutral.append(at)
            names = list(by_emotion)
            for _ in range(self._group - (at >= 0)):
                items = by_emotion[names[rng.integers(len(names))]]
                index.append(int(items[rng.integers(len(items))]))
                neutral.append(at)
            voice += [number] * (len(index) - len(voice))
        return index, neutral, voice

    def _speaker(self, rng: np.random.Generator) -> tuple[dict[str, list[int]], bool]:
        name = self._names[rng.choice(len(self._names), p=self._share)]
        own, mixed = self._corpora.get(name, []), self._mixed.get(name)
        count = len(own) + (4 if mixed else 0)
        which = int(rng.integers(count))
        if mixed and which >= len(own):
            return mixed, False
        return own[which], True


def stack(
    pieces: Sequence[npt.NDArray[np.float16]],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Excerpts as one array ``float32 (B, T, FEATURES)`` and their lengths ``int64 (B,)``."""
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    rows = np.zeros((len(pieces), int(lengths.max()), FEATURES), np.float32)
    rows[..., :MELS] = SILENCE
    for row, piece in zip(rows, pieces, strict=True):
        row[: len(piece)] = piece
    return rows, lengths
