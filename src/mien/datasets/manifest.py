"""Emotional speech to train on: one list of utterances out of a manifest or a corpus's folders."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mien.errors import InputError

_COLUMNS: Final = ("file", "corpus", "speaker", "emotion", "sentence", "split")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording.

    Attributes:
        path: sound file.
        corpus: name of the collection.
        speaker: name that no other corpus uses.
        emotion: label (``mien.speech.labels``), or one that only has features to be learned from.
        intensity: 1 (weak) .. 3 (strong); None where the corpus does not say.
        sentence: same words, same name within a corpus; blank where unknown.
        split: ``"train"`` or ``"val"``; never both for one speaker.
    """

    path: Path
    corpus: str
    speaker: str
    emotion: str
    intensity: int | None
    sentence: str
    split: str


def read_manifest(path: str | Path) -> list[Utterance]:
    """Read a table of recordings: ``file,corpus,speaker,emotion,intensity,sentence,split``.

    Files are relative to the manifest.

    Raises:
        InputError: when the table is missing or lacks a column, or a speaker is on both sides.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise InputError(f"There is no manifest {path}.")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    missing = [name for name in _COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise InputError(f"The manifest {path} lacks the column(s) {', '.join(missing)}.")
    out = [
        Utterance(
            path=path.parent / row["file"],
            corpus=row["corpus"],
            speaker=row["speaker"],
            emotion=row["emotion"],
            intensity=int(row["intensity"]) if row.get("intensity") else None,
            sentence=row["sentence"],
            split=row["split"],
        )
        for row in rows
    ]
    check_split(out)
    return out


def check_split(utterances: Iterable[Utterance]) -> None:
    """Raise ``InputError`` when a speaker is both trained on and held out."""
    sides: dict[str, str] = {}
    for item in utterances:
        if sides.setdefault(item.speaker, item.split) != item.split:
            raise InputError(f"The speaker {item.speaker} is in both splits; split by speaker.")


def present(utterances: Iterable[Utterance]) -> tuple[list[Utterance], list[Path]]:
    """Utterances whose file exists and is not empty, and the files that are missing."""
    good, bad = [], []
    for item in utterances:
        if item.path.is_file() and item.path.stat().st_size:
            good.append(item)
        else:
            bad.append(item.path)
    return good, bad
