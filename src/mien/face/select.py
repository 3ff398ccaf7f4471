"""Select among the people in a clip."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien.errors import InputError
from mien.face.follow import Face
from mien.face.recognition import SAME_AS_PICTURE, Appearance
from mien.face.topology import MESH_POINTS
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
        if not isinstance(text, str):
            raise InputError(
                'face must be "largest", "all", a number as text ("2") or the path of a picture; '
                f"got {type(text).__name__}."
            )
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
    """Applies a choice frame by frame; once made, it stays with the person for the whole clip.

    While the person is absent nobody is chosen, with one exception: after a cut to a scene
    without anybody chosen before, ``largest`` also chooses the largest face of that scene.

    Args:
        choice: the choice.
        reference: appearance in the reference image, for a choice by image.

    Raises:
        InputError: when a choice by image has no reference.
    """

    def __init__(self, choice: FaceChoice, reference: Appearance | None = None) -> None:
        if choice.kind == "picture" and reference is None:
            raise InputError(f"No face was found in the reference image {choice.picture}.")
        self._choice = choice
        self._reference = reference
        self._chosen: list[int] = []
        self._current: int | None = None
        self._open = True

    def pick(self, faces: tuple[Face, ...], cut: bool = False) -> tuple[Face, ...]:
        """Return the selected ones of ``faces``.

        Args:
            faces: everybody in the frame.
            cut: whether a new scene begins here.
        """
        if self._choice.kind == "all":
            return faces
        if cut and self._choice.kind != "number":
            self._open = True
        if self._open:
            self._decide([face for face in faces if not face.bridged])
        return tuple(face for face in faces if face.id == self._current)

    def _decide(self, faces: list[Face]) -> None:
        """Choose whom to edit in this scene: the first one of those chosen before who is here."""
        here = {face.id for face in faces}
        known = [person for person in self._chosen if person in here]
        if not known and (best := self._best(faces)) is not None:
            known = [best.id]
            self._chosen.append(best.id)
        if known:
            self._current, self._open = known[0], False

    def _best(self, faces: list[Face]) -> Face | None:
        if not faces:
            return None
        if self._choice.kind == "number":
            ordered = sorted(faces, key=lambda f: float(f.landmarks[:MESH_POINTS, 0].mean()))
            number = self._choice.number
            return ordered[number - 1] if number <= len(ordered) else None
        if self._reference is not None:
            best = max(faces, key=self._likeness)
            return best if self._likeness(best) >= SAME_AS_PICTURE else None
        return max(faces, key=lambda f: float(np.ptp(f.landmarks[:MESH_POINTS, :2], axis=0).max()))

    def _likeness(self, face: Face) -> float:
        if face.look is None or self._reference is None:
            return -1.0
        return float(face.look @ self._reference)
