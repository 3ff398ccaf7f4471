"""Batches of recordings: which ones, which excerpts of them, and how they are varied."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.datasets.manifest import Utterance
from mien.speech.features import FEATURES, MELS, moved_bands, speech_span
from mien.training.listener.data import FeatureCache

_SILENCE: Final = -2.0
"""Value of the bands after a recording's end."""

_FEW: Final = 16
"""Speakers with fewer recordings share their groups with others of the corpus."""

_SLOWEST, _FASTEST = 0.85, 1.18
_SHORTEST_CUT_ROWS: Final = 120

_GAIN: Final = 0.25
"""Spread of the level of a voice: 4.3 dB."""

_DISTANCE: Final = 0.06
"""Spread of the level within a voice: 1 dB."""

_EQUALISER: Final = 0.22
"""Spread of a voice's tone colour at six points over the bands: 3.8 dB."""

_QUIETEST_DB, _LOUDEST_DB = 3.0, 40.0
"""Range of signal-to-noise ratios."""

_WARP: Final = 0.26
"""Largest octaves by which pitch and formants of a voice move: to the net it is another speaker."""

_MASKED_BANDS: Final = 14
_MASKED_ROWS: Final = 25
_NO_PITCH: Final = 0.15
"""Share of recordings without pitch and voicing."""


class Excerpts:
    """Features of recordings without the silence at both ends."""

    def __init__(self, cache: FeatureCache) -> None:
        self._cache = cache
        self._spans: dict[int, tuple[int, int]] = {}

    def get(self, index: int) -> npt.NDArray[np.float16]:
        """Return the features of one recording, ``float16 (T, FEATURES)``."""
        rows = self._cache.get(index)
        span = self._spans.get(index)
        if span is None:
            span = self._spans[index] = speech_span(rows)
        return rows[span[0] : span[1]]

    def varied(self, index: int, longest: int, rng: np.random.Generator) -> npt.NDArray[np.float16]:
        """Return an excerpt of at most ``longest`` rows at a random tempo and place."""
        rows = self.get(index)
        if rng.random() < 0.5:
            tempo = rng.uniform(_SLOWEST, _FASTEST)
            at = (np.arange(int(len(rows) / tempo)) * tempo).astype(int)
            rows = rows[np.minimum(at, len(rows) - 1)]
        if len(rows) > longest:
            start = int(rng.integers(len(rows) - longest + 1))
            rows = rows[start : start + longest]
        elif rng.random() < 0.3 and len(rows) > _SHORTEST_CUT_ROWS:
            length = int(len(rows) * rng.uniform(0.7, 1))
            start = int(rng.integers(len(rows) - length + 1))
            rows = rows[start : start + length]
        return rows


class Sampler:
    """Draws batches: some speakers, with several emotions and one neutral recording of each.

    ``chosen`` are the indices of the recordings to draw from, ``shares`` the share of the batches
    by corpus, ``groups`` and ``group`` the speakers per batch and the recordings of each.
    """

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

    def draw(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], ...]:
        """Draw a batch of ``B`` recordings.

        Returns:
            Their indices; for each the position in the batch of its speaker's neutral recording,
            -1 for none; and its group. ``int64 (B,)`` each.
        """
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
        return np.array(index), np.array(neutral), np.array(voice)

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
    """Pad excerpts to one array ``float32 (B, T, FEATURES)``; also their lengths ``int64 (B,)``."""
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    rows = np.zeros((len(pieces), int(lengths.max()), FEATURES), np.float32)
    rows[..., :MELS] = _SILENCE
    for row, piece in zip(rows, pieces, strict=True):
        row[: len(piece)] = piece
    return rows, lengths


def augment(rows: Tensor, lengths: Tensor, voice: Tensor, generator: torch.Generator) -> Tensor:
    """Vary vocal tract, level, tone colour and noise; mask as SpecAugment does (Park et al. 2019).

    Args:
        rows: ``float32 (B, T, FEATURES)``.
        lengths: ``(B,)``.
        voice: group ``(B,)``, 0 .. G - 1: one voice in one room, varied alike, so that its neutral
            recording remains a fair reference.
        generator: source of all random numbers.
    """
    count, groups = rows.shape[0], int(voice.max()) + 1
    bands, pitch = _warp(rows, voice, generator)
    gain = _GAIN * torch.randn(groups, 1, 1, generator=generator)[voice]
    gain = gain + _DISTANCE * torch.randn(count, 1, 1, generator=generator)
    points = _EQUALISER * torch.randn(groups, 1, 6, generator=generator)[voice]
    bands = bands + gain + F.interpolate(points, MELS, mode="linear", align_corners=True)
    bands = _noise(bands, generator)
    bands = _mask(bands, lengths, generator)
    keep = torch.rand(count, 1, 1, generator=generator) > _NO_PITCH
    return torch.cat([bands, pitch * keep], 2)


def _warp(rows: Tensor, voice: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Move bands and pitch of three in four voices, as playing faster or slower would."""
    groups = int(voice.max()) + 1
    octaves = (torch.rand(groups, 1, generator=generator) * 2 - 1) * _WARP
    octaves = (octaves * (torch.rand(groups, 1, generator=generator) < 0.75))[voice]
    at = torch.from_numpy(moved_bands(octaves[:, 0].numpy()))
    low = at.long()
    high = (low + 1).clamp_max(MELS - 1)
    part = (at - low)[:, None]
    bands, pitch = rows[..., :MELS], rows[..., MELS:].clone()
    low, high = (i[:, None].expand_as(bands) for i in (low, high))
    pitch[..., 0] += octaves * (pitch[..., 0] != 0)
    return bands.gather(2, low) * (1 - part) + bands.gather(2, high) * part, pitch


def _noise(bands: Tensor, generator: torch.Generator) -> Tensor:
    """Add steady coloured noise to every second recording, as powers."""
    count, rows, _ = bands.shape
    noisy = torch.nonzero(torch.rand(count, generator=generator) < 0.5)[:, 0]
    if not len(noisy):
        return bands
    power = torch.exp(bands[noisy] * 4 - 8)
    level = power.mean((1, 2), keepdim=True)
    ratio = torch.rand(len(noisy), 1, 1, generator=generator)
    ratio = ratio * (_LOUDEST_DB - _QUIETEST_DB) + _QUIETEST_DB
    points = torch.randn(len(noisy), 1, 5, generator=generator)
    tilt = F.interpolate(points, MELS, mode="linear", align_corners=True)
    colour = torch.exp(tilt - torch.linspace(0, 2, MELS))
    colour = colour / colour.mean(2, keepdim=True)
    grain = torch.rand(len(noisy), rows, MELS, generator=generator).clamp_min_(1e-6).log_().neg_()
    power += level * 10 ** (-ratio / 10) * colour * grain
    out = bands.clone()
    out[noisy] = (torch.log(power + 1e-7) + 8) / 4
    return out


def _mask(bands: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
    """Replace two spans of bands and two of rows by the mean."""
    count, rows, _ = bands.shape
    mean = bands.mean((1, 2), keepdim=True)
    hidden = torch.zeros(bands.shape, dtype=torch.bool)
    spans = (
        (torch.arange(MELS)[None, None], torch.full((count,), MELS), _MASKED_BANDS),
        (torch.arange(rows)[None, :, None], lengths, _MASKED_ROWS),
    )
    for places, size, widest in spans:
        for _ in range(2):
            width = torch.randint(0, widest, (count,), generator=generator)
            room = (size - width).clamp_min(0)
            start = (torch.rand(count, generator=generator) * room).long()
            begin, end = start[:, None, None], (start + width)[:, None, None]
            hidden |= (places >= begin) & (places < end)
    return torch.where(hidden, mean, bands)
