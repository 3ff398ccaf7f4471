"""Whom an edit is for, and what is counted while a clip goes by."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

from mien.errors import FaceNotFoundError
from mien.face.follow import Face
from mien.face.select import FaceChoice, FaceSelector
from mien.face.topology import Landmarks
from mien.face.tracker import FaceTracker
from mien.media.frame import RGBImage
from mien.media.still import read_still

_MOST_FACES: Final = 32


def selector_for(choice: FaceChoice) -> FaceSelector:
    """The selector of a choice; reads the reference picture where there is one."""
    reference: Landmarks | None = None
    if choice.picture is not None:
        with closing(FaceTracker(still=True)) as tracker:
            found = tracker(read_still(choice.picture))
        reference = found[0] if found else None
    return FaceSelector(choice, reference)


def nobody(source: Path, choice: FaceChoice, found: int) -> FaceNotFoundError:
    """The error for a clip without anybody to edit."""
    if found and choice.kind == "number":
        return FaceNotFoundError(
            f"{source} shows {found} face(s); there is no number {choice.number}."
        )
    return FaceNotFoundError(
        f"No usable face was found in {source}. Faces must be upright, lit and at least some 24 "
        "pixels wide."
    )


def people_in(image: RGBImage, path: Path, choice: FaceChoice) -> tuple[Face, ...]:
    """The people of a picture who are meant.

    Raises:
        FaceNotFoundError: when there is none.
    """
    with closing(FaceTracker(still=True, max_faces=_MOST_FACES)) as tracker:
        found = tuple(Face(i, points) for i, points in enumerate(tracker(image), 1))
    chosen = selector_for(choice).pick(found)
    if not chosen:
        raise nobody(path, choice, len(found))
    return chosen


@dataclass(slots=True)
class Tally:
    """What is counted while a clip goes by."""

    people: set[int] = field(default_factory=set)
    spans: list[list[Fraction]] = field(default_factory=list)
    most_faces: int = 0
    _empty: bool = False

    def count(self, time: Fraction, chosen: tuple[Face, ...], found: int, step: Fraction) -> None:
        """Note whom a frame shows: the ``chosen`` of the ``found``."""
        self.most_faces = max(self.most_faces, found)
        seen = [face.id for face in chosen if not face.bridged]
        self.people.update(seen)
        if seen:
            self._empty = False
        elif self._empty:
            self.spans[-1][1] = time + step
        else:
            self._empty = True
            self.spans.append([time, time + step])
