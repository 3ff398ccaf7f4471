"""Tables of pairs: which clip is edited to which emotion (section 4 of arXiv 2604.07786)."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from mien.datasets.corpora import CREMAD_TEST_SENTENCES, read_cremad_name
from mien.datasets.mead import (
    EMOTIONS,
    LEVELS,
    NEUTRAL,
    TEST_PEOPLE,
    TEST_SENTENCES,
    find_files,
    neutral_number,
    sound_beside,
)
from mien.errors import InputError
from mien.media.output import whole_file

_VOICES: Final = 10
"""Recordings of an emotion that are averaged, at most."""

_SEPARATOR: Final = "|"


@dataclass(frozen=True, slots=True)
class Pair:
    """A clip to edit and the video it is compared with.

    Attributes:
        name: name of the edited video.
        source: neutral clip to edit.
        emotion: the requested emotion.
        truth: the same person saying the same sentence with that emotion.
        voices: recordings of the emotion, without ``truth`` if there are others.
        neutral: recordings of the person speaking neutrally.
    """

    name: str
    source: Path
    emotion: str
    truth: Path
    voices: tuple[Path, ...]
    neutral: tuple[Path, ...]


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
    """List the pairs of CREMA-D's test sentences, ``ACTOR_SENTENCE_EMOTION_LEVEL.*``.

    Raises:
        InputError: when there are none.
    """
    films: dict[tuple[str, str], list[tuple[str, Path]]] = {}
    for path in sorted(root.rglob("*.*")):
        name = read_cremad_name(path)
        if name is not None and path.suffix.lower() in (".mp4", ".flv", ".avi"):
            films.setdefault((name.actor, name.emotion), []).append((name.sentence, path))
    out = []
    for (actor, emotion), emotional in films.items():
        neutral = films.get((actor, NEUTRAL), []) if emotion != NEUTRAL else []
        for sentence, truth in emotional:
            source = next((path for name, path in neutral if name == sentence), None)
            if sentence not in CREMAD_TEST_SENTENCES or source is None:
                continue
            voices = [path for _, path in emotional if path != truth][:_VOICES] or [truth]
            plain = tuple(path for _, path in neutral[:_VOICES])
            out.append(Pair(truth.stem, source, emotion, truth, tuple(voices), plain))
    if not out:
        raise InputError(f"{root} holds no pair of ACTOR_SENTENCE_NEU_XX and ACTOR_SENTENCE_ANG….")
    return out


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
        )
        for row in rows
    ]
    missing = [str(file) for pair in out for file in (pair.source, pair.truth) if not file.exists()]
    if missing:
        raise InputError(f"{path} names missing files: {', '.join(missing[:5])}.")
    return out
