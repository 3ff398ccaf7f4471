"""MEAD, CREMA-D, RAVDESS and HDTF: what their published folders and file names say.

Labels are those of :mod:`mien.speech.listener`; splits (:mod:`mien.datasets.splits`) are by
person.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mien.datasets import mead
from mien.datasets.manifest import Utterance
from mien.datasets.splits import RAVDESS_TRAIN_ACTORS, hdtf_split, names_test_person, split_of
from mien.errors import InputError

CREMAD_EMOTIONS: Final = MappingProxyType(
    {
        "ANG": "angry",
        "DIS": "disgusted",
        "FEA": "fear",
        "HAP": "happy",
        "NEU": "neutral",
        "SAD": "sad",
    }
)
CREMAD_TEST_SENTENCES: Final = ("TAI", "IOM", "IWL")
"""Of C-MET (arXiv 2604.07786)."""

RAVDESS_EMOTIONS: Final = (
    "neutral", "calm", "happy", "sad", "angry", "fear", "disgusted", "surprised",
)  # fmt: skip
"""Codes 01 to 08."""

_CREMAD_LEVELS: Final = MappingProxyType({"LO": 1, "MD": 2, "HI": 3})
_SOUND_SUFFIXES: Final = (".wav", ".m4a", ".mp3", ".flac", ".ogg", ".mp4")


@dataclass(frozen=True, slots=True)
class CremadName:
    """What a file name of CREMA-D says, ``ACTOR_SENTENCE_EMOTION_LEVEL``.

    Attributes:
        actor: four digits.
        sentence: three letters.
        emotion: one of the values of :data:`CREMAD_EMOTIONS`.
        level: 1 to 3; None where the corpus does not say.
    """

    actor: str
    sentence: str
    emotion: str
    level: int | None


def read_cremad_name(path: Path) -> CremadName | None:
    """Read a file name of CREMA-D; None for others."""
    match = re.fullmatch(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX?)", path.stem)
    if match is None or match[3] not in CREMAD_EMOTIONS:
        return None
    return CremadName(match[1], match[2], CREMAD_EMOTIONS[match[3]], _CREMAD_LEVELS.get(match[4]))


def read_corpus(name: str, folder: str | Path) -> list[Utterance]:
    """List the recordings of a corpus in its published folders.

    Args:
        name: ``mead``, ``cremad`` or ``ravdess``.
        folder: its root.

    Returns:
        Recordings in order of their paths.

    Raises:
        InputError: for an unknown corpus, a missing folder, or one that holds none of its files.
    """
    if name not in _READERS:
        raise InputError(f"There is no corpus {name!r}. Valid: {', '.join(_READERS)}.")
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")
    found = sorted(_READERS[name](folder), key=lambda item: str(item.path))
    if not found:
        raise InputError(f"{folder} holds no file in the layout of {name}; see docs/voices.md.")
    return found


def paper_split(item: Utterance) -> str:
    """Return ``"train"`` or ``"test"`` as in C-MET: MEAD by person, CREMA-D by sentence."""
    if item.corpus == "cremad":
        return "test" if item.sentence in CREMAD_TEST_SENTENCES else "train"
    return "train" if item.split == "train" else "test"


def mead_label(file: mead.MeadFile) -> Utterance | None:
    """Return what MEAD's folders say about a file; None for people the paper leaves out."""
    train = {name.partition("-")[0] for name in mead.TRAIN_PEOPLE}
    if file.speaker not in train and file.speaker not in mead.TEST_PEOPLE:
        return None
    speaker = f"mead_{file.speaker}"
    return Utterance(
        path=file.path,
        corpus="mead",
        speaker=speaker,
        emotion=file.emotion,
        intensity=None if file.emotion == mead.NEUTRAL else file.level,
        sentence=file.path.stem,
        split=split_of(speaker, "train"),
    )


def cremad_label(path: Path) -> Utterance | None:
    """Return what a file name of CREMA-D says; None for others. Every tenth actor is held out.

    The paper splits by sentence, which leaves actors on both sides: see :func:`paper_split`.
    """
    name = read_cremad_name(path)
    if name is None:
        return None
    return Utterance(
        path=path,
        corpus="cremad",
        speaker=f"cremad_{name.actor}",
        emotion=name.emotion,
        intensity=name.level,
        sentence=name.sentence,
        split="val" if int(name.actor) % 10 == 1 else "train",
    )


def ravdess_label(path: Path) -> Utterance | None:
    """Return what a file name of RAVDESS's speech says; None for others and for songs.

    Names are ``<modality>-<channel>-<emotion>-<level>-<sentence>-<take>-<actor>``.
    """
    match = re.fullmatch(r"0[123]-01-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)", path.stem)
    if match is None:
        return None
    emotion, speaker = RAVDESS_EMOTIONS[int(match[1]) - 1], f"ravdess{match[5]}"
    return Utterance(
        path=path,
        corpus="ravdess",
        speaker=speaker,
        emotion=emotion,
        intensity=None if emotion == "neutral" else int(match[2]) + 1,
        sentence=match[3],
        split=split_of(speaker, "train" if match[5] in RAVDESS_TRAIN_ACTORS else "val"),
    )


def hdtf_label(path: Path) -> Utterance | None:
    """Return what a file name of HDTF says, ``<kind>_<person>_<number>``; None for others.

    People whose name a number follows (``WRA_DebFischer1``) are one; the radio speakers (``RD``)
    have no other name than their number. HDTF has no emotions; its split is by person, see
    :func:`mien.datasets.splits.hdtf_split`.
    """
    match = re.fullmatch(r"(RD_[A-Za-z0-9]+|W[A-Z]+_[A-Za-z-]+)\d*(?:_\d+)+", path.stem)
    if match is None:
        return None
    return Utterance(
        path=path,
        corpus="hdtf",
        speaker=f"hdtf_{match[1]}",
        emotion="",
        intensity=None,
        sentence=path.stem,
        split=hdtf_split(match[1]),
    )


def film_speaker(path: Path, root: Path) -> tuple[str, str]:
    """Return the name of the person in a film of any corpus, and the split.

    MEAD's folders and the names of the other corpora's files say it. A film with another name is
    a person of its own, and split by the rule for HDTF.
    """
    place = mead.read_place(path, root)
    if place is not None:
        speaker = f"mead_{place.speaker}"
        return speaker, split_of(speaker, "train")
    label = hdtf_label(path) or cremad_label(path) or ravdess_label(path)
    speaker = path.stem if label is None else label.speaker
    split = hdtf_split(speaker) if label is None else label.split
    return speaker, "test" if names_test_person(str(path.relative_to(root))) else split


def _mead(folder: Path) -> Iterator[Utterance]:
    """C-MET's people; of a film and the sound file beside it only the sound file."""
    for file in mead.find_files(folder, _SOUND_SUFFIXES, views=(*mead.FRONT, mead.AUDIO)):
        label = mead_label(file)
        if label is not None and (file.view == mead.AUDIO or not mead.sound_beside(file.path)):
            yield label


def _cremad(folder: Path) -> Iterator[Utterance]:
    return filter(None, map(cremad_label, _sounds(folder)))


def _ravdess(folder: Path) -> Iterator[Utterance]:
    for path in _sounds(folder):
        label = ravdess_label(path)
        if label is not None and (path.stem.startswith("03") or path.suffix.lower() == ".mp4"):
            yield label


def _sounds(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in _SOUND_SUFFIXES and path.is_file():
            yield path


_READERS: Final[Mapping[str, Callable[[Path], Iterator[Utterance]]]] = MappingProxyType(
    {"mead": _mead, "cremad": _cremad, "ravdess": _ravdess}
)
