"""Follow people over time: identities, cuts, gaps without a face, and smooth landmarks."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from mien.face.people import People, Person
from mien.face.recognition import Appearance, appearance
from mien.face.topology import EYES, LANDMARK_COUNT, LIPS, Landmarks
from mien.media.frame import Frame, Image, as_picture

Array = npt.NDArray[np.float64]

_CUTOFF_HZ: Final = 2.5
_FAST_CUTOFF_HZ: Final = 6.0
"""Cutoffs of the landmark filter at rest; the second for lips, lids and irises, which move fast."""

_SPEED_CUTOFF_HZ: Final = 4.0
"""Additional cutoff per eye distance and second."""

_JUMP: Final = (0.015, 0.05)
"""Distances from the smoothed place, eye distances, between which lips, lids and irises cease to be
smoothed: a mouth shuts within one frame."""

_DERIVATIVE_CUTOFF_HZ: Final = 1.5
"""Cutoff of the speed estimate."""

_LONGEST_GAP: Final = 0.5
"""Seconds without a face that are bridged."""

_Seen = list[tuple[float, "Face | None"]]
"""Times (seconds) and the face; None at the first time at which another one covers it."""

_MOST_PIXELS_AHEAD: Final = 100_000_000
"""Pixels of all frames that are looked ahead at; 12 frames of 4K, 3 of 8K."""

_FADE: Final = 0.2
"""Seconds over which an edit fades out before a longer gap, and in after it."""

_CUT: Final = 30.0
"""Mean change of a thumbnail, grey levels, that counts as a cut."""


@dataclass(frozen=True, slots=True)
class Face:
    """One person's face in one frame.

    Attributes:
        id: constant over the clip: a person keeps it, also after an absence or a cut.
        landmarks: smoothed, ``float32 (478, 3)`` pixels.
        weight: strength at which an edit shows, 0..1; below 1 where the face appears or disappears.
        bridged: True where the face was not seen and the landmarks are interpolated over a gap.
        look: the person's appearance as far as it is known.
    """

    id: int
    landmarks: Landmarks
    weight: float = 1.0
    bridged: bool = False
    look: Appearance | None = None


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
        self._fast = [*LIPS, *eyes]
        cutoff[self._fast] = _FAST_CUTOFF_HZ
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
        share = _alpha(cutoff, elapsed)
        jump = np.linalg.norm((now - self._value)[self._fast, :2], axis=1, keepdims=True) / size
        share[self._fast] = np.maximum(share[self._fast], np.interp(jump, _JUMP, (0, 1)))
        self._value = self._value + share * (now - self._value)
        return self._value.astype(np.float32)


def _alpha(cutoff: float | Array, elapsed: float) -> Array:
    """Return the weight of the new value in a first-order low-pass filter."""
    rate = 2 * np.pi * np.asarray(cutoff) * elapsed
    out: Array = rate / (rate + 1)
    return out


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """A frame and the faces in it.

    Attributes:
        frame: the image and its time.
        faces: everybody in it.
        cut: whether a new scene begins here.
        covered: ids of the people who are here but behind others, or cannot be told from them.
    """

    frame: Frame
    faces: tuple[Face, ...]
    cut: bool
    covered: frozenset[int] = frozenset()


class FaceFollower:
    """Follows people frame by frame, without look-ahead (for live use).

    Attributes:
        cut: whether the last frame began a new scene.
        covered: ids of the people who are in the last frame but behind others.
        revoked: ids that the last frame showed to have been wrong since the given time, seconds.
    """

    def __init__(self, tracker: LandmarkTracker) -> None:
        self._tracker = tracker
        self._people = People()
        self._filters: dict[int, OneEuro] = {}
        self._seen: dict[int, float] = {}
        self._thumbnail: npt.NDArray[np.int16] | None = None
        self._last: float | None = None
        self.cut = False
        self.covered: frozenset[int] = frozenset()
        self.revoked: Mapping[int, float] = {}

    def update(self, image: Image, time: Fraction) -> tuple[Face, ...]:
        """Return the faces of the next image, shown at ``time`` seconds."""
        now = float(time)
        picture = as_picture(image)
        thumbnail = picture.thumbnail()
        change = self._change(thumbnail)
        if change > _CUT:
            self._tracker.reset()
        found = self._tracker(picture)
        # A few black frames are no cut: compare with the last frame that showed a face.
        cut = change > _CUT and bool(found)
        if found or self._thumbnail is None:
            self._thumbnail = thumbnail
        sighting = self._people.see(
            found,
            lambda landmarks: appearance(picture, landmarks),
            now,
            thumbnail,
            cut=cut,
            change=change,
        )
        self.cut = cut or sighting.new_scene
        self.covered, self.revoked = sighting.covered, sighting.revoked
        faces = tuple(
            self._face(person, landmarks, now)
            for person, landmarks in zip(sighting.people, found, strict=True)
            if person is not None
        )
        self._last = now
        return faces

    def _face(self, person: Person, landmarks: Landmarks, now: float) -> Face:
        smoother = self._filters.setdefault(person.id, OneEuro())
        before = self._seen.get(person.id, now)
        if self.cut or before != self._last:
            smoother.reset()
        smooth = smoother(landmarks, now - before)
        self._seen[person.id] = now
        weight = float(np.clip((now - person.since) / _FADE, 0, 1))
        return Face(person.id, smooth, weight, look=person.look)

    def _change(self, thumbnail: npt.NDArray[np.int16]) -> float:
        """Return the mean change since the last frame with a face, grey levels."""
        before = self._thumbnail
        if before is None:
            return 0.0
        if before.shape != thumbnail.shape:
            return np.inf
        return float(np.abs(before - thumbnail).mean())


def follow(frames: Iterable[Frame], tracker: LandmarkTracker) -> Iterator[TrackedFrame]:
    """Follow people through a clip with a short look-ahead.

    Gaps of up to half a second are bridged: landmarks are interpolated and the weight dips. An
    edit fades out before a longer gap, or before another face covers this one, and in after it.
    Holds at most the frames of 0.7 seconds, fewer of very large frames.
    """
    follower = FaceFollower(tracker)
    ahead: deque[TrackedFrame] = deque()
    past: dict[int, tuple[float, Face]] = {}
    horizon = _LONGEST_GAP + _FADE
    for frame in frames:
        faces = follower.update(frame.picture, frame.time)
        for wrong, certain in follower.revoked.items():
            ahead = deque(_without(tracked, wrong, certain) for tracked in ahead)
        ahead.append(TrackedFrame(frame, faces, follower.cut, follower.covered))
        most = _MOST_PIXELS_AHEAD // (frame.picture.width * frame.picture.height)
        while float(frame.time - ahead[0].frame.time) > horizon or len(ahead) > max(most, 2):
            yield _settled(ahead, past)
            ahead.popleft()
    while ahead:
        yield _settled(ahead, past)
        ahead.popleft()


def _without(tracked: TrackedFrame, person: int, certain: float) -> TrackedFrame:
    """Return a frame without a person who was not really there after ``certain`` seconds."""
    if float(tracked.frame.time) <= certain:
        return tracked
    faces = tuple(face for face in tracked.faces if face.id != person)
    return replace(tracked, faces=faces, covered=tracked.covered | {person})


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
        weight = min(face.weight, _before_gap(now, future.get(face.id, []), end))
        faces.append(replace(face, weight=weight))
    present = {face.id for face in tracked.faces}
    for key, (before, face) in list(past.items()):
        if key in present:
            continue
        covered = key in tracked.covered
        time, after = next(iter(future.get(key, ())), (np.inf, None))
        if covered or after is None or time - before > _LONGEST_GAP:
            if covered or now - before > _LONGEST_GAP:
                del past[key]
            continue
        share = (now - before) / (time - before)
        landmarks = face.landmarks + np.float32(share) * (after.landmarks - face.landmarks)
        near = min(now - before, time - now)
        weight = float(np.clip(1 - near / _FADE, 0, 1)) * min(face.weight, 1.0)
        faces.append(Face(key, landmarks, weight, bridged=True, look=face.look))
    return replace(tracked, faces=tuple(faces))


def _future(ahead: deque[TrackedFrame]) -> tuple[dict[int, _Seen], float]:
    """Return when each person is seen after the first frame, and the scene's last known time."""
    out: dict[int, _Seen] = {}
    hidden: set[int] = set()
    end = float(ahead[0].frame.time)
    for tracked in itertools.islice(ahead, 1, None):
        if tracked.cut:
            break
        end = float(tracked.frame.time)
        faces: dict[int, Face | None] = {face.id: face for face in tracked.faces}
        for key, face in (faces | dict.fromkeys(tracked.covered)).items():
            if key not in hidden:
                out.setdefault(key, []).append((end, face))
        hidden |= tracked.covered
    return out, end


def _before_gap(now: float, seen: _Seen, end: float) -> float:
    """Return the weight of a person before a gap that is not bridged."""
    last = now
    for time, face in seen:
        if face is None:
            end = np.inf
        if face is None or time - last > _LONGEST_GAP:
            break
        last = time
    if end - last <= _LONGEST_GAP:
        return 1.0
    return float(np.clip((last - now) / _FADE, 0, 1))
