"""Track the faces of a video: detect, locate landmarks, follow them, detect again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mien.face.crop import Crop, Square, face_crop, face_square, is_plausible, mesh_distance
from mien.face.detector import Detection, Detector, search, search_rotated
from mien.face.landmarker import Landmarker, Located
from mien.face.topology import Landmarks
from mien.media.frame import Image, Picture, as_picture

_MIN_PRESENCE: Final = 0.5
"""Presence below which a tracked face counts as gone."""

_MIN_NEW_PRESENCE: Final = 0.7
_MAX_NEW_DISAGREEMENT: Final = 0.15
"""Presence and disagreement (eye distances) at which a new face is accepted."""

_MAX_DISAGREEMENT: Final = 0.3
"""Disagreement at which a tracked face is dropped; a head turned far away is tracked longer than
it could be found anew."""

_STILL: Final = 0.03
"""Motion, crop sides, at which the crop follows fully; below, it lags, which suppresses noise."""

_FAST: Final = 0.08
"""Motion, crop sides, beyond which a face is located again, at most ``_PASSES`` times in all."""

_PASSES: Final = 4

_READ: Final = 1.2
"""Side, crop sides, of what is read at once: the crops of all nets, and all that an edit moves."""

_SAME: Final = 0.4
"""Mesh distance (eye distances) and centre distance (face sizes) below which faces are the same."""

_KNOWN: Final = 0.6
"""Centre distance (face sizes) below which a detection belongs to a tracked face."""

_SCAN_EVERY: Final = 25
"""Frames between searches for new people, and between verifications of tracked ones."""

_THOROUGH_EVERY: Final = 8
"""While there is nobody, every how many searches one is thorough, which is expensive."""


@dataclass(slots=True)
class _Track:
    landmarks: Landmarks
    crop: Crop


class FaceTracker:
    """Tracks up to ``max_faces`` faces; the cost hardly depends on the size of the frame.

    Args:
        max_faces: number of faces tracked at once; larger faces take precedence.
        still: treat every image on its own: slower, more exact, always searches for small faces.
        folder: where the nets are; the bundled ones by default.

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

    def __call__(self, image: Image) -> list[Landmarks]:
        """Return landmarks ``(478, 3)`` of every face, largest first."""
        picture = as_picture(image)
        tracks = self._new_tracks(picture, []) if self._still else self._follow(picture)
        found = [track.landmarks for track in tracks]
        return sorted(found, key=lambda points: -face_square(points).side)

    def reset(self) -> None:
        """Forget the previous frames."""
        self._tracks: list[_Track] = []
        self._frames = self._scans = 0

    def close(self) -> None:
        """Forget everything."""
        self.reset()

    def _follow(self, image: Picture) -> list[_Track]:
        before = len(self._tracks)
        due = self._frames % _SCAN_EVERY == 0
        self._frames += 1
        kept: list[_Track] = []
        for track in self._tracks:
            if not self._update(track, image, verify=due):
                continue
            if not any(_same(track.landmarks, other.landmarks) for other in kept):
                kept.append(track)
        self._tracks = kept
        if due or not kept or len(kept) < before:
            self._tracks = kept + self._new_tracks(image, [track.landmarks for track in kept])
        return self._tracks

    def _new_tracks(self, image: Picture, known: list[Landmarks]) -> list[_Track]:
        """Search for faces other than ``known``."""
        free = self._max_faces - len(known)
        if free <= 0:
            return []
        thorough = self._still or (not known and self._scans % _THOROUGH_EVERY == 0)
        self._scans = 0 if known else self._scans + 1
        out = self._accepted(image, search(image, self._detector, thorough=thorough), known)
        if thorough and not out and not known:
            out = self._accepted(image, search_rotated(image, self._detector), known)
        if out:
            self._scans = 0
        return out[:free]

    def _accepted(
        self, image: Picture, detections: list[Detection], known: list[Landmarks]
    ) -> list[_Track]:
        """Return detections that are faces other than ``known``, at most ``max_faces``."""
        out: list[_Track] = []
        for detection in detections:
            if len(out) == self._max_faces:
                break
            others = [*known, *(track.landmarks for track in out)]
            if any(detection.square.near(face_square(other), _KNOWN) for other in others):
                continue
            track = self._accept(image, detection)
            if track is not None and not any(_same(track.landmarks, other) for other in others):
                out.append(track)
        return out

    def _accept(self, image: Picture, detection: Detection) -> _Track | None:
        """Return a track of the detection, if it is a face."""
        crop = detection.crop()
        found: Located | None = None
        for _ in range(2):  # the second pass is centred on the landmarks of the first
            found = self._landmarker.locate_mirrored(image, crop)
            if not _present(found, image):
                return None
            crop = face_crop(found.landmarks)
        if (
            found is None
            or found.presence < _MIN_NEW_PRESENCE
            or found.disagreement > _MAX_NEW_DISAGREEMENT
        ):
            return None
        return _Track(found.landmarks, crop)

    def _update(self, track: _Track, image: Picture, *, verify: bool) -> bool:
        """Move a track to its face in ``image``; return whether the face is there."""
        if verify:
            found = self._landmarker.locate_mirrored(image, track.crop)
            if found.disagreement > _MAX_DISAGREEMENT or found.presence < _MIN_PRESENCE:
                return False
        square = Square(track.crop.x, track.crop.y, _READ * track.crop.side)
        image.read(square.box().within(image.box))
        for _ in range(_PASSES):
            found = self._landmarker.locate(image, track.crop)
            if not _present(found, image):
                return False
            target = face_crop(found.landmarks)
            moved = _motion(track.crop, target)
            track.landmarks = found.landmarks
            track.crop = _interpolated(track.crop, target, min(1.0, moved / _STILL))
            if moved < _FAST:
                break
        return True


def _present(found: Located, image: Picture) -> bool:
    return found.presence >= _MIN_PRESENCE and is_plausible(
        found.landmarks, image.height, image.width
    )


def _motion(a: Crop, b: Crop) -> float:
    """Return how much two crops differ in place, size and rotation, in crop sides."""
    shift = ((a.x - b.x) ** 2 + (a.y - b.y) ** 2) ** 0.5 / a.side
    return shift + abs(b.side / a.side - 1) / 2 + abs(_rotation(a, b)) / 2


def _interpolated(a: Crop, b: Crop, share: float) -> Crop:
    def mixed(x: float, y: float) -> float:
        return x + share * (y - x)

    angle = a.angle + share * _rotation(a, b)
    return Crop(mixed(a.x, b.x), mixed(a.y, b.y), mixed(a.side, b.side), angle)


def _rotation(a: Crop, b: Crop) -> float:
    """Return the shorter rotation from one crop to the other, radians."""
    return math.remainder(b.angle - a.angle, 2 * math.pi)


def _same(a: Landmarks, b: Landmarks) -> bool:
    return mesh_distance(a, b) < _SAME or face_square(a).near(face_square(b), _SAME)
