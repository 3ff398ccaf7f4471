"""The mesh engine: landmarks in, action units moved, pixels out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.engines.mesh import lips, rig
from mien.engines.mesh.eyes import draw_eyes
from mien.engines.mesh.layout import extend, layout
from mien.engines.mesh.mouth import draw_mouth
from mien.engines.mesh.warp import Map, Points, Region, motion_field, region_of, smooth_kinks, warp
from mien.engines.mesh.wrinkles import draw_wrinkles
from mien.engines.motion import Motion
from mien.face.facs import ACTION_UNITS, Expression
from mien.face.follow import Face
from mien.face.pose import HeadPose, head_pose
from mien.face.readers import read_expression
from mien.face.topology import EYES, LANDMARK_COUNT, LOWER_LIP, UPPER_LIP
from mien.media.frame import RGBImage

_NOTHING: Final = 1e-3
"""Pixels of motion that are not worth drawing."""


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """How the mesh engine draws.

    Attributes:
        still: a single picture: emotions may open a closed mouth and its inside is painted. In a
            video the mouth's opening is speech and is kept.
        portrait: a single picture that speaks: the mouth's inside is painted, at a video's pace.
        wrinkles: strength of the creases that come with an expression, 0..2.
        grid: longest side of the grid that motion is computed on; larger is finer and slower.
    """

    still: bool = False
    portrait: bool = False
    wrinkles: float = 1.0
    grid: int = 288


class MeshEngine:
    """Moves a face by its action units and warps the picture with it. Holds no state."""

    name: Final = "mesh"
    expression_names: Final = ACTION_UNITS

    def __init__(self, settings: MeshSettings | None = None) -> None:
        self.settings = settings or MeshSettings()

    @property
    def _grid(self) -> int:
        # A still is looked at longer than a frame, and nobody waits for the next one.
        return self.settings.grid * (4 if self.settings.still else 1)

    @property
    def expression_dim(self) -> int:
        """Number of action units."""
        return len(ACTION_UNITS)

    def encode(self, image: RGBImage, face: Face) -> Motion:
        """Read pose, lips and action units of ``face`` from its landmarks."""
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
            A new picture; the very same object when there is nothing to do.
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
            delta: action units ``float32 (D,)`` behind it, for the creases that come with them.
            gaze: travel of the irises to the picture's right and down, eye distances.

        Returns:
            A new picture; the very same object when there is nothing to do.
        """
        pose = head_pose(face.landmarks)
        points = face.landmarks.astype(np.float64)
        moves = pose.rotate(motion)
        look = (gaze[0] * pose.scale, gaze[1] * pose.scale)
        if max(float(np.abs(moves[:, :2]).max()), *map(abs, look)) < _NOTHING:
            return image
        vertices, vertex_moves = extend(points, moves[:, :2])
        region = region_of(
            np.concatenate([vertices, vertices + vertex_moves]), image.shape, self._grid
        )
        if region is None:
            return image
        mesh = (vertices, vertex_moves)
        return self._draw(image, face, delta, pose, points, moves, mesh, region, look)

    def _motion(self, head: Points, delta: Expression) -> Points:
        """Displacement ``(478, 3)`` in the head frame."""
        if self.settings.still:
            motion = rig.displacement(head, delta)
            return lips.settle_still(head, motion, delta)
        spoken = lips.articulate(head, delta)
        return lips.keep_articulation(head, rig.displacement(head, spoken))

    def _draw(
        self,
        image: RGBImage,
        face: Face,
        delta: Expression,
        pose: HeadPose,
        points: Points,
        moves: Points,
        mesh: tuple[Points, Points],
        region: Region,
        look: tuple[float, float],
    ) -> RGBImage:
        vertices, vertex_moves = mesh
        depth = np.full(len(vertices), float(points[:, 2].mean()))
        depth[:LANDMARK_COUNT] = points[:, 2] + moves[:, 2]
        field = motion_field(layout(), vertices, vertex_moves, depth, region)
        new_points = points[:, :2] + moves[:, :2]
        field = smooth_kinks(field, _crisp_mask(new_points, region))
        out = image.copy()
        out[region.window] = warp(image, field, region)
        if face.bridged:  # perhaps there is no face at all: move what is there, draw nothing
            return out
        draw_eyes(out, image, points[:, :2], moves[:, :2], pose.scale, look)
        if self.settings.still or self.settings.portrait:
            draw_mouth(out, image, pose, points, moves)
        if self.settings.wrinkles > 0:
            draw_wrinkles(out, new_points, delta, pose.scale, region, self.settings.wrinkles)
        return out


def _crisp_mask(points: npt.NDArray[np.float64], region: Region) -> Map:
    """1 over lips and eyes, where creases of the mesh are real edges; soft border."""
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
