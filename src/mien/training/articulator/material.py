"""Talking faces with sound: what the mouth did, and what was heard."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.face.pose import head_pose
from mien.face.topology import LOWER_LIP_MIDDLE, MOUTH_CORNERS, UPPER_LIP_MIDDLE
from mien.media.audio import read_speech
from mien.speech.articulation import CODES_PER_SECOND, levelled
from mien.speech.features import features

Array = npt.NDArray[np.float32]

_CHIN, _UPPER_EDGE, _LOWER_EDGE = 152, 0, 17
_MOST_MISSING: Final = 0.1
_REST: Final = 0.05
"""Quantile of the opening that is a closed mouth."""

_LEAST_SPREAD: Final = np.array([0.015, 0.015, 0.02, 0.01, 0.01, 0.01, 0.008], np.float32)
"""Of a clip's code, eye distances: what moves less is not blown up to a whole unit."""


@dataclass(frozen=True, slots=True)
class TalkingClip:
    """One clip.

    Attributes:
        name, kind, split: as in the table; ``kind`` is ``real`` or ``generated``.
        rows: features of the sound ``(R, 82)``, 100 per second.
        code: articulation relative to rest ``(T, 7)``, 50 per second.
        spread: standard deviation of the code ``(7,)``, never too small.
        late: rows by which the sound lags the picture.
    """

    name: str
    kind: str
    split: str
    rows: Array
    code: Array
    spread: Array
    late: int = 0


def head_frames(path: Path) -> Array:
    """Landmarks in the head's frame ``(T, 478, 3)``; a missing frame repeats the last."""
    with np.load(path, allow_pickle=False) as stored:
        marks, missing = stored["landmarks"].astype(np.float32), stored["missing"]
    seen = np.flatnonzero(~missing)
    if len(marks) - len(seen) > _MOST_MISSING * len(marks):
        missed = len(marks) - len(seen)
        raise InputError(f"{path} misses a face in {missed} of {len(marks)} frames.")
    out = np.zeros_like(marks)
    for i in seen.tolist():
        out[i] = head_pose(marks[i]).to_head(marks[i])
    last = np.maximum(np.searchsorted(seen, np.arange(len(marks)), side="right") - 1, 0)
    return out[seen[last]]


def codes_of(head: Array) -> Array:
    """Articulation code ``(T, 7)`` of head-frame landmarks, not yet relative to rest."""
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


def read_clips(
    manifest: Path, labels: Path, late: Mapping[str, int], left_out: Collection[str]
) -> list[TalkingClip]:
    """Every clip with sound and a face.

    Args:
        manifest: table with ``clip``, ``kind``, ``split``, ``audio``.
        labels: what ``tools/label_clips.py`` wrote.
        late: rows by which the sound of a clip lags its picture.
        left_out: clips whose sound is not what the mouth says.

    Raises:
        InputError: when there is none.
    """
    out = []
    with manifest.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            path = labels / f"{row['clip']}.npz"
            if row["audio"] == "1" and row["clip"] not in left_out and path.is_file():
                out.append(_clip(row, path, manifest.parent, late.get(row["clip"], 0)))
    if not out:
        raise InputError(f"No clip of {manifest} has sound and labels in {labels}.")
    return out


def _clip(row: dict[str, str], path: Path, folder: Path, late: int) -> TalkingClip:
    code = codes_of(head_frames(path))
    with np.load(folder / "tracks" / f"{row['clip']}.npz", allow_pickle=False) as track:
        seconds = track["seconds"][: len(code)]
    rows = levelled(features(read_speech(folder / "audio" / f"{row['clip']}.ogg")))
    times = (np.arange(len(rows) // 2) + 0.5) / CODES_PER_SECOND
    steady = np.stack([np.interp(times, seconds, column) for column in code[: len(seconds)].T], 1)
    rest = np.median(steady[steady[:, 0] <= np.quantile(steady[:, 0], _REST) + 1e-6], 0)
    steady = (steady - rest).astype(np.float32)
    spread = np.maximum(steady.std(0), _LEAST_SPREAD)
    return TalkingClip(row["clip"], row["kind"], row["split"], rows, steady, spread, late)
