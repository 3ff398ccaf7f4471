"""Talking clips and labelled speech: articulation codes, phone classes, and batches of both."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.errors import InputError
from mien.face.pose import head_pose
from mien.face.topology import LOWER_LIP_MIDDLE, MOUTH_CORNERS, UPPER_LIP_MIDDLE
from mien.media.audio import read_speech
from mien.speech.articulation import CODES_PER_SECOND, LOOK_AHEAD, NAMES, levelled
from mien.speech.features import FEATURES, MELS, features
from mien.training.articulator import ArticulatorConfig

Array = npt.NDArray[np.float32]

PHONE_CLASSES: Final = (
    "",
    "pbmʙɓ",
    "fvɱ",
    "tdnlθðɾʈɖɳɭɫɬ",
    "szʂʐ",
    "ʃʒɕʑ",
    "kgɡŋxɣhɦqχçcɟɲʎʔħʕ",
    "rɹɻʀʁ",
    "wʍɥʋβɸ",
    "iɪjɨ",
    "eɛ",
    "æaɐ",
    "ɑʌɒ",
    "əɜɚɘɝ",
    "oɔɤ",
    "uʊyʏøœɯʉɵ",
)
"""IPA letters that look alike on the lips, in any language; the first class is silence."""

_ARPABET: Final = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "a", "AX": "ə", "AY": "a", "B": "b",
    "CH": "ʃ", "D": "d", "DH": "ð", "EH": "ɛ", "ER": "ɜ", "EY": "e", "F": "f", "G": "g",
    "HH": "h", "IH": "ɪ", "IY": "i", "JH": "ʒ", "K": "k", "L": "l", "M": "m", "N": "n",
    "NG": "ŋ", "OW": "o", "OY": "ɔ", "P": "p", "R": "r", "S": "s", "SH": "ʃ", "T": "t",
    "TH": "θ", "UH": "ʊ", "UW": "u", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
_CLASS: Final = {letter: i for i, letters in enumerate(PHONE_CLASSES) for letter in letters}

_CHIN, _UPPER_EDGE, _LOWER_EDGE = 152, 0, 17
_MOST_MISSING: Final = 0.1
_REST: Final = 0.05
"""Quantile of the opening that is a closed mouth."""

_LEAST_SPREAD: Final = np.array([0.015, 0.015, 0.02, 0.01, 0.01, 0.01, 0.008], np.float32)
"""Of a clip's code, eye distances: smaller movements are not scaled up to a whole unit."""

_CODES_PER_DRAW: Final = 150
"""A clip is drawn once more often for every so many codes."""


def from_arpabet(name: str) -> str:
    """Return the IPA letter of an ARPABET phone, stressed or not; empty for silence and noise."""
    return _ARPABET.get(name.rstrip("012").upper(), "")


def from_ipa(symbol: str) -> int:
    """Return the class of an IPA symbol: of its last consonant (``tʃ``) or first vowel (``aɪ``)."""
    found = [_CLASS[letter] for letter in symbol if letter in _CLASS]
    if not found:
        return 0
    return found[0] if found[0] >= _CLASS["i"] else found[-1]


@dataclass(frozen=True, slots=True)
class TalkingClip:
    """One clip.

    Attributes:
        name, kind, split: as in the table; ``kind`` is ``real`` or ``generated``.
        rows: features of the sound ``(R, 82)``, 100 per second.
        code: articulation relative to rest ``(T, 7)``, 50 per second.
        spread: standard deviation of the code ``(7,)``, with a lower bound.
        lag: rows by which the sound lags the picture.
    """

    name: str
    kind: str
    split: str
    rows: Array
    code: Array
    spread: Array
    lag: int = 0

    def rows_at(self, start: int, count: int, lag: int | None = None) -> Array:
        """Return the rows for ``count`` codes, ``LOOK_AHEAD`` later, with silence outside the clip.

        ``lag`` replaces the clip's own.
        """
        lag = self.lag if lag is None else lag
        index = np.arange(2 * start, 2 * (start + count)) + LOOK_AHEAD + lag
        inside = (index >= 0) & (index < len(self.rows))
        rows = self.rows[np.clip(index, 0, len(self.rows) - 1)].copy()
        rows[~inside, :MELS] = self.rows[:, :MELS].min()
        rows[~inside, MELS:] = 0
        return rows

    def standard_code(self) -> Array:
        """Return the code as deviations from the clip's mean, in the clip's own spread."""
        return ((self.code - self.code.mean(0)) / self.spread).astype(np.float32)


def head_frames(path: Path) -> Array:
    """Read landmarks in the head's frame ``(T, 478, 3)``; a missing frame repeats the last one.

    Raises:
        InputError: when more than a tenth of the frames lack a face.
    """
    with np.load(path, allow_pickle=False) as stored:
        marks, missing = stored["landmarks"].astype(np.float32), stored["missing"]
    seen = np.flatnonzero(~missing)
    if len(marks) - len(seen) > _MOST_MISSING * len(marks):
        missed = len(marks) - len(seen)
        raise InputError(f"{path} lacks a face in {missed} of {len(marks)} frames.")
    out = np.zeros_like(marks)
    for i in seen.tolist():
        out[i] = head_pose(marks[i]).to_head(marks[i])
    last = np.maximum(np.searchsorted(seen, np.arange(len(marks)), side="right") - 1, 0)
    return out[seen[last]]


def codes_of(head: Array) -> Array:
    """Compute the articulation code ``(T, 7)`` of head-frame landmarks, not relative to rest."""
    upper, lower = head[:, UPPER_LIP_MIDDLE], head[:, LOWER_LIP_MIDDLE]
    top, bottom = head[:, _UPPER_EDGE], head[:, _LOWER_EDGE]
    corners = [head[:, corner, :2] for corner in MOUTH_CORNERS]
    return np.stack(
        [
            lower[:, 1] - upper[:, 1],
            np.linalg.norm(corners[0] - corners[1], axis=1),
            head[:, _CHIN, 1],
            -top[:, 1],
            bottom[:, 1],
            -(top[:, 2] + bottom[:, 2]) / 2,
            (upper[:, 1] - top[:, 1]) + (bottom[:, 1] - lower[:, 1]),
        ],
        1,
    ).astype(np.float32)


def read_clips(config: ArticulatorConfig) -> list[TalkingClip]:
    """Read every clip that has sound and landmarks.

    Raises:
        InputError: when files are missing, or no clip is left.
    """
    config.check_files()
    out = []
    with config.manifest.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = row["clip"]
            labels = config.labels / f"{name}.npz"
            if row["audio"] == "1" and name not in config.excluded and labels.is_file():
                out.append(_clip(row, labels, config.manifest.parent, config.lags.get(name, 0)))
    if not out:
        raise InputError(f"No clip of {config.manifest} has sound and labels in {config.labels}.")
    return out


def _clip(row: dict[str, str], labels: Path, folder: Path, lag: int) -> TalkingClip:
    name = row["clip"]
    tracks, sound = folder / "tracks" / f"{name}.npz", folder / "audio" / f"{name}.ogg"
    for path in (tracks, sound):
        if not path.is_file():
            raise InputError(f"The clip {name} lacks {path}.")
    code = codes_of(head_frames(labels))
    with np.load(tracks, allow_pickle=False) as track:
        seconds = track["seconds"][: len(code)]
    rows = levelled(features(read_speech(sound)))
    times = (np.arange(len(rows) // 2) + 0.5) / CODES_PER_SECOND
    steady = np.stack([np.interp(times, seconds, column) for column in code[: len(seconds)].T], 1)
    rest = np.median(steady[steady[:, 0] <= np.quantile(steady[:, 0], _REST) + 1e-6], 0)
    steady = (steady - rest).astype(np.float32)
    spread = np.maximum(steady.std(0), _LEAST_SPREAD)
    return TalkingClip(name, row["kind"], row["split"], rows, steady, spread, lag)


class TalkSampler:
    """Draws windows of talking clips."""

    def __init__(self, clips: list[TalkingClip], config: ArticulatorConfig) -> None:
        self._clips = [c for c in clips for _ in range(max(1, len(c.code) // _CODES_PER_DRAW))]
        self._batch, self._length = config.batch, round(config.seconds * CODES_PER_SECOND)
        self._generated = config.generated

    def draw(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw ``rows (B, 2 T, 82)`` and per code ``code``, ``weight`` and ``closed`` (lips)."""
        length = self._length
        rows = np.zeros((self._batch, 2 * length, FEATURES), np.float32)
        code = np.zeros((self._batch, length, len(NAMES)), np.float32)
        weight = np.zeros((self._batch, length), np.float32)
        closed = np.zeros((self._batch, length), np.float32)
        for i in range(self._batch):
            clip = self._clips[rng.integers(len(self._clips))]
            start = int(rng.integers(max(1, len(clip.code) - length + 1)))
            count = min(length, len(clip.code) - start)
            rows[i, : 2 * count] = augment(clip.rows_at(start, count), rng)
            code[i, :count] = clip.standard_code()[start : start + count]
            weight[i, :count] = 1.0 if clip.kind == "real" else self._generated
            opening = clip.code[start : start + count, 0]
            closed[i, :count] = opening < 0.35 * clip.spread[0]
        parts = {"rows": rows, "code": code, "weight": weight, "closed": closed}
        return {name: torch.from_numpy(values) for name, values in parts.items()}


class PhoneSampler:
    """Draws windows of speech with its phones, which ``tools/label_phones.py`` wrote.

    Raises:
        InputError: when the file cannot be read or is too short.
    """

    def __init__(self, path: Path, batch: int, seconds: float) -> None:
        try:
            with np.load(path, allow_pickle=False) as stored:
                self._rows, self._phones = stored["rows"], stored["phones"]
        except (OSError, KeyError, ValueError) as error:
            raise InputError(f"{path} holds no phones: {error}.") from error
        self._batch, self._length = batch, round(seconds * CODES_PER_SECOND)
        if len(self._rows) < 2 * self._length + LOOK_AHEAD + 2:
            raise InputError(f"{path} holds less than {seconds} seconds of speech.")

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw rows ``(B, 2 T, 82)`` that begin ``LOOK_AHEAD`` late, and classes ``(B, T)``."""
        rows = np.empty((self._batch, 2 * self._length, FEATURES), np.float32)
        phones = np.empty((self._batch, self._length), np.int64)
        last = len(self._phones) - self._length - LOOK_AHEAD // 2
        for i in range(self._batch):
            start = int(rng.integers(last))
            first = 2 * start + LOOK_AHEAD
            rows[i] = augment(self._rows[first : first + 2 * self._length].astype(np.float32), rng)
            phones[i] = self._phones[start : start + self._length]
        return torch.from_numpy(rows), torch.from_numpy(phones)


def augment(rows: Array, rng: np.random.Generator) -> Array:
    """Vary level, microphone, pitch and vocal tract in place; sometimes add noise or mask bands."""
    bands = np.arange(MELS)
    rows[:, :MELS] += rng.normal(0, 0.2)
    rows[:, :MELS] += np.interp(bands, np.linspace(0, MELS - 1, 5), rng.normal(0, 0.22, 5))
    rows[:, MELS] += rng.normal(0, 0.2) * (rows[:, MELS + 1] > 0.3)
    if rng.random() < 0.5:  # a longer or shorter vocal tract
        warp = bands * np.exp(rng.normal(0, 0.06))
        low = np.clip(warp.astype(int), 0, MELS - 2)
        share = np.clip(warp - low, 0, 1).astype(np.float32)
        rows[:, :MELS] = rows[:, low] * (1 - share) + rows[:, low + 1] * share
    if rng.random() < 0.3:
        floor = rng.normal(-0.6, 0.35) + 0.1 * rng.normal(size=(len(rows), MELS))
        rows[:, :MELS] = np.maximum(rows[:, :MELS], floor)
    if rng.random() < 0.3:
        first = int(rng.integers(MELS - 12))
        rows[:, first : first + int(rng.integers(2, 12))] = rows[:, :MELS].mean()
    return rows
