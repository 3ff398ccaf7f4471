"""Mouths and sound of talking clips, decoded once, and windows of them."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.errors import InputError
from mien.face.crop import speech_crops
from mien.media.audio import read_speech
from mien.media.output import whole_file
from mien.speech.articulation import levelled
from mien.speech.features import MELS, features
from mien.speech.lip_sync import FRAMES_PER_SECOND, MOUTH_PIXELS, ROWS_PER_FRAME, SHIFTS
from mien.training.articulator.data import augment
from mien.training.sync import SyncConfig

Array = npt.NDArray[np.float32]
Mouths = npt.NDArray[np.uint8]

_ROOM: Final = 1.25
"""Side of the stored pictures, in sides of the net's."""

_STORED_PIXELS: Final = round(_ROOM * MOUTH_PIXELS)
_FRAMES_PER_DRAW: Final = 75
"""A clip is drawn once more often for every so many frames."""


@dataclass(frozen=True, slots=True)
class SyncClip:
    """One clip.

    Attributes:
        name: as in the table.
        real: whether it was filmed.
        mouths: mouth and chin in grey ``uint8 (T, 60, 60)``, 25 frames per second.
        rows: features of the sound ``float32 (R, 82)``, 100 per second.
        lag: rows by which the sound lags the picture.
    """

    name: str
    real: bool
    mouths: Mouths
    rows: Array
    lag: int = 0

    def sound(self, start: int, frames: int) -> Array:
        """Return the rows of frames, with silence outside the clip ``(4 * frames, 82)``."""
        first = ROWS_PER_FRAME * start + self.lag
        index = np.arange(first, first + ROWS_PER_FRAME * frames)
        rows = self.rows[np.clip(index, 0, len(self.rows) - 1)].copy()
        outside = (index < 0) | (index >= len(self.rows))
        rows[outside, :MELS] = self.rows[:, :MELS].min()
        rows[outside, MELS:] = 0
        return rows


def load_clips(config: SyncConfig, cache: Path) -> list[SyncClip]:
    """Decode every clip with sound and landmarks into ``cache``, or open what was decoded before.

    Raises:
        InputError: when files are missing, or no clip is left.
    """
    config.check_files()
    cache.mkdir(parents=True, exist_ok=True)
    out = []
    with config.manifest.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name, labels = row["clip"], config.labels / f"{row['clip']}.npz"
            if row["audio"] != "1" or name in config.excluded or not labels.is_file():
                continue
            stored = cache / f"{name}.npz"
            if not stored.is_file():
                mouths, rows = _decode(name, labels, config.manifest.parent)
                with whole_file(stored) as part, part.open("wb") as target:
                    np.savez(target, mouths=mouths, rows=rows)
            with np.load(stored, allow_pickle=False) as arrays:
                pair = arrays["mouths"], arrays["rows"].astype(np.float32)
            out.append(SyncClip(name, row["kind"] == "real", *pair, config.lags.get(name, 0)))
    if not out:
        raise InputError(f"No clip of {config.manifest} has sound and labels in {config.labels}.")
    return out


def _decode(name: str, labels: Path, folder: Path) -> tuple[Mouths, npt.NDArray[np.float16]]:
    tracks, sound = folder / "tracks" / f"{name}.npz", folder / "audio" / f"{name}.ogg"
    film = folder / "video" / f"{name}.mp4"
    for path in (tracks, sound, film):
        if not path.is_file():
            raise InputError(f"The clip {name} lacks {path}.")
    with np.load(labels, allow_pickle=False) as stored:
        landmarks, missing = stored["landmarks"].astype(np.float32), stored["missing"]
    with np.load(tracks, allow_pickle=False) as track:
        seconds = track["seconds"]
    seen = np.flatnonzero(~missing)
    if not len(seen):
        raise InputError(f"{labels} shows no face.")
    last = np.maximum(np.searchsorted(seen, np.arange(len(landmarks)), side="right") - 1, 0)
    crops = [replace(c, side=_ROOM * c.side) for c in speech_crops(landmarks[seen[last]])]
    pictures = []
    with av.open(str(film)) as container:
        for frame, crop in zip(container.decode(video=0), crops, strict=False):
            cut = crop.cut(frame.to_ndarray(format="rgb24"), _STORED_PIXELS, replicate_edges=True)
            pictures.append(cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY))
    seconds = seconds[: len(pictures)]
    times = np.arange(int(seconds[-1] * FRAMES_PER_SECOND) + 1) / FRAMES_PER_SECOND
    nearest = np.abs(times[:, None] - seconds).argmin(1)
    return np.array(pictures)[nearest], levelled(features(read_speech(sound))).astype(np.float16)


class SyncSampler:
    """Draws windows of clips."""

    def __init__(self, clips: list[SyncClip], config: SyncConfig) -> None:
        self._clips = [clip for clip in clips if len(clip.mouths) >= config.frames]
        if not self._clips:
            raise InputError(f"There is no clip of {config.frames} frames to train on.")
        share = [
            max(1, len(c.mouths) / _FRAMES_PER_DRAW) * (1 if c.real else config.generated)
            for c in self._clips
        ]
        self._share = np.array(share) / np.sum(share)
        self._batch, self._frames = config.batch, config.frames

    def draw(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw ``mouths (B, T, 48, 48)`` in 0..1 and ``rows (B, 4 (T + 30), 80)`` around them."""
        mouths = np.empty((self._batch, self._frames, MOUTH_PIXELS, MOUTH_PIXELS), np.uint8)
        rows = np.empty((self._batch, ROWS_PER_FRAME * (self._frames + 2 * SHIFTS), MELS), "f4")
        for i in range(self._batch):
            clip = self._clips[rng.choice(len(self._clips), p=self._share)]
            start = int(rng.integers(len(clip.mouths) - self._frames + 1))
            mouths[i] = _filmed(clip.mouths[start : start + self._frames], rng)
            sound = clip.sound(start - SHIFTS, self._frames + 2 * SHIFTS)
            rows[i] = augment(sound, rng)[:, :MELS]
        return {
            "mouths": torch.from_numpy(mouths.astype(np.float32) / 255),
            "rows": torch.from_numpy(rows),
        }


def middle(mouths: Mouths) -> Mouths:
    """Cut the net's pictures ``(T, 48, 48)`` out of stored ones."""
    edge = (_STORED_PIXELS - MOUTH_PIXELS) // 2
    return mouths[:, edge : edge + MOUTH_PIXELS, edge : edge + MOUTH_PIXELS]


def _filmed(mouths: Mouths, rng: np.random.Generator) -> Mouths:
    """Cut pictures a little off, mirrored or blurred, in another light; some a frame late."""
    angle, grow = rng.normal(0, 4), np.exp(rng.normal(0, 0.06))
    half = (_STORED_PIXELS - 1) / 2
    matrix = cv2.getRotationMatrix2D((half, half), angle, grow)
    matrix[:, 2] += rng.normal(0, 1.5, 2) + (MOUTH_PIXELS - 1) / 2 - half
    size = (MOUTH_PIXELS, MOUTH_PIXELS)
    level = np.linspace(0, 1, 256) ** np.exp(rng.normal(0, 0.3)) - 0.5
    light = level * np.exp(rng.normal(0, 0.2)) + 0.5 + rng.normal(0, 0.08)
    table = (np.clip(light, 0, 1) * 255).astype(np.uint8)
    blur = rng.uniform(0.3, 1.5) if rng.random() < 0.4 else 0.0
    mirrored = rng.random() < 0.5
    out = np.empty((len(mouths), *size), np.uint8)
    for i, mouth in enumerate(mouths):
        picture = cv2.warpAffine(mouth, matrix, size, borderMode=cv2.BORDER_REPLICATE)
        if blur:
            picture = cv2.GaussianBlur(picture, (0, 0), blur)
        out[i] = cv2.LUT(picture[:, ::-1] if mirrored else picture, table)
    if rng.random() < 0.3:
        noise = rng.normal(0, rng.uniform(1, 6), out.shape)
        out = np.clip(out + noise, 0, 255).astype(np.uint8)
    return out
