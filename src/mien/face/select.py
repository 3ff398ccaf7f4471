"""Select among the people in a clip."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.face.follow import Face
from mien.face.pose import head_pose
from mien.face.topology import MESH_POINTS, Landmarks
from mien.media.container import existing_file
from mien.media.output import IMAGE_SUFFIXES
from mien.utils.text import shown


@dataclass(frozen=True, slots=True)
class FaceChoice:
    """Whose face is edited.

    Attributes:
        kind: ``"largest"``, ``"all"``, ``"number"`` or ``"picture"``.
        number: for ``"number"``: 1 is the leftmost person at the start of the clip.
        picture: for ``"picture"``: an image file that shows the person.
    """

    kind: str
    number: int = 0
    picture: Path | None = None

    @classmethod
    def parse(cls, text: str) -> FaceChoice:
        """Parse ``largest``, ``all``, a number from 1, or the path of an image.

        Raises:
            InputError: for anything else.
        """
        word = text.strip()
        if word in ("largest", "all"):
            return cls(word)
        if re.fullmatch(r"[+-]?[0-9]{1,9}", word):
            number = int(word)
            if number < 1:
                raise InputError(f"Faces are numbered from 1, left to right; got {number}.")
            return cls("number", number)
        if Path(word).suffix.lower() in IMAGE_SUFFIXES:
            return cls("picture", picture=existing_file(word))
        raise InputError(
            f"Cannot select a face by {shown(text)}: use largest, all, a number (1 is the "
            "leftmost) or the path of an image of the person."
        )


class FaceSelector:
    """Applies a choice frame by frame; it stays with the person once selected.

    Args:
        choice: the choice.
        reference: landmarks in the reference image, for a choice by image.

    Raises:
        InputError: when a choice by image has no reference.
    """

    def __init__(self, choice: FaceChoice, reference: Landmarks | None = None) -> None:
        if choice.kind == "picture" and reference is None:
            raise InputError(f"No face was found in the reference image {choice.picture}.")
        self._choice = choice
        self._reference = None if reference is None else shape_of(reference)
        self._chosen: int | None = None

    def pick(self, faces: tuple[Face, ...]) -> tuple[Face, ...]:
        """Return the selected ones of ``faces``."""
        if self._choice.kind == "all" or not faces:
            return faces
        if self._chosen not in {face.id for face in faces}:
            chosen = self._decide([f for f in faces if not f.bridged])
            if chosen is None:
                return ()
            self._chosen = chosen.id
        return tuple(face for face in faces if face.id == self._chosen)

    def _decide(self, faces: list[Face]) -> Face | None:
        if not faces:
            return None
        if self._choice.kind == "number":
            ordered = sorted(faces, key=lambda f: float(f.landmarks[:MESH_POINTS, 0].mean()))
            number = self._choice.number
            return ordered[number - 1] if number <= len(ordered) else None
        if self._choice.kind == "picture" and self._reference is not None:
            reference = self._reference
            return min(faces, key=lambda f: float(np.abs(shape_of(f.landmarks) - reference).mean()))
        return max(faces, key=lambda f: float(np.ptp(f.landmarks[:MESH_POINTS, :2], axis=0).max()))


def shape_of(landmarks: Landmarks) -> npt.NDArray[np.float64]:
    """Return the head-frame points ``(N, 3)`` that expressions hardly move.

    Distinguishes the few people of one clip; it is not face recognition.
    """
    head = head_pose(landmarks).to_head(landmarks)
    steady = [1, 2, 4, 5, 6, 8, 10, 33, 54, 93, 98, 127, 132, 133, 162, 168, 195, 234, 263, 284,
              323, 327, 356, 361, 362, 389, 454]  # fmt: skip
    out: npt.NDArray[np.float64] = head[steady]
    return out
