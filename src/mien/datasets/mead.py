"""MEAD (Wang et al., ECCV 2020): its emotions, people and folders.

Both folder forms in circulation are read, with the sound in the film or beside it::

    <ID>/front/<emotion>/level_<N>/<NNN>.mp4
    <ID>/video/front/<emotion>/level_<N>/<NNN>.mp4
    <ID>/audio/<emotion>/level_<N>/<NNN>.m4a

Files derived from the films (features, cached clips) keep the folders of the films.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

EMOTIONS: Final = (
    "angry", "contempt", "disgusted", "fear", "happy", "neutral", "sad", "surprised",
)  # fmt: skip
"""In the order of their labels; the folders have the same names."""

NEUTRAL: Final = "neutral"
LEVELS: Final = 3
"""Intensities of an emotion, ``level_1`` to ``level_3``; neutral has the first alone."""

TRAIN_PEOPLE: Final = (
    "M005", "M007", "M009", "M011", "M012", "M013", "M019", "M022", "M023", "M024", "M025",
    "M026-2", "M027", "M028", "M029", "M031", "M032-2", "M033", "M034", "M035", "M037", "M039",
    "M040", "M041", "M042-1", "W011", "W014", "W016", "W018", "W019", "W021-1", "W023", "W024",
    "W025", "W026", "W028", "W029", "W033", "W035", "W036", "W037", "W038", "W040",
)  # fmt: skip
"""Folders that C-MET is trained on (arXiv 2604.07786); ``-N`` is one of several takes."""

TEST_PEOPLE: Final = ("M003", "M030", "W009", "W015")

TRAIN_SENTENCES: Final = (*range(1, 11), *range(21, 31))
TEST_SENTENCES: Final = (*range(1, 4), *range(20, 31))
"""Numbers of the emotional sentences that C-MET is trained and tested on."""

_FIRST_SHIFTED: Final = 20
_SHIFT: Final = 10

FRONT: Final = ("", "front", "video/front")
AUDIO: Final = "audio"

_VIEW: Final = re.compile(r"audio|video|front|top|down|(left|right)_\d\d")
_SOUND_SUFFIXES: Final = (".m4a", ".wav")


@dataclass(frozen=True, slots=True)
class MeadFile:
    """A file in MEAD's folders.

    Attributes:
        path: the file.
        person: name of the person's folder, ``"M026-2"``.
        view: folders between person and emotion: ``"front"``, ``"video/front"``, ``"audio"``, …
        emotion: one of :data:`EMOTIONS`.
        level: 1 to 3.
    """

    path: Path
    person: str
    view: str
    emotion: str
    level: int

    @property
    def speaker(self) -> str:
        """The person without the number of the take, ``"M026"``."""
        return self.person.partition("-")[0]


def read_place(path: Path, root: Path) -> MeadFile | None:
    """Read what MEAD's folders say about a file under ``root``; None where they are others."""
    parts = path.relative_to(root).parts
    if len(parts) < 4 or parts[-3] not in EMOTIONS:
        return None
    level = re.fullmatch(rf"level_([1-{LEVELS}])", parts[-2])
    start = len(parts) - 3
    while start > 0 and _VIEW.fullmatch(parts[start - 1]):
        start -= 1
    if level is None or start == 0:
        return None
    view = "/".join(parts[start:-3])
    return MeadFile(path, parts[start - 1], view, parts[-3], int(level[1]))


def neutral_number(sentence: int) -> int:
    """Return the number that the words of an emotional sentence have among the neutral films."""
    return sentence + (_SHIFT if sentence >= _FIRST_SHIFTED else 0)


def find_files(
    root: Path, suffixes: tuple[str, ...], *, views: tuple[str, ...] = FRONT
) -> Iterator[MeadFile]:
    """List the files of some views whose names end in one of ``suffixes``, in order of paths."""
    for path in sorted(root.rglob("*")):
        if path.name.lower().endswith(tuple(map(str.lower, suffixes))) and path.is_file():
            place = read_place(path, root)
            if place is not None and place.view in views:
                yield place


def sound_beside(film: Path) -> Path | None:
    """Return the sound file of a film of any view; None where there is none."""
    level, emotion, view = film.parent, film.parents[1:2], film.parents[2:3]
    if not view or view[0].name in (AUDIO, "video") or not _VIEW.fullmatch(view[0].name):
        return None
    person = view[0].parent
    person = person.parent if person.name == "video" else person
    folder = person / AUDIO / emotion[0].name / level.name
    found = (folder / f"{film.stem}{suffix}" for suffix in _SOUND_SUFFIXES)
    return next((path for path in found if path.is_file()), None)
