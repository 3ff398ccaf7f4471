"""The films of MEAD, CREMA-D, HDTF and RAVDESS, and what is missing of them.

Any folders are read, with the sound in the films or in files beside them::

    MEAD      <ID>/[video/]front/<emotion>/level_<N>/<NNN>.mp4, <ID>/audio/…/<NNN>.m4a
    CREMA-D   VideoFlash/<ACTOR>_<SENTENCE>_<EMOTION>_<LEVEL>.flv, AudioWAV/….wav
    RAVDESS   Actor_<NN>/01-….mp4 (with sound) or 02-….mp4 (without), 03-….wav
    HDTF      <KIND>_<PERSON>_<NUMBER>.mp4, and sound files of the same names if any
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mien.datasets import mead
from mien.datasets.corpora import (
    CREMAD_EMOTIONS,
    CREMAD_TEST_SENTENCES,
    RAVDESS_EMOTIONS,
    cremad_label,
    hdtf_label,
    mead_label,
    ravdess_label,
)
from mien.datasets.manifest import Utterance
from mien.errors import InputError
from mien.media.audio import has_sound
from mien.media.output import SOUND_SUFFIXES, VIDEO_SUFFIXES
from mien.media.read import VideoReader
from mien.utils.workers import run_tasks

FILM_SUFFIXES: Final = (*VIDEO_SUFFIXES, ".flv")

Progress = Callable[[int, int | None], None]

Key = tuple[str, str, int | None, str]
"""Speaker, emotion, intensity and sentence of a film."""

_LISTED: Final = 5
_CREMAD_ACTORS: Final = range(1001, 1092)
_RAVDESS_ACTORS: Final = range(1, 25)


@dataclass(frozen=True, slots=True)
class Film:
    """A film of a corpus.

    Attributes:
        label: what folders and name say; its path is the film's.
        place: path under the corpus's folder without the suffix, with ``/``.
        sound: the sound file beside it; None where there is none.
    """

    label: Utterance
    place: str
    sound: Path | None

    @property
    def path(self) -> Path:
        """The film."""
        return self.label.path

    @property
    def key(self) -> Key:
        """What tells it from the other films of its corpus."""
        label = self.label
        return label.speaker, label.emotion, label.intensity, label.sentence

    def speech(self) -> Path | None:
        """Return the file with its speech: itself or the sound file beside it; None if silent."""
        return self.path if has_sound(self.path) else self.sound


def find_films(corpus: str, folder: Path) -> list[Film]:
    """List the films of a corpus, in order of their paths.

    Of several forms of a film one is kept: RAVDESS's with sound rather than that without.

    Args:
        corpus: ``mead``, ``cremad``, ``hdtf`` or ``ravdess``.
        folder: its root.

    Raises:
        InputError: for an unknown corpus, a missing folder, or one that holds none of its films.
    """
    if corpus not in CORPORA:
        raise InputError(f"There is no corpus {corpus!r}. Valid: {', '.join(CORPORA)}.")
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")
    found: dict[tuple[object, ...], Film] = {}
    for film in CORPORA[corpus](folder):
        take = film.path.stem[3:] if corpus == "ravdess" else film.path.stem
        parent = film.path.parent if corpus == "mead" else None
        found.setdefault((parent, take), film)
    if not found:
        raise InputError(f"{folder} holds no film in the folders of {corpus}; {_LAYOUTS[corpus]}.")
    return list(found.values())


_LAYOUTS: Final = MappingProxyType(
    {
        "mead": "they are <ID>/[video/]front/<emotion>/level_<N>/<NNN>.mp4",
        "cremad": "they are called <ACTOR>_<SENTENCE>_<EMOTION>_<LEVEL>.flv or .mp4",
        "hdtf": "they are called <KIND>_<PERSON>_<NUMBER>.mp4",
        "ravdess": "they are called 01-01-….mp4 or 02-01-….mp4",
    }
)


def _mead(folder: Path) -> Iterator[Film]:
    for file in mead.find_files(folder, FILM_SUFFIXES):
        label = mead_label(file)
        if label is not None:
            yield _film(label, folder, mead.sound_beside(file.path))


def _named(read: Callable[[Path], Utterance | None], skip: int, folder: Path) -> Iterator[Film]:
    """Films whose names say everything; sound files differ in the first ``skip`` letters."""
    every = sorted(path for path in folder.rglob("*.*") if path.is_file())
    sounds = {
        path.stem[skip:]: path
        for path in every
        if path.suffix.lower() in (*SOUND_SUFFIXES, ".m4a") and read(path) is not None
    }
    for path in every:
        label = read(path) if path.suffix.lower() in FILM_SUFFIXES else None
        if label is not None:
            yield _film(label, folder, sounds.get(path.stem[skip:]))


def _film(label: Utterance, folder: Path, sound: Path | None) -> Film:
    place = label.path.relative_to(folder).with_suffix("").as_posix()
    return Film(label, place, sound)


CORPORA: Final[Mapping[str, Callable[[Path], Iterator[Film]]]] = MappingProxyType(
    {
        "mead": _mead,
        "cremad": partial(_named, cremad_label, 0),
        "hdtf": partial(_named, hdtf_label, 0),
        "ravdess": partial(_named, ravdess_label, 2),
    }
)


def wanted_films(corpus: str) -> dict[str, set[Key]]:
    """Return which films each use of a corpus needs, as far as they are known by name."""
    if corpus == "mead":
        train = {f"mead_{name.partition('-')[0]}" for name in mead.TRAIN_PEOPLE}
        test = {f"mead_{name}" for name in mead.TEST_PEOPLE}
        return {
            "training of C-MET": _mead_keys(train, mead.TRAIN_SENTENCES),
            "test of C-MET": _mead_keys(test, mead.TEST_SENTENCES),
        }
    if corpus == "cremad":
        several = product(_CREMAD_ACTORS, CREMAD_EMOTIONS.values(), CREMAD_TEST_SENTENCES)
        return {"test of C-MET": {(f"cremad_{a}", name, None, words) for a, name, words in several}}
    if corpus == "ravdess":
        return {
            "all speech": {
                (f"ravdess{actor:02d}", emotion, level, sentence)
                for actor, emotion in product(_RAVDESS_ACTORS, RAVDESS_EMOTIONS)
                for level in ((None,) if emotion == mead.NEUTRAL else (2, 3))
                for sentence in ("01", "02")
            }
        }
    return {}


def _mead_keys(people: set[str], sentences: tuple[int, ...]) -> set[Key]:
    """Every emotion and level of some sentences, and the neutral films of the same words."""
    out: set[Key] = set()
    for person, number in product(people, sentences):
        out.add((person, mead.NEUTRAL, None, f"{mead.neutral_number(number):03d}"))
        for emotion, level in product(mead.EMOTIONS, range(1, mead.LEVELS + 1)):
            if emotion != mead.NEUTRAL:
                out.add((person, emotion, level, f"{number:03d}"))
    return out


@dataclass(frozen=True, slots=True)
class FilmState:
    """What a look into a film shows.

    Attributes:
        seconds: its length; 0 where unknown.
        silent: whether there is no sound in it or beside it.
    """

    seconds: float
    silent: bool


def look_into(film: Film) -> FilmState:
    """Open a film without decoding it.

    Raises:
        InputError: when it cannot be read.
    """
    with VideoReader(film.path) as reader:
        seconds = float(reader.info.duration or 0)
    return FilmState(seconds, film.speech() is None)


@dataclass(frozen=True, slots=True)
class CorpusReport:
    """What a corpus's folder holds.

    Attributes:
        corpus: its name.
        films: number of films.
        people: films per person.
        emotions: films per emotion.
        hours: length of all films.
        beside: how many have a sound file beside them.
        silent: films without sound in or beside them.
        unreadable: films that cannot be read, and why.
        missing: per use, names of the films that it needs and that are not there.
        wanted: per use, how many it needs.
    """

    corpus: str
    films: int
    people: dict[str, int]
    emotions: dict[str, int]
    hours: float
    beside: int
    silent: tuple[str, ...]
    unreadable: dict[str, str]
    missing: dict[str, tuple[str, ...]]
    wanted: dict[str, int]

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        out = [
            f"{self.corpus}: {self.films} films of {len(self.people)} people, {self.hours:.1f} h"
        ]
        if any(self.emotions):
            out.append(", ".join(f"{name} {count}" for name, count in self.emotions.items()))
        out.append(f"sound beside the film: {self.beside}; without any sound: {len(self.silent)}")
        for use, names in self.missing.items():
            out.append(f"{use}: {self.wanted[use] - len(names)} of {self.wanted[use]} films")
            out += [f"  missing: {_few(names)}"] if names else []
        return out

    def warnings(self) -> list[str]:
        """Return what makes films useless."""
        out = []
        if self.silent:
            out.append(
                f"{len(self.silent)} films have no sound; they are left out of everything that "
                f"needs a voice: {_few(self.silent)}"
            )
        out += [f"{name} cannot be read: {why}" for name, why in self.unreadable.items()]
        return out


def _few(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def check_corpus(
    corpus: str, folder: Path, *, workers: int = 1, progress: Progress | None = None
) -> CorpusReport:
    """Look into every film of a corpus and say what is missing.

    Raises:
        InputError: as :func:`find_films`.
    """
    films = find_films(corpus, folder)
    states: dict[str, FilmState] = {}
    unreadable: dict[str, str] = {}
    for done, outcome in enumerate(run_tasks(look_into, films, workers=workers), 1):
        if outcome.value is not None:
            states[outcome.task.place] = outcome.value
        else:
            unreadable[outcome.task.place] = str(outcome.error)
        if progress is not None:
            progress(done, len(films))
    usable = [film for film in films if film.place in states]
    have, wanted = {film.key for film in usable}, wanted_films(corpus)
    return CorpusReport(
        corpus=corpus,
        films=len(films),
        people=dict(sorted(Counter(film.label.speaker for film in films).items())),
        emotions=dict(sorted(Counter(film.label.emotion for film in films).items())),
        hours=sum(state.seconds for state in states.values()) / 3600,
        beside=sum(film.sound is not None for film in films),
        silent=tuple(film.place for film in usable if states[film.place].silent),
        unreadable=dict(sorted(unreadable.items())),
        missing={use: _names(keys - have) for use, keys in wanted.items()},
        wanted={use: len(keys) for use, keys in wanted.items()},
    )


def _names(keys: set[Key]) -> tuple[str, ...]:
    ordered = sorted(keys, key=lambda key: tuple(map(str, key)))
    return tuple(" ".join(str(part) for part in key if part is not None) for key in ordered)
