"""Tables of pairs: which film is edited to which emotion, or which portrait says what."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mien.datasets.corpora import CREMAD_TEST_SENTENCES
from mien.datasets.films import Film, find_films
from mien.datasets.manifest import speech_of
from mien.datasets.mead import (
    EMOTIONS,
    LEVELS,
    NEUTRAL,
    TEST_PEOPLE,
    TEST_SENTENCES,
    MeadFile,
    find_files,
    neutral_number,
    sound_beside,
)
from mien.errors import InputError
from mien.media.audio import has_sound
from mien.media.output import whole_file

_VOICES: Final = 10
"""Recordings of an emotion that are averaged, at most."""

_SEPARATOR: Final = "|"

HDTF_SECONDS: Final = 10.0
"""How much of a film of HDTF is spoken; the films last minutes."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A film to make and the real one it is compared with.

    Attributes:
        name: of the film that is made, without a suffix.
        source: neutral film to edit; or the film whose first frame is the portrait that talks.
        emotion: the requested emotion; empty for that of the voice itself.
        truth: a real film of the same person with that emotion and the same words.
        voices: recordings of the emotion, without ``truth`` if there are others.
        neutral: recordings of the person speaking neutrally.
        speech: what a portrait says; None for an edit.
        seconds: how much of the speech; None for all of it.
    """

    name: str
    source: Path
    emotion: str
    truth: Path
    voices: tuple[Path, ...] = ()
    neutral: tuple[Path, ...] = ()
    speech: Path | None = None
    seconds: float | None = None

    @property
    def aligned(self) -> Path:
        """The real film that is said in the same time: the source of an edit, or the truth."""
        return self.source if self.speech is None else self.truth

    @property
    def sound(self) -> Path | None:
        """The file with the voice; None where there is none."""
        return self.speech or speech_of(self.source)


def mead_pairs(root: Path, people: Sequence[str] = TEST_PEOPLE) -> list[Pair]:
    """List the pairs of MEAD (front view) of which both videos exist.

    Raises:
        InputError: when there are none.
    """
    films: dict[tuple[str, str, int], dict[str, Path]] = {}
    for film in find_files(root, (".mp4",)):
        films.setdefault((film.person, film.emotion, film.level), {})[film.path.stem] = film.path
    out = []
    for person in people:
        neutral = films.get((person, NEUTRAL, 1), {})
        for emotion in EMOTIONS:
            for level in range(1, LEVELS + 1) if emotion != NEUTRAL else ():
                emotional = films.get((person, emotion, level), {})
                for number in TEST_SENTENCES:
                    truth = emotional.get(f"{number:03d}")
                    source = neutral.get(f"{neutral_number(number):03d}")
                    if truth is not None and source is not None:
                        name = f"{person}_{emotion}_level_{level}_{number:03d}"
                        voices = _voices(emotional, without=truth)
                        out.append(Pair(name, source, emotion, truth, voices, _voices(neutral)))
    if not out:
        raise InputError(
            f"{root} holds no pair of <ID>/front/neutral/level_1/NNN.mp4 and "
            f"<ID>/front/<emotion>/level_N/NNN.mp4 of {', '.join(people)}."
        )
    return out


def crema_pairs(root: Path) -> list[Pair]:
    """List the pairs of CREMA-D's test sentences.

    Raises:
        InputError: when there are none.
    """
    films: dict[tuple[str, str], list[Film]] = {}
    for film in find_films("cremad", root):
        films.setdefault((film.label.speaker, film.label.emotion), []).append(film)
    out = []
    for (actor, emotion), emotional in films.items():
        neutral = films.get((actor, NEUTRAL), []) if emotion != NEUTRAL else []
        for truth in emotional:
            words = truth.label.sentence
            source = next((film for film in neutral if film.label.sentence == words), None)
            if words not in CREMAD_TEST_SENTENCES or source is None:
                continue
            others = [film for film in emotional if film != truth][:_VOICES] or [truth]
            voices, plain = (
                tuple(film.sound or film.path for film in some)
                for some in (others, neutral[:_VOICES])
            )
            out.append(Pair(truth.path.stem, source.path, emotion, truth.path, voices, plain))
    if not out:
        raise InputError(f"{root} holds no pair of ACTOR_SENTENCE_NEU_XX and ACTOR_SENTENCE_ANG….")
    return out


def dicetalk_mead_pairs(root: Path, people: Sequence[str] = TEST_PEOPLE) -> list[Pair]:
    """List the talking portraits of MEAD: C-MET's test people and sentences, eight emotions.

    DICE-Talk does not publish its pairs. Here the portrait is the first frame of the person's first
    neutral film, the voice that of the emotional film, the request its emotion.

    Raises:
        InputError: when there are none.
    """
    films: dict[str, list[MeadFile]] = {}
    for film in find_files(root, (".mp4",)):
        films.setdefault(film.person, []).append(film)
    out = []
    for person in people:
        own = films.get(person, [])
        neutral = next((film.path for film in own if film.emotion == NEUTRAL), None)
        for film in own if neutral is not None else ():
            numbers = TEST_SENTENCES
            if film.emotion == NEUTRAL:
                numbers = tuple(map(neutral_number, numbers))
            if film.path.stem in {f"{number:03d}" for number in numbers}:
                name = f"{person}_{film.emotion}_level_{film.level}_{film.path.stem}"
                speech = sound_beside(film.path) or film.path
                out.append(Pair(name, neutral or film.path, film.emotion, film.path, speech=speech))
    if not out:
        raise InputError(
            f"{root} holds no neutral film and films of emotions of {', '.join(people)}."
        )
    return out


def dicetalk_hdtf_pairs(root: Path) -> list[Pair]:
    """List the talking portraits of HDTF's test people (:func:`mien.datasets.splits.hdtf_split`).

    Every film's first frame speaks the first ten seconds of its own sound.

    Raises:
        InputError: when there are none.
    """
    out = [
        Pair(
            name=film.path.stem,
            source=film.path,
            emotion="",
            truth=film.path,
            speech=film.sound or film.path,
            seconds=HDTF_SECONDS,
        )
        for film in find_films("hdtf", root)
        if film.label.split == "test"
    ]
    if not out:
        raise InputError(f"{root} holds no film of a person who is for the test by the rule.")
    return out


def with_sound(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Path]]:
    """Leave out recordings without sound, and pairs that have no voice then.

    Returns:
        The pairs that are left, and the silent recordings.

    Raises:
        InputError: when no pair is left.
    """
    silent: dict[Path, bool] = {}

    def loud(paths: Sequence[Path]) -> tuple[Path, ...]:
        for path in paths:
            if path not in silent:
                silent[path] = not has_sound(path)
        return tuple(path for path in paths if not silent[path])

    out = []
    for pair in pairs:
        if pair.speech is not None:
            out += [pair] if loud([pair.speech]) else []
        else:
            voices, neutral = loud(pair.voices), loud(pair.neutral)
            out += [replace(pair, voices=voices, neutral=neutral)] if voices else []
    missing = [path for path, is_silent in silent.items() if is_silent]
    if not out:
        raise InputError(
            f"None of the {len(silent)} recordings that should give the voices has sound, "
            f"{missing[0]} for one. Put the sound files of the corpus beside its films; mien data "
            "check says where."
        )
    return out, missing


def spread(pairs: Sequence[Pair], most: int | None) -> list[Pair]:
    """Return at most so many pairs, spread evenly over all of them.

    Raises:
        InputError: for a limit below 1.
    """
    if most is None or most >= len(pairs):
        return list(pairs)
    if most < 1:
        raise InputError(f"The limit must be 1 or more; got {most}.")
    return [pairs[i * len(pairs) // most] for i in range(most)]


@dataclass(frozen=True, slots=True)
class Protocol:
    """An evaluation protocol.

    Attributes:
        about: what is made and compared.
        pairs: lists the pairs in a corpus's folder.
        talks: whether portraits talk; otherwise films are edited.
    """

    about: str
    pairs: Callable[[Path], list[Pair]]
    talks: bool


PROTOCOLS: Final[Mapping[str, Protocol]] = MappingProxyType(
    {
        "cmet-mead": Protocol(
            "C-MET on MEAD: neutral films of four people edited to seven emotions in three levels",
            mead_pairs,
            talks=False,
        ),
        "cmet-cremad": Protocol(
            "C-MET on CREMA-D: neutral films of sentences TAI, IOM, IWL edited to five emotions",
            crema_pairs,
            talks=False,
        ),
        "dicetalk-mead": Protocol(
            "DICE-Talk on MEAD, by rule: portraits of four people say emotional sentences",
            dicetalk_mead_pairs,
            talks=True,
        ),
        "dicetalk-hdtf": Protocol(
            "DICE-Talk on HDTF, by rule: first frames say the first ten seconds of their films",
            dicetalk_hdtf_pairs,
            talks=True,
        ),
    }
)


def protocol(name: str) -> Protocol:
    """Return the protocol called ``name``.

    Raises:
        InputError: for an unknown name.
    """
    if name not in PROTOCOLS:
        raise InputError(f"There is no protocol {name!r}. Valid: {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def _voices(films: Mapping[str, Path], without: Path | None = None) -> tuple[Path, ...]:
    """Return up to ten films, or their sound files where those exist."""
    every = sorted(films.values())
    some = [path for path in every if path != without][:_VOICES] or every
    return tuple(sound_beside(path) or path for path in some)


def write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """Write a table of pairs (CSV) atomically."""
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Pair)])
        writer.writeheader()
        for pair in pairs:
            row = asdict(pair)
            for name in ("voices", "neutral"):
                row[name] = _SEPARATOR.join(map(str, row[name]))
            for name in ("speech", "seconds"):
                row[name] = "" if row[name] is None else row[name]
            writer.writerow(row)


def read_pairs(path: Path) -> list[Pair]:
    """Read a table of pairs; relative paths start from its folder.

    Raises:
        InputError: when the table is missing, empty, or names missing files.
    """
    if not path.is_file():
        raise InputError(f"There is no table of pairs {path}; make it with mien evaluate pairs.")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [field.name for field in fields(Pair)]
    if not rows or set(rows[0]) != set(names):
        raise InputError(f"{path} should be a table with the columns {', '.join(names)}.")

    def paths(text: str) -> tuple[Path, ...]:
        return tuple(path.parent / part for part in text.split(_SEPARATOR) if part)

    out = [
        Pair(
            name=row["name"],
            source=path.parent / row["source"],
            emotion=row["emotion"],
            truth=path.parent / row["truth"],
            voices=paths(row["voices"]),
            neutral=paths(row["neutral"]),
            speech=path.parent / row["speech"] if row["speech"] else None,
            seconds=float(row["seconds"]) if row["seconds"] else None,
        )
        for row in rows
    ]
    missing = [str(file) for pair in out for file in (pair.source, pair.truth) if not file.exists()]
    if missing:
        raise InputError(f"{path} names missing files: {', '.join(missing[:5])}.")
    return out
