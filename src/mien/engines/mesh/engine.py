"""The mesh engine: action units move the landmarks, the image is warped along."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.engines.mesh import lips, rig
from mien.engines.mesh.eyes import draw_eyes
from mien.engines.mesh.mouth import draw_mouth
from mien.engines.mesh.warp import Map, Points, Region, extend, mesh_field, smooth_creases, warp
from mien.engines.mesh.wrinkles import draw_wrinkles
from mien.face.facs import INDEX, UNIT_AND_SIDE, Expression, read_expression
from mien.face.follow import Face
from mien.face.pose import Motion, head_pose
from mien.face.topology import EYES, LOWER_LIP, UPPER_LIP
from mien.media.frame import RGBImage

_MIN_MOTION: Final = 1e-3
"""Pixels of motion below which nothing is drawn."""

_STILL_GRID_FACTOR: Final = 4
"""A still is viewed longer than a frame and may take longer: its grid is finer by this."""

_SHAPE_READING: Final = 0.12
"""Readings up to this are the shape of the person's face rather than an expression."""

_NOT_EXPRESSION: Final = (
    "5",
    "7",
    "10",
    "14",
    "16",
    "17",
    "18",
    "20",
    "23",
    "24",
    "25",
    "26",
    "43",
)
"""Units left alone: speech and blinks move them all the time, or their reading is mostly shape."""

_SMILE_GAIN: Final = 1.3
"""Factor on the reading of a smile: 1 is less than the whole of a broad smile."""


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """How the mesh engine draws.

    Attributes:
        still: edit a single image: emotions may open a closed mouth, whose inside is painted. In
            a video the opening of the mouth is speech and is preserved.
        portrait: animate a single image: the inside of the mouth is painted, on the grid of a
            video.
        wrinkles: strength of the creases that accompany an expression, 0..2.
        grid: longest side of the grid on which motion is computed; larger is finer and slower.
    """

    still: bool = False
    portrait: bool = False
    wrinkles: float = 1.0
    grid: int = 288


class MeshEngine:
    """Moves a face by action units and warps the image accordingly. Stateless."""

    name: Final = "mesh"

    def __init__(self, settings: MeshSettings | None = None) -> None:
        self.settings = settings or MeshSettings()

    def encode(self, image: RGBImage, face: Face) -> Motion:
        """Read the pose, lips and action units of ``face`` from its landmarks."""
        pose = head_pose(face.landmarks)
        head = pose.to_head(face.landmarks)
        turn, _ = cv2.Rodrigues(pose.rotation)
        lip = np.array([lips.opening(head), np.linalg.norm(head[61] - head[291])], np.float32)
        code = np.array([*turn.ravel(), *pose.translation[:2], pose.scale], np.float32)
        return Motion(lip=lip, pose=code, expression=read_expression(head))

    def render(self, image: RGBImage, face: Face, delta: Expression) -> RGBImage:
        """Draw ``face`` with its expression moved by ``delta``.

        Args:
            image: ``uint8 (H, W, 3)``; not changed.
            face: landmarks in ``image``; ``face.weight`` scales the edit.
            delta: ``float32 (D,)`` action units.

        Returns:
            A new image; ``image`` itself when there is nothing to draw.
        """
        delta = (delta * face.weight).astype(np.float32)
        if not np.abs(delta).max() > 0:
            return image
        motion = self._motion(head_pose(face.landmarks).to_head(face.landmarks), delta)
        return self.move(image, face, motion, delta)

    def move(
        self,
        image: RGBImage,
        face: Face,
        motion: Points,
        delta: Expression,
        gaze: tuple[float, float] = (0.0, 0.0),
    ) -> RGBImage:
        """Draw ``face`` with its landmarks moved.

        Args:
            image: ``uint8 (H, W, 3)``; not changed.
            face: landmarks in ``image``.
            motion: displacement ``(478, 3)`` in the head frame, eye distances.
            delta: the action units ``float32 (D,)`` that cause it, for the creases.
            gaze: displacement of the irises to the right and down, eye distances.

        Returns:
            A new image; ``image`` itself when there is nothing to draw.
        """
        pose = head_pose(face.landmarks)
        points = face.landmarks.astype(np.float64)
        moves = pose.rotate(motion)
        glance = (gaze[0] * pose.scale, gaze[1] * pose.scale)
        if max(float(np.abs(moves[:, :2]).max()), *map(abs, glance)) < _MIN_MOTION:
            return image
        grid = self.settings.grid * (_STILL_GRID_FACTOR if self.settings.still else 1)
        moved = mesh_field(points, moves, extend(points, moves[:, :2]), image.shape, grid)
        if moved is None:
            return image
        region, field = moved
        new_points = points[:, :2] + moves[:, :2]
        field = smooth_creases(field, _lips_and_eyes(new_points, region))
        out = image.copy()
        out[region.window] = warp(image, field, region)
        if face.bridged:  # the face may be covered: move the pixels, draw nothing
            return out
        draw_eyes(out, image, points[:, :2], moves[:, :2], pose.scale, glance)
        if self.settings.still or self.settings.portrait:
            draw_mouth(out, image, pose, points, moves)
        if self.settings.wrinkles > 0:
            draw_wrinkles(out, new_points, delta, pose.scale, region, self.settings.wrinkles)
        return out

    def _motion(self, head: Points, delta: Expression) -> Points:
        """Return the displacement ``(478, 3)`` in the head frame."""
        if self.settings.still:
            motion = rig.displacement(head, delta)
            return lips.settle_still(head, motion, delta)
        spoken = lips.articulate(head, delta)
        return lips.keep_articulation(head, rig.displacement(head, spoken))


def _lips_and_eyes(points: npt.NDArray[np.float64], region: Region) -> Map:
    """Return a soft mask of lips and eyes, where creases of the mesh are real edges."""
    columns, rows = region.grid_size
    mask = np.zeros((rows, columns), np.float32)
    outlines = [[*UPPER_LIP[0], *LOWER_LIP[0][-2:0:-1]]]
    for eye in EYES.values():
        outlines.append([eye.corners[0], *eye.upper_lid, eye.corners[1], *eye.lower_lid[::-1]])
    for outline in outlines:
        cv2.fillPoly(mask, [np.round(region.to_grid(points[outline])).astype(np.int32)], 1.0)
    mask = cv2.dilate(mask, np.ones((3, 3), np.uint8))
    out: Map = cv2.blur(mask, (3, 3))
    return out


class NeutralEstimate:
    """Running estimate of a face's neutral expression: the median over recent frames.

    ``capacity``: number of frames that are kept.
    """

    def __init__(self, capacity: int = 128) -> None:
        self._seen: deque[Expression] = deque(maxlen=capacity)

    def observe(self, motion: Motion) -> None:
        """Add the expression of one frame."""
        self._seen.append(motion.expression)

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def expression(self) -> Expression:
        """Median of the observed frames, ``float32 (D,)``; zeros before the first."""
        if not self._seen:
            return np.zeros(len(UNIT_AND_SIDE), np.float32)
        return np.median(np.stack(self._seen), axis=0).astype(np.float32)


def removal(neutral: Expression) -> Expression:
    """Compute what to subtract from a face so that it relaxes before a new expression is added.

    Args:
        neutral: the person's neutral expression, ``float32 (D,)``.

    Returns:
        ``float32 (D,)``, 0..1. Units that speech moves are left alone. A smile counts fully, so
        that a smile that is already there is replaced by the requested one and not doubled.
    """
    relaxing = np.array([unit not in _NOT_EXPRESSION for unit, _ in UNIT_AND_SIDE], np.float32)
    own = np.maximum(neutral - _SHAPE_READING, 0) / (1 - _SHAPE_READING) * relaxing
    for corner in ("12L", "12R"):
        own[INDEX[corner]] *= _SMILE_GAIN
    return np.minimum(own, 1).astype(np.float32)
