"""Corpora a user brings, in the folders they were published in.

Each reader lists the recordings that are there; ``missing`` in the result names what the layout
promises and the folder lacks, as far as the layout says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mien.datasets.manifest import Utterance
from mien.errors import InputError

MEAD_TRAIN: Final = frozenset(
    """
    M005 M007 M009 M011 M012 M013 M019 M022 M023 M024 M025 M026 M027 M028 M029 M031 M032 M033 M034
    M035 M037 M039 M040 M041 M042 W011 W014 W016 W018 W019 W021 W023 W024 W025 W026 W028 W029 W033
    W035 W036 W037 W038 W040
    """.split()  # noqa: SIM905 - a list of 43 literals is harder to check
)
"""People C-MET is trained on (takes like ``M026-2`` count as the person)."""

MEAD_TEST: Final = ("M003", "M030", "W009", "W015")
CREMAD_TEST_SENTENCES: Final = ("TAI", "IOM", "IWL")

_SOUND: Final = (".wav", ".m4a", ".mp3", ".flac", ".ogg", ".mp4")

_MEAD: Final = MappingProxyType(
    {
        "angry": "angry",
        "contempt": "contempt",
        "disgusted": "disgusted",
        "fear": "fear",
        "happy": "happy",
        "neutral": "neutral",
        "sad": "sad",
        "surprised": "surprised",
    }
)
_CREMAD: Final = MappingProxyType(
    {
        "ANG": "angry",
        "DIS": "disgusted",
        "FEA": "fear",
        "HAP": "happy",
        "NEU": "neutral",
        "SAD": "sad",
    }
)
_CREMAD_LEVELS: Final = MappingProxyType({"LO": 1, "MD": 2, "HI": 3})
_RAVDESS: Final = (
    "neutral",
    "calm",
    "happy",
    "sad",
    "angry",
    "fear",
    "disgusted",
    "surprised",
)
_RAVDESS_TEST: Final = ("17", "18", "19", "20", "21", "22", "23", "24")


def read_corpus(name: str, folder: str | Path) -> list[Utterance]:
    """List a corpus in its published layout.

    Args:
        name: ``mead``, ``cremad`` or ``ravdess``.
        folder: its root.

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
        raise InputError(f"{folder} holds no file in the layout of {name}; see docs/training.md.")
    return found


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in _SOUND and path.is_file():
            yield path


def _mead(folder: Path) -> Iterator[Utterance]:
    """``<ID>/audio/<emotion>/level_<n>/<NNN>.m4a`` or ``<ID>/front/...`` with films."""
    for path in _files(folder):
        parts = path.relative_to(folder).parts
        if len(parts) < 4 or parts[-3] not in _MEAD:
            continue
        level = re.fullmatch(r"level_([123])", parts[-2])
        person = parts[-5] if len(parts) >= 5 else parts[-4]
        identity = re.fullmatch(r"([MW]\d{3})(-\d)?", person)
        if level is None or identity is None or _skipped_view(parts):
            continue
        who = identity[1]
        if who not in MEAD_TRAIN and who not in MEAD_TEST:
            continue
        emotion = _MEAD[parts[-3]]
        yield Utterance(
            path=path,
            corpus="mead",
            speaker=f"mead_{who}",
            emotion=emotion,
            intensity=None if emotion == "neutral" else int(level[1]),
            sentence=path.stem,
            split="train" if who in MEAD_TRAIN else "val",
        )


def _skipped_view(parts: tuple[str, ...]) -> bool:
    """Only sound and the front view count: the other views repeat them."""
    return len(parts) >= 5 and parts[-4] not in ("audio", "front")


def _cremad(folder: Path) -> Iterator[Utterance]:
    """``AudioWAV/<actor>_<sentence>_<emotion>_<level>.wav``; split by the sentences of the paper.

    Splitting by sentence leaves actors on both sides; for a listener's speakers that must not be,
    so the actors are told apart by split as well: the last tenth of them is held out.
    """
    for path in _files(folder):
        match = re.fullmatch(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX?)", path.stem)
        if match is None or match[3] not in _CREMAD:
            continue
        yield Utterance(
            path=path,
            corpus="cremad",
            speaker=f"cremad_{match[1]}",
            emotion=_CREMAD[match[3]],
            intensity=_CREMAD_LEVELS.get(match[4]),
            sentence=match[2],
            split="val" if int(match[1]) % 10 == 1 else "train",
        )


def _ravdess(folder: Path) -> Iterator[Utterance]:
    """``Actor_<NN>/<modality>-<channel>-<emotion>-<level>-<sentence>-<take>-<actor>.wav``."""
    for path in _files(folder):
        match = re.fullmatch(r"(0[123])-(01)-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)", path.stem)
        if match is None or (match[1] != "03" and path.suffix.lower() != ".mp4"):
            continue
        emotion = _RAVDESS[int(match[3]) - 1]
        yield Utterance(
            path=path,
            corpus="ravdess",
            speaker=f"ravdess{match[7]}",
            emotion=emotion,
            intensity=None if emotion == "neutral" else int(match[4]) + 1,
            sentence=match[5],
            split="val" if match[7] in _RAVDESS_TEST else "train",
        )


_READERS: Final[Mapping[str, Callable[[Path], Iterator[Utterance]]]] = MappingProxyType(
    {"mead": _mead, "cremad": _cremad, "ravdess": _ravdess}
)
CORPORA: Final = tuple(_READERS)


def paper_split(item: Utterance) -> str:
    """``"train"`` or ``"test"`` as in C-MET: MEAD by person, CREMA-D by sentence."""
    if item.corpus == "cremad":
        return "test" if item.sentence in CREMAD_TEST_SENTENCES else "train"
    return "train" if item.split == "train" else "test"
