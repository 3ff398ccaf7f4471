"""Who is trained on and who is only measured, by person, for all corpora and all nets that ship.

``train`` teaches a net, ``val`` chooses its settings and temperature, ``test`` is measured once, at
the end.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from mien.datasets import mead

SPLITS: Final = ("train", "val", "test")

RAVDESS_TRAIN_ACTORS: Final = tuple(f"{number:02d}" for number in range(1, 17))
RAVDESS_TEST_ACTORS: Final = ("17", "18", "19", "20")

TEST_SPEAKERS: Final = frozenset(
    [f"mead_{person}" for person in mead.TEST_PEOPLE]
    + [f"ravdess{actor}" for actor in RAVDESS_TEST_ACTORS]
)
"""Names in manifests of people who train nothing that ships: C-MET's test people of MEAD
(arXiv 2604.07786), and four actors of RAVDESS."""


_TEST_PERSON: Final = re.compile(
    rf"(?<![A-Za-z0-9])(?:{'|'.join(mead.TEST_PEOPLE)})(?![A-Za-z0-9])", re.IGNORECASE
)


def split_of(speaker: str, otherwise: str) -> str:
    """Return the split of a speaker: ``test`` for :data:`TEST_SPEAKERS`, whatever a table says."""
    return "test" if speaker in TEST_SPEAKERS else otherwise


def hdtf_split(person: str) -> str:
    """Return ``test`` for about every tenth person of HDTF, by the SHA-256 of the name.

    Neither paper names its people of HDTF; this rule gives everybody the same ones. It also splits
    corpora that mien does not know.
    """
    return "test" if hashlib.sha256(person.encode()).digest()[0] % 10 == 0 else "train"


def names_test_person(place: str) -> bool:
    """Return whether a path names one of MEAD's test people, in whatever layout."""
    return _TEST_PERSON.search(place) is not None
