"""Recordings of emotional speech and the manifest (CSV) that lists them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mien.datasets.mead import sound_beside
from mien.datasets.splits import SPLITS, split_of
from mien.errors import InputError, MienError
from mien.media.audio import has_sound
from mien.media.output import VIDEO_SUFFIXES

_COLUMNS: Final = ("file", "corpus", "speaker", "emotion", "sentence", "split")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording.

    Attributes:
        path: sound file, or film with sound.
        corpus: name of the collection.
        speaker: name that is unique across corpora.
        emotion: label of :mod:`mien.speech.listener`, or another that only has teacher features.
        intensity: 1 (weak) to 3 (strong); None where the corpus does not say.
        sentence: name of the words, unique within a corpus; blank where unknown.
        split: ``"train"``, ``"val"`` or ``"test"``, the same for all recordings of a speaker.
    """

    path: Path
    corpus: str
    speaker: str
    emotion: str
    intensity: int | None
    sentence: str
    split: str


def read_manifest(path: str | Path) -> list[Utterance]:
    """Read a table ``file,corpus,speaker,emotion,intensity,sentence,split``.

    Paths in it are relative to the table. The people of :mod:`mien.datasets.splits` are for the
    test, whatever the table says.

    Raises:
        InputError: when the table is missing or lacks a column, a split has another name, or a
            speaker is in several.
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
            split=split_of(row["speaker"], row["split"]),
        )
        for row in rows
    ]
    check_split(out)
    return out


def check_split(utterances: Iterable[Utterance]) -> None:
    """Refuse unknown splits, and speakers who are in several.

    Raises:
        InputError: naming the first of them.
    """
    sides: dict[str, str] = {}
    for item in utterances:
        if item.split not in SPLITS:
            raise InputError(f"There is no split {item.split!r}. Valid: {', '.join(SPLITS)}.")
        if sides.setdefault(item.speaker, item.split) != item.split:
            raise InputError(f"The speaker {item.speaker} is in several splits; split by speaker.")


def present(utterances: Iterable[Utterance]) -> tuple[list[Utterance], list[Path]]:
    """Separate utterances whose file exists and is not empty from the paths of the others."""
    good, bad = [], []
    for item in utterances:
        if item.path.is_file() and item.path.stat().st_size:
            good.append(item)
        else:
            bad.append(item.path)
    return good, bad


class SilentFilmError(InputError):
    """A film has no sound, in itself or beside it."""


@dataclass(frozen=True, slots=True)
class Processed:
    """How many videos have a result, and how many were left out because they have no sound."""

    videos: int
    silent: int


def process_videos(
    root: Path,
    process: Callable[[Path], None],
    *,
    log: Callable[[str], None],
    progress: Callable[[int, int | None], None] | None = None,
) -> Processed:
    """Process every video under ``root`` and count the successes.

    Args:
        root: folder of videos.
        process: called with each path. A video for which it raises a ``MienError`` is logged and
            skipped.
        log: called with a line per skipped video.
        progress: called with (videos done, videos).

    Raises:
        InputError: when there is no video under ``root``, or not one could be processed.
    """
    videos = sorted(p for p in root.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise InputError(f"There is no video under {root}.")
    done = silent = 0
    for number, path in enumerate(videos, 1):
        try:
            process(path)
            done += 1
        except MienError as error:
            silent += isinstance(error, SilentFilmError)
            log(f"left out: {error}")
        if progress is not None:
            progress(number, len(videos))
    if not done:
        raise InputError(f"Not one of the {len(videos)} videos under {root} could be used.")
    return Processed(done, silent)


def speech_of(video: Path) -> Path | None:
    """Return the file with a video's speech: itself or MEAD's sound file beside it; else None."""
    return video if has_sound(video) else sound_beside(video)


def needed_speech(video: Path) -> Path:
    """Return as :func:`speech_of`.

    Raises:
        SilentFilmError: when there is none.
    """
    found = speech_of(video)
    if found is None:
        raise SilentFilmError(f"{video} has no sound, and there is none beside it.")
    return found
