"""Cached clips for the training of the SVD engine (``mien features --engine svd``).

A folder of shards (:mod:`mien.datasets.shards`) holds of every clip, at 12.5 frames per second:

- ``latents`` ``float16 (T, 4, h, w)``, times the scaling factor;
- ``clip_tokens`` ``float16 (R, C)`` and ``reference_frames`` ``int (R,)``: CLIP's tokens of frames
  that can serve as the reference picture, and which frames these are;
- ``whisper`` ``float16 (S, 5, C)``: Whisper's hidden states, 50 per second;
- ``mask`` ``uint8 (H, W)``: 255 where the face is, else 0;
- ``face`` ``float32 (T, D)``: action units; ``voice`` ``float32 (V, E)``: emotion2vec's frames.

MEAD's folders give person, emotion and level; clips elsewhere (HDTF) are unlabelled, and their
emotion comes from an embedder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mien.datasets.mead import EMOTIONS, LEVELS, NEUTRAL, read_place
from mien.datasets.shards import Array, StoredArray, read_index
from mien.errors import InputError

CLASSES: Final = 1 + LEVELS * (len(EMOTIONS) - 1)
"""Neutral, and seven emotions at three levels: 22."""

UNKNOWN: Final = -1
ARRAYS: Final = (
    "latents", "clip_tokens", "reference_frames", "whisper", "mask", "face", "voice",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CachedClip:
    """A cached clip and its label.

    Attributes:
        path: of the film it was made from, without suffix, as if the cache were its folder.
        person: MEAD's name; the name of the film elsewhere.
        emotion: one of MEAD's; empty for unlabelled clips.
        level: 1 to 3; 1 for neutral.
        arrays: where its arrays are.
    """

    path: Path
    person: str
    emotion: str
    level: int
    arrays: Mapping[str, StoredArray]

    @property
    def label(self) -> int:
        """Class of the discriminator, 0 for neutral; -1 for unlabelled clips."""
        if not self.emotion:
            return UNKNOWN
        if self.emotion == NEUTRAL:
            return 0
        others = [name for name in EMOTIONS if name != NEUTRAL]
        return 1 + LEVELS * others.index(self.emotion) + self.level - 1

    @property
    def frames(self) -> int:
        """Number of latents."""
        return len(self.arrays["latents"])

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Read the rows of an array from ``start`` to ``stop``, all by default.

        Raises:
            InputError: when the cache is damaged.
        """
        return self.arrays[name].read(start, stop)


def find_clips(folder: Path) -> list[CachedClip]:
    """List the cached clips in ``folder`` and the folders in it, in order of their paths.

    Raises:
        InputError: when there is none, or one is incomplete.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; make it with mien features --engine svd.")
    out = [_clip(path, folder, arrays) for path, arrays in _stored(folder)]
    if not out:
        raise InputError(f"There is no cached clip under {folder}.")
    return sorted(out, key=lambda one: one.path)


def _stored(folder: Path) -> Iterator[tuple[Path, dict[str, StoredArray]]]:
    for place in sorted({path.parent for path in folder.rglob("*.jsonl")}):
        for name, arrays in read_index(place).items():
            yield place / name, arrays


def _clip(path: Path, folder: Path, arrays: dict[str, StoredArray]) -> CachedClip:
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise InputError(f"The cached clip {path} lacks {', '.join(missing)}; make it again.")
    place = read_place(path, folder)
    if place is None:
        return CachedClip(path, path.name, "", 1, arrays)
    return CachedClip(path, place.person, place.emotion, place.level, arrays)
