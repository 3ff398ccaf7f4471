"""Follow people over time: identities, cuts, gaps without a face, and smooth landmarks."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from mien.face.topology import EYES, LANDMARK_COUNT, LIPS, MESH_POINTS, Landmarks
from mien.media.frame import Frame, Image, as_picture

Array = npt.NDArray[np.float64]

_CUTOFF_HZ: Final = 2.5
_FAST_CUTOFF_HZ: Final = 6.0
"""Cutoffs of the landmark filter at rest; the second for lips, lids and irises, which move fast."""

_SPEED_CUTOFF_HZ: Final = 4.0
"""Additional cutoff per eye distance and second."""

_DERIVATIVE_CUTOFF_HZ: Final = 1.5
"""Cutoff of the speed estimate."""

_LONGEST_GAP: Final = 0.5
"""Seconds without a face that are bridged."""

_FADE: Final = 0.2
"""Seconds over which an edit fades out before a longer gap, and in after it."""

_MEMORY: Final = 3.0
"""Seconds after which an absent person gets a new id."""

_REACH: Final = 0.6
"""How far a face may move between frames, in face sizes."""

_CUT: Final = 30.0
"""Mean change of a thumbnail, grey levels, that counts as a cut."""


@dataclass(frozen=True, slots=True)
class Face:
    """One person's face in one frame.

    Attributes:
        id: constant over the clip: a person keeps it, also after a short absence.
        landmarks: smoothed, ``float32 (478, 3)`` pixels.
        weight: strength at which an edit shows, 0..1; below 1 where the face appears or disappears.
        bridged: True where the face was not seen and the landmarks are interpolated over a gap.
    """

    id: int
    landmarks: Landmarks
    weight: float = 1.0
    bridged: bool = False


class LandmarkTracker(Protocol):
    """Finds the faces of one frame after another. One instance per clip; not thread-safe."""

    def __call__(self, image: Image) -> list[Landmarks]:
        """Return the raw landmarks of every face in ``image``, largest face first."""

    def reset(self) -> None:
        """Forget the previous frames (after a cut or a seek)."""

    def close(self) -> None:
        """Release the nets."""


class OneEuro:
    """One-Euro filter of a face's landmarks (Casiez et al., CHI 2012).

    It smooths strongly while the face is at rest and little while it moves. Use a new one (or
    ``reset``) after a cut.
    """

    def __init__(self) -> None:
        cutoff = np.full((LANDMARK_COUNT, 1), _CUTOFF_HZ)
        eyes = [p for e in EYES.values() for p in (*e.upper_lid, *e.lower_lid, *e.iris)]
        cutoff[[*LIPS, *eyes]] = _FAST_CUTOFF_HZ
        self._cutoff: Array = cutoff
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._value: Array | None = None
        self._speed: Array | None = None

    def __call__(self, landmarks: Landmarks, elapsed: float) -> Landmarks:
        """Filter ``landmarks`` ``(478, 3)`` pixels, ``elapsed`` seconds after the previous ones."""
        now = landmarks.astype(np.float64)
        if self._value is None or self._speed is None or elapsed <= 0:
            self._value, self._speed = now, np.zeros_like(now)
            return landmarks.copy()
        size = max(float(np.linalg.norm(now[33, :2] - now[263, :2])) * 0.7, 1e-3)
        speed = (now - self._value) / (elapsed * size)
        self._speed += _alpha(_DERIVATIVE_CUTOFF_HZ, elapsed) * (speed - self._speed)
        pace = np.linalg.norm(self._speed[:, :2], axis=1, keepdims=True)
        cutoff = self._cutoff + _SPEED_CUTOFF_HZ * pace
        self._value = self._value + _alpha(cutoff, elapsed) * (now - self._value)
        return self._value.astype(np.float32)


def _alpha(cutoff: float | Array, elapsed: float) -> Array:
    """Return the weight of the new value in a first-order low-pass filter."""
    rate = 2 * np.pi * np.asarray(cutoff) * elapsed
    out: Array = rate / (rate + 1)
    return out


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
        frame: the image and its time.
        faces: everybody in it.
        cut: whether a new scene begins here.
    """

    frame: Frame
    faces: tuple[Face, ...]
    cut: bool


class FaceFollower:
    """Follows people frame by frame, without look-ahead (for live use).

    ``cut`` is True when the last frame began a new scene.
    """

    def __init__(self, tracker: LandmarkTracker) -> None:
        self._tracker = tracker
        self._people: list[_Person] = []
        self._next_id = 1
        self._thumbnail: npt.NDArray[np.int16] | None = None
        self._last: float | None = None
        self.cut = False

    def update(self, image: Image, time: Fraction) -> tuple[Face, ...]:
        """Return the faces of the next image, shown at ``time`` seconds."""
        now = float(time)
        thumbnail = as_picture(image).thumbnail()
        jump = self._jumps(thumbnail)
        if jump:
            self._tracker.reset()
        found = self._tracker(image)
        # A few black frames are no cut: compare with the last frame that showed a face.
        self.cut = jump and bool(found)
        if found or self._thumbnail is None:
            self._thumbnail = thumbnail
        if self.cut:
            self._people = []
        faces = []
        free = list(self._people)
        for landmarks in found:
            center = landmarks[:MESH_POINTS, :2].mean(0)
            size = float(np.ptp(landmarks[:MESH_POINTS, :2], axis=0).max())
            person = self._match(free, center, size)
            if person is None:
                person = self._new_person(center, size, now)
            else:
                free.remove(person)
            faces.append(self._update(person, landmarks, center, size, now))
        self._people = [p for p in self._people if now - p.seen <= _MEMORY]
        self._last = now
        return tuple(faces)

    def _update(
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
            if away > _LONGEST_GAP:
                person.since = now
        smooth = person.filter(landmarks, away)
        person.center, person.size, person.seen = center, size, now
        weight = 1.0
        if person.since > 0:
            weight = float(np.clip((now - person.since) / _FADE, 0, 1))
        return Face(person.id, smooth, weight)

    def _match(
        self, free: list[_Person], center: npt.NDArray[np.float32], size: float
    ) -> _Person | None:
        def distance(person: _Person) -> float:
            return float(np.linalg.norm(person.center - center)) / max(person.size, size)

        nearest = min(free, key=distance, default=None)
        return nearest if nearest and distance(nearest) < _REACH else None

    def _new_person(self, center: npt.NDArray[np.float32], size: float, now: float) -> _Person:
        # People present when a scene begins show at once; later ones fade in.
        begins = self._last is None or self.cut
        person = _Person(self._next_id, OneEuro(), center, size, now, 0.0 if begins else now)
        self._next_id += 1
        self._people.append(person)
        return person

    def _jumps(self, thumbnail: npt.NDArray[np.int16]) -> bool:
        before = self._thumbnail
        if before is None:
            return False
        if before.shape != thumbnail.shape:
            return True
        return bool(np.abs(before - thumbnail).mean() > _CUT)


def follow(frames: Iterable[Frame], tracker: LandmarkTracker) -> Iterator[TrackedFrame]:
    """Follow people through a clip with a short look-ahead.

    Gaps of up to half a second are bridged: landmarks are interpolated and the weight dips. An
    edit fades out before a longer gap and in after it. Holds at most the frames of
    0.7 seconds.
    """
    follower = FaceFollower(tracker)
    ahead: deque[TrackedFrame] = deque()
    past: dict[int, tuple[float, Face]] = {}
    horizon = _LONGEST_GAP + _FADE
    for frame in frames:
        faces = follower.update(frame.picture, frame.time)
        ahead.append(TrackedFrame(frame, faces, follower.cut))
        while float(frame.time - ahead[0].frame.time) > horizon:
            yield _settled(ahead, past)
            ahead.popleft()
    while ahead:
        yield _settled(ahead, past)
        ahead.popleft()


def _settled(ahead: deque[TrackedFrame], past: dict[int, tuple[float, Face]]) -> TrackedFrame:
    """Return the first frame of ``ahead`` with gaps bridged and weights faded."""
    tracked = ahead[0]
    now = float(tracked.frame.time)
    if tracked.cut:
        past.clear()
    future, end = _future(ahead)
    faces = []
    for face in tracked.faces:
        past[face.id] = (now, face)
        weight = min(face.weight, _before_gap(now, future.get(face.id, ()), end))
        faces.append(replace(face, weight=weight))
    present = {face.id for face in tracked.faces}
    for key, (before, face) in list(past.items()):
        if key in present:
            continue
        after = next(iter(future.get(key, ())), None)
        if after is None or after[0] - before > _LONGEST_GAP:
            if now - before > _LONGEST_GAP:
                del past[key]
            continue
        share = (now - before) / (after[0] - before)
        landmarks = face.landmarks + np.float32(share) * (after[1].landmarks - face.landmarks)
        near = min(now - before, after[0] - now)
        weight = float(np.clip(1 - near / _FADE, 0, 1)) * min(face.weight, 1.0)
        faces.append(Face(key, landmarks, weight, bridged=True))
    return replace(tracked, faces=tuple(faces))


def _future(ahead: deque[TrackedFrame]) -> tuple[dict[int, list[tuple[float, Face]]], float]:
    """Return when each person is seen after the first frame, and the scene's last known time."""
    out: dict[int, list[tuple[float, Face]]] = {}
    end = float(ahead[0].frame.time)
    for tracked in itertools.islice(ahead, 1, None):
        if tracked.cut:
            break
        end = float(tracked.frame.time)
        for face in tracked.faces:
            out.setdefault(face.id, []).append((end, face))
    return out, end


def _before_gap(now: float, seen: Iterable[tuple[float, Face]], end: float) -> float:
    """Return the weight of a person before a gap that is too long to be bridged."""
    last = now
    for time, _ in seen:
        if time - last > _LONGEST_GAP:
            break
        last = time
    if end - last <= _LONGEST_GAP:
        return 1.0
    return float(np.clip((last - now) / _FADE, 0, 1))
