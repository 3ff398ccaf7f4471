"""Landmarks by MediaPipe FaceMesh. The only module that knows it; an own net replaces it later.

Each person has a mesh graph and a crop of their own. The graph keeps the last region of the face
in *crop* coordinates, so the crop must not jump: it follows the face in small steps, which at the
same time predicts steady motion. A face is accepted, and from time to time confirmed, only when
the mirrored picture gives the mirrored mesh: for faces both agree within 0.04 eye distances, for
texture the second one is elsewhere or nowhere.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np

from mien.face.box import Square, cut_out, face_square, mesh_distance, plausible
from mien.face.canonical import canonical_face
from mien.face.quiet import native_logs_dropped
from mien.face.search import search
from mien.face.types import Landmarks
from mien.media.frame import RGBImage

_CROP: Final = 2.2
"""Side of the watched square, face sizes."""

_CROP_PIXELS: Final = 320
_MOVE_AT: Final = 0.03
_RESIZE_AT: Final = 0.08
"""Shares of the crop's side by which a face may be off its middle, and of another size."""

_STEP: Final = 0.05
"""Crop sides that the crop moves at once."""

_FAR: Final = 0.12
"""Crop sides off the middle at which one step is not enough."""

_FAST: Final = 0.06
"""Face sizes of motion beyond which a face is looked at again, ``_PASSES`` times in all."""

_PASSES: Final = 5
_MIRROR_ERROR: Final = 0.15
"""Eye distances between a mesh and its mirrored twin above which there is no face."""

_SAME: Final = 0.4
_SCAN_EVERY: Final = 25
"""Frames between looks for people who came later."""

_THOROUGH_EVERY: Final = 8
"""Scans between thorough ones, while there is nobody: those are dear."""

_BLANK: Final = np.zeros((64, 64, 3), np.uint8)


@dataclass(slots=True)
class _Watch:
    """One face being followed: its own mesh graph on its own crop."""

    mesh: Any
    x: int
    y: int
    side: int
    landmarks: Landmarks


class MediaPipeTracker:
    """Finds and follows up to ``max_faces`` faces; the cost hardly depends on the frame's size.

    Args:
        max_faces: people followed at once; the largest are.
        still: every picture stands alone: slower, more exact, small faces always searched for.
    """

    def __init__(self, max_faces: int = 4, still: bool = False) -> None:
        self._max_faces = max_faces
        self._still = still
        self._watches: list[_Watch] = []
        self._spare: list[Any] = []
        self._frames = 0
        self._scans = 0
        self._settled = False
        with native_logs_dropped():
            self._solutions = _solutions()
            self._detectors = [
                self._solutions.face_detection.FaceDetection(model, 0.5) for model in (1, 0)
            ]
            for detector in self._detectors:
                detector.process(_BLANK)
            self._precise = self._new_mesh(still=True)

    def __call__(self, image: RGBImage) -> list[Landmarks]:
        """Return landmarks ``(478, 3)`` of every face, largest first."""
        if self._still:
            found = [points for points, _ in self._newcomers(image, [])]
        else:
            found = self._follow(image)
        return sorted(found, key=lambda points: -face_square(points).side)

    def reset(self) -> None:
        """Forget the last frame."""
        for watch in self._watches:
            self._release(watch)
        self._watches = []
        self._frames = self._scans = 0

    def close(self) -> None:
        """Release the nets."""
        graphs = [*self._spare, *(w.mesh for w in self._watches), *self._detectors]
        if self._precise is not None:
            graphs.append(self._precise)
        self._spare, self._watches, self._detectors, self._precise = [], [], [], None
        for graph in graphs:
            graph.close()

    def _follow(self, image: RGBImage) -> list[Landmarks]:
        before = len(self._watches)
        due = self._frames % _SCAN_EVERY == 0
        self._frames += 1
        kept: list[_Watch] = []
        for watch in self._watches:
            found = self._look(watch, image)
            if found is not None and due and self._drifted(found, image):
                found = None
            if found is None or any(_same(found, other.landmarks) for other in kept):
                self._release(watch)
                continue
            watch.landmarks = found
            kept.append(watch)
        self._watches = kept
        if due or not kept or len(kept) < before:
            for landmarks, region in self._newcomers(image, [w.landmarks for w in kept]):
                self._watches.append(self._watch(image, landmarks, region))
        return [watch.landmarks for watch in self._watches]

    def _newcomers(
        self, image: RGBImage, known: list[Landmarks]
    ) -> list[tuple[Landmarks, tuple[int, int, int]]]:
        """Faces not ``known``, each with the crop ``(x, y, side)`` it was found in."""
        free = self._max_faces - len(known)
        if free <= 0:
            return []
        thorough = self._still or (not known and self._scans % _THOROUGH_EVERY == 0)
        self._scans = 0 if known else self._scans + 1
        out: list[tuple[Landmarks, tuple[int, int, int]]] = []
        with nullcontext() if self._settled else native_logs_dropped():
            for square in search(image, self._detect, thorough=thorough):
                if len(out) == free:
                    break
                if any(square.near(face_square(other), 0.6) for other in known):
                    continue
                accepted = self._accept(image, square)
                if accepted is not None and not any(_same(accepted[0], other) for other in known):
                    out.append(accepted)
                    known = [*known, accepted[0]]
                    self._scans = 0
                    self._settled = True
        return out

    def _accept(
        self, image: RGBImage, square: Square
    ) -> tuple[Landmarks, tuple[int, int, int]] | None:
        """Exact landmarks of a face that a detector saw, if it is one."""
        points: Landmarks | None = None
        region = (0, 0, 1)
        for _ in range(2):  # the second time from where the face really is
            region = _aimed(square)
            points = self._mesh_in(self._precise, image, region)
            if points is None or not plausible(points, *image.shape[:2]):
                return None
            square = face_square(points)
        if points is None or not self._mirrors(points, image, region):
            return None
        return points, region

    def _mirrors(self, points: Landmarks, image: RGBImage, region: tuple[int, int, int]) -> bool:
        twin = self._mesh_in(self._precise, image, region, mirrored=True)
        return twin is not None and mesh_distance(points, twin) < _MIRROR_ERROR

    def _drifted(self, points: Landmarks, image: RGBImage) -> bool:
        """Whether a followed mesh has slipped off its face."""
        region = _aimed(face_square(points))
        exact = self._mesh_in(self._precise, image, region)
        # A head turned far away is followed longer than it can be found anew: that is no drift.
        return exact is not None and mesh_distance(exact, points) > 2 * _MIRROR_ERROR

    def _watch(self, image: RGBImage, landmarks: Landmarks, region: tuple[int, int, int]) -> _Watch:
        mesh = self._spare.pop() if self._spare else None
        if mesh is None:
            with native_logs_dropped():
                mesh = self._new_mesh(still=False)
        watch = _Watch(mesh, *region, landmarks)
        for _ in range(2):  # the graph's region settles on the mesh, not on its detector's box
            found = self._look(watch, image)
            if found is not None:
                watch.landmarks = found
        return watch

    def _release(self, watch: _Watch) -> None:
        watch.mesh.process(_BLANK)  # forgets the face; a restart would load the nets anew
        self._spare.append(watch.mesh)

    def _look(self, watch: _Watch, image: RGBImage) -> Landmarks | None:
        """Landmarks of the watched face in ``image``; the crop follows it."""
        before = face_square(watch.landmarks)
        points: Landmarks | None = None
        for _ in range(_PASSES):
            points = self._mesh_in(watch.mesh, image, (watch.x, watch.y, watch.side))
            if points is None or not plausible(points, *image.shape[:2]):
                return None
            now = face_square(points)
            # A mesh is exact when its region was nearly right already: after a fast move look
            # again. Only then may the crop move, because that shifts the region too.
            settled = now.distance(before) < _FAST * now.side
            if settled:
                _step_crop(watch, now)
                if _off(watch, now) < _FAR:
                    break
            before = now
        return points

    def _mesh_in(
        self,
        mesh: Any,  # noqa: ANN401 - the library has no types
        image: RGBImage,
        region: tuple[int, int, int],
        *,
        mirrored: bool = False,
    ) -> Landmarks | None:
        """Landmarks that ``mesh`` finds in a square of the picture."""
        x, y, side = region
        crop = cut_out(image, x, y, side)
        if side > _CROP_PIXELS:
            how = cv2.INTER_LINEAR if side < 2 * _CROP_PIXELS else cv2.INTER_AREA
            crop = cv2.resize(crop, (_CROP_PIXELS, _CROP_PIXELS), interpolation=how)
        if mirrored:
            crop = crop[:, ::-1]
        result = mesh.process(np.ascontiguousarray(crop)).multi_face_landmarks
        if not result:
            return None
        points = np.array([(p.x, p.y, p.z) for p in result[0].landmark], np.float32)
        if mirrored:
            points[:, 0] = 1 - points[:, 0]
            points = points[canonical_face().mirror]
        points *= side
        points[:, :2] += (x, y)
        return points

    def _detect(self, picture: RGBImage) -> list[Square]:
        """Faces by the detector for far ones, else by that for near ones."""
        height, width = picture.shape[:2]
        for detector in self._detectors:
            out = []
            for face in detector.process(picture).detections or []:
                box = face.location_data.relative_bounding_box
                w, h = box.width * width, box.height * height
                out.append(Square(box.xmin * width + w / 2, box.ymin * height + h / 2, max(w, h)))
            if out:
                return out
        return []

    def _new_mesh(self, *, still: bool) -> Any:  # noqa: ANN401 - the library has no types
        mesh = self._solutions.face_mesh.FaceMesh(
            static_image_mode=still,
            max_num_faces=1,
            refine_landmarks=True,
            min_detection_confidence=0.4,
            min_tracking_confidence=0.4,
        )
        mesh.process(_BLANK)
        return mesh


def _aimed(square: Square) -> tuple[int, int, int]:
    """The crop ``(x, y, side)`` for a face."""
    side = max(16, round(square.side * _CROP))
    return round(square.x - side / 2), round(square.y - side / 2), side


def _off(watch: _Watch, face: Square) -> float:
    """How far the face is from the middle of the crop, crop sides."""
    return face.distance(_square_of(watch)) / watch.side


def _square_of(watch: _Watch) -> Square:
    return Square(watch.x + watch.side / 2, watch.y + watch.side / 2, watch.side)


def _step_crop(watch: _Watch, face: Square) -> None:
    """Move the crop a step towards the face; a still face leaves it alone, pixels and all."""
    now = _square_of(watch)
    ratio = face.side * _CROP / watch.side
    resize = abs(ratio - 1) > _RESIZE_AT
    off = _off(watch, face)
    if not resize and off < _MOVE_AT:
        return
    side = watch.side
    if resize:
        side = max(16, round(side * min(max(ratio, 1 - _STEP), 1 + _STEP)))
    share = min(1.0, _STEP / max(off, 1e-9))
    x, y = now.x + share * (face.x - now.x), now.y + share * (face.y - now.y)
    watch.x, watch.y, watch.side = round(x - side / 2), round(y - side / 2), side


def _same(a: Landmarks, b: Landmarks) -> bool:
    return face_square(a).near(face_square(b), _SAME)


def _solutions() -> Any:  # noqa: ANN401 - the library has no types
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import mediapipe

    return mediapipe.solutions
