"""Motion for EDTalk in windows of 25 frames per second, whatever the clip's own rate.

Frames keep their times; only the *motion* is resampled. A window is a fifth of a second: the
connector reads five expressions in it and returns how they change. Every person is drawn from one
source picture of the same clip, never from a drawn one, so that nothing drifts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mien.cmet.semantic import WINDOW, Connect
from mien.emotion.resolve_edtalk import SemanticTarget
from mien.engines.edtalk.framing import face_mask, match_colour, paste, training_crop
from mien.engines.edtalk.settings import FRAMES_PER_SECOND
from mien.face.crop import Crop
from mien.face.follow import Face
from mien.face.pose import Motion
from mien.face.topology import LEFT_EYE, RIGHT_EYE, Landmarks
from mien.media.frame import Frame, Picture, RGBImage
from mien.pipelines.footage import Footage, FrameFaces
from mien.utils.numeric import interpolate_rows, smoothstep

if TYPE_CHECKING:
    from mien.engines.backbone import Backbone

Codes = npt.NDArray[np.float32]

WINDOWS_PER_SECOND: Final = FRAMES_PER_SECOND // WINDOW
_OPAQUE: Final = 0.1
"""Strength from which a face is replaced entirely; below it the frame's own pixels show through."""


class SourceFrames:
    """The source picture of every person: facing the camera, eyes open, mouth closed.

    Taken from a first look at the clip, or, for a person who is not in it, from the frame in which
    they first appear.

    Args:
        engine: encodes source pictures.
        footage: the clip to look at; None to take every person's first frame.
    """

    def __init__(self, engine: Backbone, footage: Footage | None = None) -> None:
        self._engine = engine
        self._look = None if footage is None else footage.first_look(self._read)
        self._known: dict[int, Any] = {}

    def of(self, face: Face, crop: RGBImage) -> Any:  # noqa: ANN401 - the backbone's own
        """Return the source of a person; ``crop`` is what they look like now."""
        if face.id not in self._known:
            samples = [] if self._look is None else self._look.of(face)
            _, best = min(samples, key=lambda sample: sample[0], default=(0.0, crop))
            self._known[face.id] = self._engine.source(best)
        return self._known[face.id]

    def _read(self, image: Picture, landmarks: Landmarks) -> tuple[float, RGBImage]:
        crop = training_crop(landmarks).cut(image, self._engine.pixels, replicate_edges=True)
        return _unrest(landmarks), crop


def _unrest(landmarks: Landmarks) -> float:
    """Return how far a face is from facing the camera, eyes open, mouth closed; 0 is best."""
    points = landmarks[:, :2]
    right, left = (points[list(eye.corners)] for eye in (RIGHT_EYE, LEFT_EYE))
    between = float(np.linalg.norm(right.mean(0) - left.mean(0))) + 1e-6
    mouth = float(np.linalg.norm(points[13] - points[14])) / between
    lids = [np.linalg.norm(points[a] - points[b]) / between for a, b in ((159, 145), (386, 374))]
    middle = (right.mean(0) + left.mean(0)) / 2
    across = (left.mean(0) - right.mean(0)) / between
    turned = abs(float((points[1] - middle) @ across)) / between
    return mouth + turned + 2 * max(0.0, 0.12 - float(min(lids)))


_Reading = tuple[Crop, RGBImage, Motion]
"""Crop of a face, its pixels, and the motion read from them."""


@dataclass(slots=True)
class _Person:
    """Source picture, the connector's last change, and the time and value of its last row."""

    source: Any
    reference: Codes
    before: tuple[float, Codes] | None = None


class Mover:
    """Moves the chosen faces of a clip, window by window.

    Args:
        engine: reads and draws faces.
        connect: the connector, ``(reference (5, D), vector (S,), expression (5, D)) -> (5, D)``.
        target_at: the emotion that is asked for at a time in seconds.
        sources: the source picture of every person.
        lips: lip coefficients of a voice ``(T, lip)`` at 25 frames per second; None keeps the
            clip's own.
        marked: puts the mark into the face of a picture that was drawn on.
    """

    def __init__(
        self,
        engine: Backbone,
        connect: Connect,
        target_at: Callable[[float], SemanticTarget],
        sources: SourceFrames,
        lips: Codes | None = None,
        marked: Callable[[Picture, Face], Picture] = lambda picture, _: picture,
    ) -> None:
        self._engine, self._connect, self._target_at = engine, connect, target_at
        self._marked = marked
        self._sources, self._lips = sources, lips
        self._people: dict[int, _Person] = {}
        self._last_read: dict[int, tuple[Picture, _Reading]] = {}

    def move(self, frames: Iterable[FrameFaces]) -> Iterator[Frame]:
        """Yield the frames with their faces moved, in order; holds one window of them."""
        window: list[FrameFaces] = []
        for item in frames:
            if window and _window_of(item.frame.time) != _window_of(window[0].frame.time):
                yield from self._move_window(window)
                window = []
            window.append(item)
        if window:
            yield from self._move_window(window)

    def _move_window(self, window: list[FrameFaces]) -> Iterator[Frame]:
        images = [frame.picture for frame, _ in window]
        people = dict.fromkeys(face.id for _, faces in window for face in faces)
        for person in people:
            here = [
                (i, face)
                for i, (_, faces) in enumerate(window)
                for face in faces
                if face.id == person
            ]
            self._move_person(here, [float(frame.time) for frame, _ in window], images)
        for (frame, _), image in zip(window, images, strict=True):
            yield replace(frame, picture=image, original=frame.picture)

    def _move_person(
        self, here: list[tuple[int, Face]], times: list[float], images: list[Picture]
    ) -> None:
        """Replace one person in the ``images`` that show them."""
        at = np.array([times[i] for i, _ in here])
        targets = [self._target_at(time) for time in at.tolist()]
        if self._lips is None and not any(target.weight > 0 for target in targets):
            return
        read = self._read([(images[i], face) for i, face in here])
        motions = [motion for _, _, motion in read]
        person = self._person(here[0][1], read[0][1])
        changes = self._changes(person, at, motions, targets)
        moved = [
            Motion(self._lip(time, motion), motion.pose, motion.expression + change)
            for time, motion, change in zip(at.tolist(), motions, changes, strict=True)
        ]
        drawn = self._engine.draw(person.source, moved)
        for (i, face), target, (crop, own, _), picture in zip(
            here, targets, read, drawn, strict=True
        ):
            weight = face.weight * (1.0 if self._lips is not None else _opacity(target.weight))
            mask = face_mask(face.landmarks, crop, self._engine.pixels)
            side = picture.shape[0]
            own = own if side == own.shape[0] else crop.cut(images[i], side, replicate_edges=True)
            wide = mask if side == len(mask) else face_mask(face.landmarks, crop, side)
            pasted = paste(images[i], match_colour(picture, own, wide), crop, mask, weight)
            images[i] = self._marked(pasted, face) if weight > 0 else pasted

    def _read(self, seen: list[tuple[Picture, Face]]) -> list[_Reading]:
        """Read one person in several images; an image that repeats is read once."""
        person = seen[0][1].id
        last = self._last_read.get(person)
        if last is not None and all(image is last[0] for image, _ in seen):
            return [last[1]] * len(seen)
        distinct = seen[:1] if all(image is seen[0][0] for image, _ in seen) else seen
        crops = [training_crop(face.landmarks) for _, face in distinct]
        cut = [
            crop.cut(image, self._engine.pixels, replicate_edges=True)
            for crop, (image, _) in zip(crops, distinct, strict=True)
        ]
        read = list(zip(crops, cut, self._engine.motion(np.stack(cut)), strict=True))
        self._last_read[person] = (seen[-1][0], read[-1])
        return read if len(read) == len(seen) else read * len(seen)

    def _person(self, face: Face, crop: RGBImage) -> _Person:
        if face.id not in self._people:
            rest = np.zeros((WINDOW, self._engine.expression_dim), np.float32)
            self._people[face.id] = _Person(self._sources.of(face, crop), rest)
        return self._people[face.id]

    def _changes(
        self,
        person: _Person,
        at: npt.NDArray[np.float64],
        motions: list[Motion],
        targets: list[SemanticTarget],
    ) -> Codes:
        """Return how the expression changes at every frame, ``(T, D)``."""
        own = np.stack([motion.expression for motion in motions])
        delta = self._connected(person, at, own, targets)
        strength = np.array([target.strength for target in targets], np.float32)[:, None]
        out: Codes = strength * delta
        for row, target in enumerate(targets):
            for code, share in target.coefficients:
                out[row] += np.float32(share) * (code - own[row])
        return out

    def _connected(
        self,
        person: _Person,
        at: npt.NDArray[np.float64],
        own: Codes,
        targets: list[SemanticTarget],
    ) -> Codes:
        """Return the connector's change at every frame at full strength, ``(T, D)``."""
        vectors = [target.vector for target in targets if target.vector is not None]
        if not vectors:
            person.reference = np.zeros_like(person.reference)
            person.before = None
            return np.zeros_like(own)
        start = _window_of(Fraction(at[0])) / WINDOWS_PER_SECOND
        grid = start + np.arange(WINDOW) / FRAMES_PER_SECOND
        delta = self._connect(
            person.reference, vectors[len(vectors) // 2], interpolate_rows(grid, at, own)
        ).astype(np.float32)
        person.reference = delta
        known, values = grid, delta
        if person.before is not None:
            known = np.concatenate([[person.before[0]], grid])
            values = np.concatenate([person.before[1][None], delta])
        person.before = (float(grid[-1]), delta[-1])
        return interpolate_rows(at, known, values)

    def _lip(self, time: float, motion: Motion) -> Codes:
        if self._lips is None or not len(self._lips):
            return motion.lip
        # A frame of the voice's track stands for the 40 ms that begin with it.
        track = np.arange(len(self._lips)) / FRAMES_PER_SECOND
        return interpolate_rows(np.array([time]), track, self._lips)[0]


def _window_of(time: Fraction) -> int:
    # Times of a file at 25 frames per second may be a hair early.
    return int(time * WINDOWS_PER_SECOND + Fraction(1, 1000))


def _opacity(strength: float) -> float:
    share = min(1.0, strength / _OPAQUE)
    out: float = smoothstep(share)
    return out
