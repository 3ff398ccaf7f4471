"""People moved by EDTalk: windows of 25 frames per second, whatever the clip's own rate.

Pictures keep their times; only the *motion* is resampled. A window is a fifth of a second: the
connector sees five expressions in it and says how they change. Every person is drawn from one
source picture of the same clip, never from anything drawn before, so that nothing drifts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mien.cmet.transfer import WINDOW, Connect
from mien.emotion.resolve_edtalk import Wish
from mien.engines.base import Motion
from mien.engines.edtalk.framing import face_mask, match_colour, paste, training_crop
from mien.engines.edtalk.settings import FRAMES_PER_SECOND
from mien.face.crop import Crop
from mien.face.follow import Face, LandmarkTracker
from mien.face.select import shape_of
from mien.face.topology import LEFT_EYE, RIGHT_EYE, Landmarks
from mien.media.frame import Frame, RGBImage
from mien.media.read import VideoReader

if TYPE_CHECKING:
    from mien.engines.edtalk.engine import EDTalkEngine
    from mien.engines.edtalk.generator import Source

Codes = npt.NDArray[np.float32]

WINDOWS_PER_SECOND: Final = FRAMES_PER_SECOND // WINDOW
_LOOKS: Final = 14
_LOOK_SECONDS: Final = 12.0
_SAME_SHAPE: Final = 0.06
_SHOWN: Final = 0.1
"""Strength from which a face is replaced entirely; below it the frame's own pixels come through."""


class Shot(NamedTuple):
    """A frame and the faces in it that shall move."""

    frame: Frame
    faces: tuple[Face, ...]


@dataclass(slots=True)
class Anchors:
    """The source picture of every person: facing the camera, eyes open, mouth closed.

    Taken from a first look at the clip; a person who is not in it from where they first appear.
    """

    engine: EDTalkEngine
    _samples: list[tuple[npt.NDArray[np.float64], float, RGBImage]] = field(default_factory=list)
    _known: dict[int, Source] = field(default_factory=dict)

    def look(self, reader: VideoReader, tracker: LandmarkTracker) -> None:
        """Take samples from the start of a clip."""
        for image in reader.first_look(_LOOKS, _LOOK_SECONDS):
            for landmarks in tracker(image):
                crop = training_crop(landmarks).cut(image, self.engine.pixels, replicate_edges=True)
                self._samples.append((shape_of(landmarks), _unrest(landmarks), crop))
        tracker.reset()

    def of(self, face: Face, crop: RGBImage) -> Source:
        """The source of a person; ``crop`` is what they look like now."""
        if face.id not in self._known:
            shape = shape_of(face.landmarks)
            own = [
                (unrest, i)
                for i, (sample, unrest, _) in enumerate(self._samples)
                if float(np.abs(sample - shape).mean()) < _SAME_SHAPE
            ]
            chosen = self._samples[min(own)[1]][2] if own else crop
            self._known[face.id] = self.engine.source(chosen)
        return self._known[face.id]


def _unrest(landmarks: Landmarks) -> float:
    """How far a face is from facing the camera with open eyes and a closed mouth; 0 is best."""
    points = landmarks[:, :2]
    right, left = (points[list(eye.corners)] for eye in (RIGHT_EYE, LEFT_EYE))
    between = float(np.linalg.norm(right.mean(0) - left.mean(0))) + 1e-6
    mouth = float(np.linalg.norm(points[13] - points[14])) / between
    lids = [np.linalg.norm(points[a] - points[b]) / between for a, b in ((159, 145), (386, 374))]
    middle = (right.mean(0) + left.mean(0)) / 2
    across = (left.mean(0) - right.mean(0)) / between
    turned = abs(float((points[1] - middle) @ across)) / between
    return mouth + turned + 2 * max(0.0, 0.12 - float(min(lids)))


@dataclass(slots=True)
class _Person:
    source: Source
    reference: Codes
    before: tuple[float, Codes] | None = None


class Mover:
    """Moves the chosen faces of window after window.

    Args:
        engine: reads and draws.
        connect: the connector, ``(reference (5, D), vector (S,), expression (5, D)) -> (5, D)``.
        wish: what is wanted at a time.
        anchors: where sources come from.
        lips: lip coefficients ``(T, lip)`` at 25 frames per second out of a voice; None leaves the
            clip's own.
    """

    def __init__(
        self,
        engine: EDTalkEngine,
        connect: Connect,
        wish: Callable[[float], Wish],
        anchors: Anchors,
        lips: Codes | None = None,
    ) -> None:
        self._engine, self._connect, self._wish = engine, connect, wish
        self._anchors, self._lips = anchors, lips
        self._people: dict[int, _Person] = {}
        self._still: dict[int, tuple[RGBImage, tuple[Crop, RGBImage, Motion]]] = {}

    def move(self, shots: Iterable[Shot]) -> Iterator[Frame]:
        """Frames with their faces moved, in order; holds one window of them."""
        waiting: list[Shot] = []
        for shot in shots:
            if waiting and _window(shot.frame.time) != _window(waiting[0].frame.time):
                yield from self._window(waiting)
                waiting = []
            waiting.append(shot)
        if waiting:
            yield from self._window(waiting)

    def _window(self, shots: list[Shot]) -> Iterator[Frame]:
        images = [shot.frame.image for shot in shots]
        people = dict.fromkeys(face.id for shot in shots for face in shot.faces)
        for person in people:
            here = [
                (i, face)
                for i, shot in enumerate(shots)
                for face in shot.faces
                if face.id == person
            ]
            self._move_person(here, [float(shot.frame.time) for shot in shots], images)
        for shot, image in zip(shots, images, strict=True):
            yield replace(shot.frame, image=image)

    def _move_person(
        self, here: list[tuple[int, Face]], times: list[float], images: list[RGBImage]
    ) -> None:
        """Replace one person in ``images``, where they are seen."""
        at = np.array([times[i] for i, _ in here])
        wishes = [self._wish(time) for time in at.tolist()]
        if self._lips is None and not any(wish.weight > 0 for wish in wishes):
            return
        read = self._read([(images[i], face) for i, face in here])
        motions = [motion for _, _, motion in read]
        person = self._person(here[0][1], read[0][1])
        changes = self._changes(person, at, motions, wishes)
        moved = [
            Motion(self._lip(time, motion), motion.pose, motion.expression + change)
            for time, motion, change in zip(at.tolist(), motions, changes, strict=True)
        ]
        drawn = self._engine.draw(person.source, moved)
        for (i, face), wish, (crop, own, _), picture in zip(here, wishes, read, drawn, strict=True):
            weight = face.weight * (1.0 if self._lips is not None else _shown(wish.weight))
            mask = face_mask(face.landmarks, crop, self._engine.pixels)
            side = picture.shape[0]
            own = own if side == own.shape[0] else crop.cut(images[i], side, replicate_edges=True)
            wide = mask if side == len(mask) else face_mask(face.landmarks, crop, side)
            images[i] = paste(images[i], match_colour(picture, own, wide), crop, mask, weight)

    def _read(self, seen: list[tuple[RGBImage, Face]]) -> list[tuple[Crop, RGBImage, Motion]]:
        """Crop and motion of one person in several pictures; one that stands still is read once."""
        person = seen[0][1].id
        last = self._still.get(person)
        if last is not None and all(image is last[0] for image, _ in seen):
            return [last[1]] * len(seen)
        distinct = seen[:1] if all(image is seen[0][0] for image, _ in seen) else seen
        crops = [training_crop(face.landmarks) for _, face in distinct]
        cut = [
            crop.cut(image, self._engine.pixels, replicate_edges=True)
            for crop, (image, _) in zip(crops, distinct, strict=True)
        ]
        read = list(zip(crops, cut, self._engine.motion(np.stack(cut)), strict=True))
        self._still[person] = (seen[-1][0], read[-1])
        return read if len(read) == len(seen) else read * len(seen)

    def _person(self, face: Face, crop: RGBImage) -> _Person:
        if face.id not in self._people:
            rest = np.zeros((WINDOW, self._engine.expression_dim), np.float32)
            self._people[face.id] = _Person(self._anchors.of(face, crop), rest)
        return self._people[face.id]

    def _changes(
        self,
        person: _Person,
        at: npt.NDArray[np.float64],
        motions: list[Motion],
        wishes: list[Wish],
    ) -> Codes:
        """How the expression changes at every frame, ``(T, D)``."""
        own = np.stack([motion.expression for motion in motions])
        delta = self._connected(person, at, own, wishes)
        strength = np.array([wish.strength for wish in wishes], np.float32)[:, None]
        out: Codes = strength * delta
        for row, wish in enumerate(wishes):
            for target, share in wish.targets:
                out[row] += np.float32(share) * (target - own[row])
        return out

    def _connected(
        self, person: _Person, at: npt.NDArray[np.float64], own: Codes, wishes: list[Wish]
    ) -> Codes:
        """What the connector says at every frame for full strength, ``(T, D)``."""
        vectors = [wish.vector for wish in wishes if wish.vector is not None]
        if not vectors:
            person.reference = np.zeros_like(person.reference)
            person.before = None
            return np.zeros_like(own)
        start = _window(Fraction(at[0])) / WINDOWS_PER_SECOND
        grid = start + np.arange(WINDOW) / FRAMES_PER_SECOND
        delta = self._connect(
            person.reference, vectors[len(vectors) // 2], _interpolated(grid, at, own)
        ).astype(np.float32)
        person.reference = delta
        known, values = grid, delta
        if person.before is not None:
            known = np.concatenate([[person.before[0]], grid])
            values = np.concatenate([person.before[1][None], delta])
        person.before = (float(grid[-1]), delta[-1])
        return _interpolated(at, known, values)

    def _lip(self, time: float, motion: Motion) -> Codes:
        if self._lips is None or not len(self._lips):
            return motion.lip
        # A frame of the voice's track stands for the 40 ms that begin with it.
        track = np.arange(len(self._lips)) / FRAMES_PER_SECOND
        return _interpolated(np.array([time]), track, self._lips)[0]


def _window(time: Fraction) -> int:
    # Times of a file at 25 frames per second may be a hair early.
    return int(time * WINDOWS_PER_SECOND + Fraction(1, 1000))


def _interpolated(
    at: npt.NDArray[np.float64], known: npt.NDArray[np.float64], values: Codes
) -> Codes:
    """Rows ``values`` known at some times, by line at others; held beyond the ends."""
    columns = [np.interp(at, known, column) for column in values.T]
    return np.stack(columns, 1).astype(np.float32)


def _shown(strength: float) -> float:
    share = min(1.0, strength / _SHOWN)
    return share * share * (3 - 2 * share)
