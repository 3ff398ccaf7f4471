"""People over time: who is who, what is a cut, and how to get over a moment without a face."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from mien.face.smooth import OneEuro, SmoothSettings
from mien.face.types import Face, Landmarks, LandmarkTracker
from mien.media.frame import Frame, RGBImage


@dataclass(frozen=True, slots=True)
class FollowSettings:
    """How people are followed.

    Attributes:
        smooth: the landmark filter.
        longest_gap: seconds without a face that are bridged.
        fade: seconds over which an edit goes before, and comes after, a longer gap.
        memory: seconds after which an absent person gets a new id.
        reach: how far a face may jump between frames, in face sizes.
        cut: mean change of a thumbnail, grey levels, that makes a cut.
    """

    smooth: SmoothSettings = field(default_factory=SmoothSettings)
    longest_gap: float = 0.5
    fade: float = 0.2
    memory: float = 3.0
    reach: float = 0.6
    cut: float = 30.0


@dataclass(slots=True)
class _Person:
    id: int
    filter: OneEuro
    center: npt.NDArray[np.float32]
    size: float
    seen: float
    since: float


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """A frame and the faces in it.

    Attributes:
        frame: the picture and its time.
        faces: everybody in it.
        cut: whether a new scene begins here.
    """

    frame: Frame
    faces: tuple[Face, ...]
    cut: bool


class FaceFollower:
    """Follows people frame by frame, without looking ahead (for live use)."""

    def __init__(self, tracker: LandmarkTracker, settings: FollowSettings | None = None) -> None:
        self._tracker = tracker
        self.settings = settings or FollowSettings()
        self._people: list[_Person] = []
        self._next_id = 1
        self._thumbnail: npt.NDArray[np.int16] | None = None
        self._last: float | None = None
        self.cut = False

    def update(self, image: RGBImage, time: Fraction) -> tuple[Face, ...]:
        """Faces of the next picture, shown at ``time`` seconds. ``cut`` says if a scene began."""
        now = float(time)
        thumbnail = _thumbnail(image)
        jump = self._jumps(thumbnail)
        if jump:
            self._tracker.reset()
        found = self._tracker(image)
        # A moment of black is no cut: the scene that counts is the last one with a face in it.
        self.cut = jump and bool(found)
        if found or self._thumbnail is None:
            self._thumbnail = thumbnail
        if self.cut:
            self._people = []
        faces = []
        free = list(self._people)
        for landmarks in found:
            center = landmarks[:468, :2].mean(0)
            size = float(np.ptp(landmarks[:468, :2], axis=0).max())
            person = self._match(free, center, size)
            if person is None:
                person = self._new_person(center, size, now)
            else:
                free.remove(person)
            faces.append(self._see(person, landmarks, center, size, now))
        self._people = [p for p in self._people if now - p.seen <= self.settings.memory]
        self._last = now
        return tuple(faces)

    def _see(
        self,
        person: _Person,
        landmarks: Landmarks,
        center: npt.NDArray[np.float32],
        size: float,
        now: float,
    ) -> Face:
        away = now - person.seen
        steady = self._last is not None and person.seen >= self._last
        if not steady:
            person.filter.reset()
            if away > self.settings.longest_gap:
                person.since = now
        smooth = person.filter(landmarks, away)
        person.center, person.size, person.seen = center, size, now
        weight = 1.0
        if person.since > 0:
            weight = float(np.clip((now - person.since) / self.settings.fade, 0, 1))
        return Face(person.id, smooth, weight)

    def _match(
        self, free: list[_Person], center: npt.NDArray[np.float32], size: float
    ) -> _Person | None:
        def distance(person: _Person) -> float:
            return float(np.linalg.norm(person.center - center)) / max(person.size, size)

        nearest = min(free, key=distance, default=None)
        return nearest if nearest and distance(nearest) < self.settings.reach else None

    def _new_person(self, center: npt.NDArray[np.float32], size: float, now: float) -> _Person:
        # Whoever is there when a scene begins is there at once; who comes later fades in.
        begins = self._last is None or self.cut
        person = _Person(
            self._next_id, OneEuro(self.settings.smooth), center, size, now, 0.0 if begins else now
        )
        self._next_id += 1
        self._people.append(person)
        return person

    def _jumps(self, thumbnail: npt.NDArray[np.int16]) -> bool:
        before = self._thumbnail
        if before is None:
            return False
        if before.shape != thumbnail.shape:
            return True
        return bool(np.abs(before - thumbnail).mean() > self.settings.cut)


def _thumbnail(image: RGBImage) -> npt.NDArray[np.int16]:
    """About 32 x 32 grey levels of a picture."""
    step_y, step_x = max(1, image.shape[0] // 32), max(1, image.shape[1] // 32)
    return image[step_y // 2 :: step_y, step_x // 2 :: step_x, 1].astype(np.int16)


def follow(
    frames: Iterable[Frame], tracker: LandmarkTracker, settings: FollowSettings | None = None
) -> Iterator[TrackedFrame]:
    """Follow people through a clip, looking a little ahead.

    Gaps of up to ``longest_gap`` are bridged: landmarks are interpolated and the weight dips; an
    edit fades out before a longer gap and in after it. Holds the frames of ``longest_gap + fade``
    seconds at most.
    """
    settings = settings or FollowSettings()
    follower = FaceFollower(tracker, settings)
    ahead: deque[TrackedFrame] = deque()
    past: dict[int, tuple[float, Face]] = {}
    horizon = settings.longest_gap + settings.fade
    for frame in frames:
        faces = follower.update(frame.image, frame.time)
        ahead.append(TrackedFrame(frame, faces, follower.cut))
        while float(frame.time - ahead[0].frame.time) > horizon:
            yield _settle(ahead, past, settings)
            ahead.popleft()
    while ahead:
        yield _settle(ahead, past, settings)
        ahead.popleft()


def _settle(
    ahead: deque[TrackedFrame], past: dict[int, tuple[float, Face]], settings: FollowSettings
) -> TrackedFrame:
    """The first frame of ``ahead`` with gaps bridged and weights faded."""
    tracked = ahead[0]
    now = float(tracked.frame.time)
    if tracked.cut:
        past.clear()
    future, end = _future(ahead)
    faces = []
    for face in tracked.faces:
        past[face.id] = (now, face)
        weight = min(face.weight, _before_gap(now, future.get(face.id, ()), end, settings))
        faces.append(replace(face, weight=weight))
    present = {face.id for face in tracked.faces}
    for key, (before, face) in list(past.items()):
        if key in present:
            continue
        after = next(iter(future.get(key, ())), None)
        if after is None or after[0] - before > settings.longest_gap:
            if now - before > settings.longest_gap:
                del past[key]
            continue
        share = (now - before) / (after[0] - before)
        landmarks = face.landmarks + np.float32(share) * (after[1].landmarks - face.landmarks)
        near = min(now - before, after[0] - now)
        weight = float(np.clip(1 - near / settings.fade, 0, 1)) * min(face.weight, 1.0)
        faces.append(Face(key, landmarks, weight, bridged=True))
    return replace(tracked, faces=tuple(faces))


def _future(
    ahead: deque[TrackedFrame],
) -> tuple[dict[int, list[tuple[float, Face]]], float]:
    """When each person is seen after the first frame, and how far the scene is known."""
    out: dict[int, list[tuple[float, Face]]] = {}
    end = float(ahead[0].frame.time)
    for tracked in itertools.islice(ahead, 1, None):
        if tracked.cut:
            break
        end = float(tracked.frame.time)
        for face in tracked.faces:
            out.setdefault(face.id, []).append((end, face))
    return out, end


def _before_gap(
    now: float, seen: Iterable[tuple[float, Face]], end: float, settings: FollowSettings
) -> float:
    """Weight of a person about to go for longer than can be bridged."""
    last = now
    for time, _ in seen:
        if time - last > settings.longest_gap:
            break
        last = time
    if end - last <= settings.longest_gap:
        return 1.0
    return float(np.clip((last - now) / settings.fade, 0, 1))
