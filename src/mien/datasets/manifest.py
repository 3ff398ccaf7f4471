"""Recordings of emotional speech and the manifest (CSV) that lists them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from mien.datasets.mead import read_place, sound_beside
from mien.datasets.splits import SPLITS, split_of
from mien.errors import InputError, MissingExtraError, OutputError, WeightsError
from mien.media.audio import has_sound
from mien.media.output import SOUND_SUFFIXES, VIDEO_SUFFIXES
from mien.utils.workers import run_tasks

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
    """How a run over videos ended.

    Attributes:
        videos: how many have a result.
        silent: how many were left out because they have no sound.
        failed: how many were left out for other reasons.
    """

    videos: int
    silent: int
    failed: int = 0

    @property
    def left_out(self) -> int:
        """How many have no result."""
        return self.silent + self.failed


def find_videos(
    root: Path, views: Sequence[str] = (), *, log: Callable[[str], None] = lambda _: None
) -> list[Path]:
    """List the videos under ``root``, in order of their paths.

    Args:
        root: the folder.
        views: only these views of MEAD, ``"front"`` or ``"left_30"`` for instance.
        log: called with a line per person and view of which there is no film.

    Raises:
        InputError: when there is none, or none of a view.
    """
    videos = sorted(p for p in root.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise InputError(f"There is no video under {root}.")
    if not views:
        return videos
    places = {path: read_place(path, root) for path in videos}
    found: dict[str, dict[str, list[Path]]] = {}
    for path, place in places.items():
        if place is not None:
            view = place.view.rpartition("/")[2] or "front"
            found.setdefault(view, {}).setdefault(place.person, []).append(path)
    people = sorted({place.person for place in places.values() if place is not None})
    for view in views:
        if view not in found:
            there = ", ".join(sorted(found)) or "no views of MEAD at all"
            raise InputError(f"No film under {root} is of the view {view}; there are: {there}.")
        for person in people:
            if person not in found[view]:
                log(f"warning: there is no film of {person} in the view {view}")
    return sorted({path for view in views for paths in found[view].values() for path in paths})


def process_videos(
    root: Path,
    videos: Sequence[Path],
    process: Callable[[Path], None],
    *,
    ready: Container[Path] = (),
    workers: int = 1,
    ray: str | None = None,
    gpus: float = 0,
    log: Callable[[str], None],
    progress: Callable[[int, int | None], None] | None = None,
) -> Processed:
    """Process videos and count the successes.

    Args:
        root: folder of the videos.
        videos: as :func:`find_videos` lists them.
        process: called with each path. A video for which it raises an error of the input is logged
            and left out; where the disk is full or a net is missing, the run ends.
        ready: videos that have a result already.
        workers: processes.
        ray: address of a Ray cluster, as for :func:`mien.utils.workers.run_tasks`.
        gpus: of each worker on Ray.
        log: called with a line per video that is left out.
        progress: called with (videos done, videos).

    Raises:
        InputError: when not one could be processed.
        OutputError, WeightsError, MissingExtraError: raised by ``process``.
    """
    tasks = [path for path in videos if path not in ready]
    done = len(videos) - len(tasks)
    silent = failed = 0
    outcomes = run_tasks(partial(_tried, process), tasks, workers=workers, ray=ray, gpus=gpus)
    with closing(outcomes):
        for outcome in outcomes:
            if isinstance(outcome.error, OutputError | WeightsError | MissingExtraError):
                raise outcome.error
            why = outcome.value if outcome.error is None else str(outcome.error)
            done += not why
            silent += bool(why) and outcome.error is None
            failed += outcome.error is not None
            if why:
                log(f"left out: {why}")
            if progress is not None:
                progress(done + silent + failed, len(videos))
    if not done:
        raise InputError(
            f"None of the {len(videos)} videos under {root} could be used; {silent} have no sound."
        )
    return Processed(done, silent, failed)


def _tried(process: Callable[[Path], None], path: Path) -> str:
    """Process a video; return why it is left out if it is silent, else nothing."""
    try:
        process(path)
    except SilentFilmError as error:
        return str(error)
    return ""


def speech_of(video: Path) -> Path | None:
    """Return the file with a video's speech; None where there is none.

    It is the video itself, or MEAD's sound file, or a sound file of the same name beside it.
    """
    if has_sound(video):
        return video
    beside = (video.with_suffix(suffix) for suffix in (*SOUND_SUFFIXES, ".m4a"))
    return sound_beside(video) or next((path for path in beside if path.is_file()), None)


def needed_speech(video: Path) -> Path:
    """Return as :func:`speech_of`.

    Raises:
        SilentFilmError: when there is none.
    """
    found = speech_of(video)
    if found is None:
        raise SilentFilmError(f"{video} has no sound, and there is none beside it.")
    return found
