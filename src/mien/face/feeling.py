"""What faces in pictures and silent films express, as plain values: results of ``mien feel``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mien.errors import FaceNotFoundError
from mien.face.crop import face_square
from mien.face.expression import ExpressionReader, Reading
from mien.face.follow import Face, FaceFollower
from mien.face.pose import head_pose
from mien.face.topology import MESH_POINTS, Landmarks
from mien.face.tracker import FaceTracker
from mien.media.frame import Image, RGBImage
from mien.media.read import VideoReader
from mien.media.still import is_still, read_still

_EVERY: Final = Fraction(1, 5)
"""Seconds between the frames of a film that are read."""

_LEAST_SHARE: Final = 0.1
"""Share of the longest presence from which a person of a film is listed."""

_SMALL: Final = 48.0
_TURNED: Final = 0.7
"""Side of a face in pixels, and yaw in radians, beyond which a reading is uncertain."""

_EMOTION_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class FaceSecond:
    """A second of a film: middle in seconds, likeliest emotion, and the measures there."""

    time: float
    emotion: str
    valence: float
    arousal: float


@dataclass(frozen=True, slots=True)
class FeltFace:
    """What one person's face expresses.

    Attributes:
        box: left, top, right and bottom of the face, pixels; of its first frame in a film.
        emotion: probability by name; they sum to 1.
        valence, arousal: -1 (unpleasant, calm) .. 1 (pleasant, excited).
        confidence: probability of the likeliest emotion, 0 .. 1.
        curve: one entry per second in which a film shows the face; empty for a picture.
    """

    box: tuple[int, int, int, int]
    emotion: dict[str, float]
    valence: float
    arousal: float
    confidence: float
    curve: tuple[FaceSecond, ...] = ()


@dataclass(frozen=True, slots=True)
class FaceFeeling:
    """Result of ``mien.feel`` for a picture or a film without sound.

    Attributes:
        file: the picture or film; "the picture" for one in memory.
        faces: its people, from left to right.
        seconds: length of a film; 0 for a picture.
        warnings: reasons why this is uncertain.
    """

    file: Path
    faces: tuple[FeltFace, ...]
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        return {**asdict(self), "file": str(self.file)}


@dataclass(slots=True)
class _Person:
    """What was read of one person."""

    landmarks: Landmarks
    times: list[float] = field(default_factory=list)
    odds: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def felt(self, *, film: bool) -> FeltFace:
        odds, times = np.stack(self.odds), np.array(self.times)
        mean = Reading.of(odds.mean(0))
        seconds = np.unique(times.astype(int)).tolist() if film else []
        points = self.landmarks[:MESH_POINTS, :2]
        left, top = np.floor(points.min(0)).astype(int).tolist()
        right, bottom = np.ceil(points.max(0)).astype(int).tolist()
        return FeltFace(
            (left, top, right, bottom),
            {name: round(p, _EMOTION_DIGITS) for name, p in mean.probabilities.items()},
            round(mean.valence, _EMOTION_DIGITS),
            round(mean.arousal, _EMOTION_DIGITS),
            round(mean.confidence, _EMOTION_DIGITS),
            tuple(_second(s, odds[times.astype(int) == s]) for s in seconds),
        )

    def warning(self) -> str | None:
        if face_square(self.landmarks).side < _SMALL:
            return "a face is small; its expression is uncertain"
        if abs(head_pose(self.landmarks).yaw) > _TURNED:
            return "a face is turned to the side; its expression is uncertain"
        return None


def _second(second: int, odds: npt.NDArray[np.float32]) -> FaceSecond:
    mean = Reading.of(odds.mean(0))
    return FaceSecond(second + 0.5, mean.emotion, round(mean.valence, 4), round(mean.arousal, 4))


def feel_faces(path: Path, reader: ExpressionReader, image: RGBImage | None = None) -> FaceFeeling:
    """Read the faces of a picture, or of a film five times a second.

    Args:
        path: the file.
        reader: of expressions.
        image: a picture in memory, which ``path`` then only names.

    Raises:
        InputError: for a file that cannot be decoded.
        FaceNotFoundError: when it shows no face.
    """
    people: dict[int, _Person] = {}
    film, end = image is None and not is_still(path), 0.0
    for time, picture, faces in _film(path) if film else _still(path, image):
        end = time
        for face in faces:
            person = people.setdefault(face.id, _Person(face.landmarks))
            person.times.append(time)
            person.odds.append(reader.probabilities([picture], [face.landmarks])[0])
    if not people:
        raise FaceNotFoundError(f"No usable face was found in {path}.")
    longest = max(len(person.times) for person in people.values())
    listed = [p for p in people.values() if len(p.times) >= _LEAST_SHARE * longest]
    listed.sort(key=lambda person: float(person.landmarks[:MESH_POINTS, 0].mean()))
    return FaceFeeling(
        path,
        tuple(person.felt(film=film) for person in listed),
        round(end + float(_EVERY), 3) if film else 0.0,
        tuple(dict.fromkeys(warning for p in listed if (warning := p.warning()))),
    )


_Seen = Iterator[tuple[float, Image, tuple[Face, ...]]]


def _still(path: Path, image: RGBImage | None) -> _Seen:
    """Yield a picture and the faces in it."""
    image = read_still(path) if image is None else image
    with closing(FaceTracker(still=True)) as tracker:
        found = enumerate(tracker(image))
        yield 0.0, image, tuple(Face(number, points) for number, points in found)


def _film(path: Path) -> _Seen:
    """Yield times, pictures and the faces in them."""
    with closing(FaceTracker()) as tracker:
        follower, due = FaceFollower(tracker), Fraction(0)
        with VideoReader(path) as frames:
            for frame in frames:
                if frame.time >= due:
                    due = max(due + _EVERY, frame.time)
                    faces = follower.update(frame.picture, frame.time)
                    yield float(frame.time), frame.picture, faces
