"""Give a filmed mouth other words: its own movement is taken away, that of a new voice added.

A mouth in a film moves by itself. What the landmarks of a frame differ in from the same mouth at
rest is split into an articulation code, whose motion reaches as far as the jaw, and the remainder,
which counts on the lips alone: jaw and cheeks of a turned head are outlines rather than skin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from mien.engines.mesh import lips, rig
from mien.engines.mesh.appearance import Exemplar, MouthFrame, donors
from mien.engines.mesh.engine import MeshEngine
from mien.engines.mesh.portrait import speech_fields, speech_motion, spoken_units
from mien.face.facs import Expression
from mien.face.follow import Face
from mien.face.pose import head_pose
from mien.face.topology import LOWER_LIP, MOUTH_CORNERS, OVAL, UPPER_LIP, Landmarks, canonical_face
from mien.media.frame import Box, Picture, to_8_bits

Points = npt.NDArray[np.float64]
Code = npt.NDArray[np.float32]

_RESTING: Final = 0.25
"""Share of a person's samples, those with the least open mouths, whose mean is their rest."""

_OPEN: Final = 0.1
"""Lip gap, eye distances, from which a mouth shows what is inside."""

_MARGIN: Final = 0.9
"""What is read around the mouth's corners, eye distances."""

_LIPS_REACH: Final = 0.12
"""Distance from the lips, eye distances, over which what no code explains gives way."""

_USUAL: Final = np.array([0.15, 0.08, 0.06, 0.04, 0.1, 0.05, 0.05])
"""Usual sizes of the entries of the code, eye distances."""

_NOISE: Final = 0.02
"""Usual error of a landmark, eye distances."""

_LIP_POINTS: Final = [p for lip in (UPPER_LIP, LOWER_LIP) for row in lip for p in row]


@dataclass(frozen=True, slots=True)
class MouthSample:
    """A person's mouth in one frame.

    Attributes:
        head: landmarks ``(478, 3)`` in the head frame, eye distances.
        yaw: of the head, radians.
        seen: the mouth, open or closed; None outside the picture.
    """

    head: Points
    yaw: float
    seen: Exemplar | None

    @property
    def opening(self) -> float:
        """Gap between the lips, eye distances."""
        return lips.opening(self.head)

    @classmethod
    def of(cls, picture: Picture, landmarks: Landmarks) -> Self:
        """Read the mouth of a face with landmarks ``(478, 3)`` in ``picture``."""
        pose = head_pose(landmarks)
        head = pose.to_head(landmarks)
        box = Box.around(landmarks[list(MOUTH_CORNERS)], _MARGIN * pose.scale).within(picture.box)
        if box.empty:
            return cls(head, pose.yaw, None)
        corner = np.array([box.left, box.top, 0.0])
        pose = replace(pose, translation=pose.translation - corner)
        frame = MouthFrame.of(landmarks - corner, pose)
        patch = frame.cut(to_8_bits(picture.read(box)))
        return cls(head, pose.yaw, Exemplar.of(patch, frame.outline))


@dataclass(frozen=True, slots=True)
class OwnMouth:
    """What a person's mouth is like without its movement.

    Attributes:
        rest: landmarks ``(478, 3)`` at rest, head frame, eye distances.
        inside: an example of its inside: its own or, where it was never seen open, another
            person's; None for a mouth outside the picture.
    """

    rest: Points
    inside: Exemplar | None

    @classmethod
    def of(cls, samples: Sequence[MouthSample]) -> Self:
        """Find rest and inside in samples of a person, at least one."""
        closed = sorted(samples, key=lambda sample: sample.opening)
        resting = closed[: max(1, round(_RESTING * len(closed)))]
        rest = np.mean([sample.head for sample in resting], 0)
        seen = [sample for sample in reversed(closed) if sample.seen is not None]
        shown = [sample.seen for sample in seen if sample.opening > _OPEN]
        toothy = [inside for inside in shown if inside is not None and inside.teeth is not None]
        others = [donors().for_face(one.yaw, one.seen.skin) for one in seen[:1] if one.seen]
        return cls(rest, next(iter((*toothy, *shown, *others)), None))

    def spoken(self, head: Points, code: Code) -> Points:
        """Compute the motion ``(478, 3)`` that replaces the mouth's own movement.

        Args:
            head: landmarks ``(478, 3)`` in the head frame, with whatever the mouth does.
            code: articulation code ``(7,)`` of what it is to do, from its rest.
        """
        moved = head - self.rest
        own = np.tensordot(_fit() @ moved[_LIP_POINTS].ravel(), speech_fields(), 1)
        wanted = speech_motion(self.rest, code)
        remainder = _near_lips()[:, None] * (moved - own)
        return wanted - own - remainder


def draw_dub(
    engine: MeshEngine, picture: Picture, face: Face, own: OwnMouth, code: Code, delta: Expression
) -> Picture:
    """Draw a face with other words and another expression.

    Args:
        engine: with the settings of a portrait.
        picture: not changed.
        face: in ``picture``; ``face.weight`` scales everything.
        own: the person's mouth.
        code: articulation code ``(7,)``.
        delta: action units ``float32 (D,)`` of the emotion.
    """
    head = head_pose(face.landmarks).to_head(face.landmarks)
    speech = own.spoken(head, code)
    spoken = head + speech
    felt = spoken_units(spoken, delta)
    motion = speech + lips.keep_articulation(spoken, rig.displacement(spoken, felt))
    motion = lips.steady_corners(head, motion) * np.float64(face.weight)
    return engine.move(picture, face, motion, np.float32(face.weight) * felt, example=own.inside)


@lru_cache(maxsize=1)
def _fit() -> Points:
    """Return the matrix ``(7, 3 L)`` from displacements of the lips to the likeliest code."""
    fields = speech_fields()[:, _LIP_POINTS].reshape(len(_USUAL), -1)
    prior = np.diag((_NOISE / _USUAL) ** 2)
    return np.linalg.solve(fields @ fields.T + prior, fields).astype(np.float64)


@lru_cache(maxsize=1)
def _near_lips() -> Points:
    """Return 1 on the lips and less around them, ``(478,)``; 0 on the outline of the face."""
    points = canonical_face().points[:, :2]
    away = np.linalg.norm(points[:, None] - points[_LIP_POINTS], axis=2).min(1)
    out: Points = np.exp(-((away / _LIPS_REACH) ** 2))
    out[list(OVAL)] = 0
    return out
