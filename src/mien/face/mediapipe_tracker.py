"""Landmarks by MediaPipe FaceMesh. The only module that knows it; an own net replaces it later."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from mien.face.types import Landmarks
from mien.media.frame import RGBImage

if TYPE_CHECKING:
    import numpy.typing as npt

_CROP: Final = 2.2
"""Side of the watched square, face sizes."""

_CROP_PIXELS: Final = 320
_MOVE_AT: Final = 0.10
_RESIZE_AT: Final = 0.25
_RESCAN_FRAMES: Final = 25
_DETECTION_SIDE: Final = 640
_TILES_EVERY: Final = 8
_SMALLEST_FACE: Final = 12.0
"""Eye distance in pixels below which a face is of no use."""


@dataclass(slots=True)
class _Watch:
    """One face being followed: its own mesh graph on its own crop."""

    mesh: Any
    x: int
    y: int
    side: int
    landmarks: Landmarks | None = field(default=None)


class MediaPipeTracker:
    """Finds and follows up to ``max_faces`` faces; the cost does not depend on the frame's size.

    Args:
        max_faces: people followed at once.
        still: every picture stands alone: slower, more exact.
    """

    def __init__(self, max_faces: int = 4, still: bool = False) -> None:
        self._max_faces = max_faces
        self._still = still
        self._watches: list[_Watch] = []
        self._spare: list[Any] = []
        self._since_scan = _RESCAN_FRAMES
        self._scans = 0
        self._solutions = _solutions()
        self._detectors = [
            self._solutions.face_detection.FaceDetection(model, 0.5) for model in (1, 0)
        ]

    def __call__(self, image: RGBImage) -> list[Landmarks]:
        """Return landmarks ``(478, 3)`` of every face, largest first."""
        if self._still:
            self.reset()
        kept: list[_Watch] = []
        for watch in self._watches:
            watch.landmarks = self._look(watch, image)
            if watch.landmarks is None or any(
                _same(watch.landmarks, other.landmarks) for other in kept
            ):
                self._spare.append(watch.mesh)
            else:
                kept.append(watch)
        lost = len(kept) < len(self._watches)
        self._watches = kept
        self._since_scan += 1
        if lost or not kept or self._since_scan > _RESCAN_FRAMES:
            self._scan(image)
        found = [w.landmarks for w in self._watches if w.landmarks is not None]
        return sorted(found, key=_size, reverse=True)

    def reset(self) -> None:
        """Forget the last frame."""
        for watch in self._watches:
            watch.mesh.reset()
            self._spare.append(watch.mesh)
        self._watches = []
        self._since_scan = _RESCAN_FRAMES

    def close(self) -> None:
        """Release the nets."""
        self.reset()
        for graph in (*self._spare, *self._detectors):
            graph.close()
        self._spare, self._detectors = [], []

    def _new_mesh(self) -> Any:  # noqa: ANN401 - the library has no types
        return self._solutions.face_mesh.FaceMesh(
            static_image_mode=self._still,
            max_num_faces=1,
            refine_landmarks=True,
            min_detection_confidence=0.4,
            min_tracking_confidence=0.4,
        )

    def _scan(self, image: RGBImage) -> None:
        """Look for faces that are not followed yet."""
        self._since_scan = 0
        for box in self._detect(image):
            if len(self._watches) >= self._max_faces:
                return
            x, y, side = box
            center = np.array([x + side / 2, y + side / 2])
            if any(
                np.linalg.norm(_center(w.landmarks) - center) < 0.6 * _size(w.landmarks)
                for w in self._watches
                if w.landmarks is not None
            ):
                continue
            mesh = self._spare.pop() if self._spare else self._new_mesh()
            mesh.reset()
            watch = _Watch(mesh, 0, 0, 1)
            self._aim(watch, center, side)
            watch.landmarks = self._look(watch, image)
            if watch.landmarks is not None:  # look again, from where the face really is
                watch.landmarks = self._look(watch, image)
            if watch.landmarks is None or any(
                _same(watch.landmarks, other.landmarks) for other in self._watches
            ):
                self._spare.append(mesh)
            else:
                self._watches.append(watch)

    def _detect(self, image: RGBImage) -> list[tuple[float, float, float]]:
        """Face squares (x, y, side), best first: whole frame, then ever smaller tiles."""
        height, width = image.shape[:2]
        # Tiles are dear: a clip without a face is searched for small ones only now and then.
        thorough = self._still or self._scans % _TILES_EVERY == 0
        self._scans += 1
        for tiles in (1, 2, 3) if thorough else (1,):
            side_x, side_y = width * 2 / (tiles + 1), height * 2 / (tiles + 1)
            if min(side_x, side_y) < 64 and tiles > 1:
                break
            found: list[tuple[float, float, float, float]] = []
            for row in range(tiles):
                for column in range(tiles):
                    x0 = round(column * side_x / 2) if tiles > 1 else 0
                    y0 = round(row * side_y / 2) if tiles > 1 else 0
                    part = image[y0 : y0 + round(side_y), x0 : x0 + round(side_x)]
                    found += [(x + x0, y + y0, s, c) for x, y, s, c in self._detect_in(part)]
            if found:
                self._scans = 0
                found.sort(key=lambda f: -f[3])
                return [(x, y, s) for x, y, s, _ in found]
        return []

    def _detect_in(self, part: RGBImage) -> list[tuple[float, float, float, float]]:
        scale = min(1.0, _DETECTION_SIDE / max(part.shape[:2]))
        small = part
        if scale < 1:
            small = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        small = np.ascontiguousarray(small)
        height, width = part.shape[:2]
        out = []
        for detector in self._detectors:
            for face in detector.process(small).detections or []:
                box = face.location_data.relative_bounding_box
                w, h = box.width * width, box.height * height
                side = max(w, h)
                x, y = box.xmin * width + w / 2 - side / 2, box.ymin * height + h / 2 - side / 2
                out.append((x, y, side, float(face.score[0])))
            if out:
                break
        return out

    def _aim(self, watch: _Watch, center: npt.NDArray[np.floating[Any]], size: float) -> None:
        """Point the crop at a face, if it is not near enough already."""
        side = size * _CROP
        now = np.array([watch.x + watch.side / 2, watch.y + watch.side / 2])
        near = np.abs(now - center).max() < _MOVE_AT * watch.side
        if near and abs(side / watch.side - 1) < _RESIZE_AT:
            return
        watch.side = max(16, round(side))
        watch.x, watch.y = (round(float(c) - watch.side / 2) for c in center)

    def _look(self, watch: _Watch, image: RGBImage) -> Landmarks | None:
        """Landmarks of the watched face in ``image``."""
        crop = _square(image, watch.x, watch.y, watch.side)
        scale = min(1.0, _CROP_PIXELS / watch.side)
        if scale < 1:
            how = cv2.INTER_LINEAR if scale > 0.5 else cv2.INTER_AREA
            crop = cv2.resize(crop, (_CROP_PIXELS, _CROP_PIXELS), interpolation=how)
        result = watch.mesh.process(np.ascontiguousarray(crop)).multi_face_landmarks
        if not result:
            return None
        points = np.array([(p.x, p.y, p.z) for p in result[0].landmark], np.float32) * watch.side
        points[:, 0] += watch.x
        points[:, 1] += watch.y
        if not _plausible(points, image.shape):
            return None
        self._aim(watch, _center(points), _size(points))
        return points


def _square(image: RGBImage, x: int, y: int, side: int) -> RGBImage:
    """Square cut-out; what lies outside the picture is black."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + side, width), min(y + side, height)
    if (x0, y0, x1, y1) == (x, y, x + side, y + side):
        return image[y0:y1, x0:x1]
    out: RGBImage = np.zeros((side, side, 3), np.uint8)
    if x1 > x0 and y1 > y0:
        out[y0 - y : y1 - y, x0 - x : x1 - x] = image[y0:y1, x0:x1]
    return out


def _center(points: Landmarks | None) -> npt.NDArray[np.floating[Any]]:
    if points is None:
        return np.zeros(2)
    center: npt.NDArray[np.floating[Any]] = (points[:468, :2].min(0) + points[:468, :2].max(0)) / 2
    return center


def _size(points: Landmarks | None) -> float:
    """Longer side of the face's box, pixels."""
    if points is None:
        return 0.0
    return float((points[:468, :2].max(0) - points[:468, :2].min(0)).max())


def _same(a: Landmarks | None, b: Landmarks | None) -> bool:
    return float(np.linalg.norm(_center(a) - _center(b))) < 0.4 * max(_size(a), _size(b))


def _plausible(points: Landmarks, shape: tuple[int, ...]) -> bool:
    """Whether landmarks can be a usable face: large enough, inside the frame, not folded."""
    eyes = float(np.linalg.norm(points[[33, 133], :2].mean(0) - points[[263, 362], :2].mean(0)))
    size = _size(points)
    x, y = _center(points).tolist()
    inside = -0.2 * size < x < shape[1] + 0.2 * size and -0.2 * size < y < shape[0] + 0.2 * size
    return bool(
        np.isfinite(points).all() and size > _SMALLEST_FACE * 2 and inside and eyes > 0.08 * size
    )


def _solutions() -> Any:  # noqa: ANN401 - the library has no types
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import mediapipe

    return mediapipe.solutions
