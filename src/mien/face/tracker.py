"""Find faces and follow them: detect, mark, follow by the last landmarks, detect again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mien.face.box import face_square, mesh_distance, plausible
from mien.face.crop import Crop, face_crop
from mien.face.detector import Detection, Detector
from mien.face.landmarker import Landmarker, Marked
from mien.face.search import search, search_lying
from mien.face.types import Landmarks
from mien.media.frame import RGBImage

_PRESENT: Final = 0.5
"""Presence below which a followed face is gone."""

_SURE: Final = 0.7
_DOUBT: Final = 0.15
"""Presence and doubt (eye distances) with which a face is accepted."""

_LOST: Final = 0.3
"""Doubt with which a followed face is dropped."""

_STILL: Final = 0.03
"""Crop sides of motion at which the crop follows wholly; below it lags, and noise stays out."""

_FAST: Final = 0.08
"""Crop sides of motion beyond which a face is looked at again, ``_PASSES`` times in all."""

_PASSES: Final = 4
_SAME: Final = 0.4
_SCAN_EVERY: Final = 25
"""Frames between looks for people who came later, and between doubts."""

_THOROUGH_EVERY: Final = 8
"""Scans between thorough ones, while there is nobody: those are dear."""


@dataclass(slots=True)
class _Watch:
    """One face being followed."""

    landmarks: Landmarks
    crop: Crop


class FaceTracker:
    """Finds and follows up to ``max_faces`` faces; the cost hardly depends on the frame's size.

    Args:
        max_faces: people followed at once; the largest are.
        still: every picture stands alone: slower, more exact, small faces always searched for.
        folder: where the nets are; None: with the package.

    Raises:
        WeightsError: when a net is missing or damaged.
    """

    def __init__(
        self, max_faces: int = 4, still: bool = False, folder: str | Path | None = None
    ) -> None:
        self._max_faces = max_faces
        self._still = still
        self._detector = Detector(folder)
        self._landmarker = Landmarker(folder)
        self.reset()

    def __call__(self, image: RGBImage) -> list[Landmarks]:
        """Return landmarks ``(478, 3)`` of every face, largest first."""
        if self._still:
            found = [watch.landmarks for watch in self._newcomers(image, [])]
        else:
            found = self._follow(image)
        return sorted(found, key=lambda points: -face_square(points).side)

    def reset(self) -> None:
        """Forget the last frame."""
        self._watches: list[_Watch] = []
        self._frames = self._scans = 0

    def close(self) -> None:
        """Forget everything."""
        self.reset()

    def _follow(self, image: RGBImage) -> list[Landmarks]:
        before = len(self._watches)
        due = self._frames % _SCAN_EVERY == 0
        self._frames += 1
        kept: list[_Watch] = []
        for watch in self._watches:
            if not self._look(watch, image, doubting=due):
                continue
            if not any(_same(watch.landmarks, other.landmarks) for other in kept):
                kept.append(watch)
        self._watches = kept
        if due or not kept or len(kept) < before:
            self._watches += self._newcomers(image, [w.landmarks for w in kept])
        return [watch.landmarks for watch in self._watches]

    def _newcomers(self, image: RGBImage, known: list[Landmarks]) -> list[_Watch]:
        """Faces not ``known``."""
        free = self._max_faces - len(known)
        if free <= 0:
            return []
        thorough = self._still or (not known and self._scans % _THOROUGH_EVERY == 0)
        self._scans = 0 if known else self._scans + 1
        out = self._accepted(image, search(image, self._detector, thorough=thorough), known)
        if thorough and not out and not known:
            out = self._accepted(image, search_lying(image, self._detector), known)
        if out:
            self._scans = 0
        return out[:free]

    def _accepted(
        self, image: RGBImage, detections: list[Detection], known: list[Landmarks]
    ) -> list[_Watch]:
        """Which of the detections are faces not ``known``; at most as many as are followed."""
        out: list[_Watch] = []
        for detection in detections:
            if len(out) == self._max_faces:
                break
            others = [*known, *(watch.landmarks for watch in out)]
            if any(detection.square.near(face_square(other), 0.6) for other in others):
                continue
            watch = self._accept(image, detection)
            if watch is not None and not any(_same(watch.landmarks, other) for other in others):
                out.append(watch)
        return out

    def _accept(self, image: RGBImage, detection: Detection) -> _Watch | None:
        """A face that the detector saw, if it is one."""
        crop = detection.crop()
        marked: Marked | None = None
        for _ in range(2):  # the second time from where the face really is
            marked = self._landmarker.mark_twice(image, crop)
            if marked.presence < _PRESENT or not plausible(marked.landmarks, *image.shape[:2]):
                return None
            crop = face_crop(marked.landmarks)
        if marked is None or marked.presence < _SURE or marked.doubt > _DOUBT:
            return None
        return _Watch(marked.landmarks, crop)

    def _look(self, watch: _Watch, image: RGBImage, *, doubting: bool) -> bool:
        """Whether the watched face is in ``image``; its landmarks and crop follow it."""
        if doubting:
            twice = self._landmarker.mark_twice(image, watch.crop)
            # A head turned far away is followed longer than it can be found anew.
            if twice.doubt > _LOST or twice.presence < _PRESENT:
                return False
        for _ in range(_PASSES):
            marked = self._landmarker.mark(image, watch.crop)
            if marked.presence < _PRESENT or not plausible(marked.landmarks, *image.shape[:2]):
                return False
            aim = face_crop(marked.landmarks)
            moved = _motion(watch.crop, aim)
            watch.landmarks = marked.landmarks
            watch.crop = _between(watch.crop, aim, min(1.0, moved / _STILL))
            if moved < _FAST:
                break
        return True


def _motion(a: Crop, b: Crop) -> float:
    """How far apart two crops are, crop sides; a turn or growth counts by what it moves."""
    shift = ((a.x - b.x) ** 2 + (a.y - b.y) ** 2) ** 0.5 / a.side
    return shift + abs(b.side / a.side - 1) / 2 + abs(_turn(a, b)) / 2


def _between(a: Crop, b: Crop, share: float) -> Crop:
    def mixed(x: float, y: float) -> float:
        return x + share * (y - x)

    angle = a.angle + share * _turn(a, b)
    return Crop(mixed(a.x, b.x), mixed(a.y, b.y), mixed(a.side, b.side), angle)


def _turn(a: Crop, b: Crop) -> float:
    """Radians from one crop's lean to the other's, the short way round."""
    return math.remainder(b.angle - a.angle, 2 * math.pi)


def _same(a: Landmarks, b: Landmarks) -> bool:
    if mesh_distance(a, b) < _SAME:
        return True
    return face_square(a).near(face_square(b), _SAME)
