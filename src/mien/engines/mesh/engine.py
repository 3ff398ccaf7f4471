"""The mesh engine: action units move the landmarks, the image is warped along."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, overload

import cv2
import numpy as np
import numpy.typing as npt

from mien.engines.mesh import lips, rig
from mien.engines.mesh.appearance import Exemplar
from mien.engines.mesh.eyes import draw_eyes
from mien.engines.mesh.folds import unfold
from mien.engines.mesh.mouth import draw_mouth
from mien.engines.mesh.shading import shade_smile
from mien.engines.mesh.warp import (
    Map,
    Points,
    Region,
    extend,
    mesh_field,
    moving_box,
    smooth_creases,
    warp,
)
from mien.engines.mesh.wrinkles import draw_wrinkles
from mien.face.facs import INDEX, UNIT_AND_SIDE, Expression, expression, read_expression
from mien.face.follow import Face
from mien.face.pose import HeadPose, Motion, head_pose
from mien.face.topology import EYES, LANDMARK_COUNT, LOWER_LIP, UPPER_LIP
from mien.media.frame import Box, Image, Picture, RGBWindow, as_picture, to_8_bits

_MIN_MOTION: Final = 1e-3
"""Pixels of motion below which nothing is drawn."""

_STILL_GRID_FACTOR: Final = 4
"""A still is viewed longer than a frame and may take longer: its grid is finer by this."""

_OWN: Final = MappingProxyType(
    {
        "1": (0.45, 0.95),
        "2": (0.40, 0.90),
        "4": (0.60, 1.10),
        "12": (0.14, 0.60),
        "15": (0.13, 0.40),
    }
)
"""Readings from which a unit counts as an expression of the person, and at which it counts fully.

Below the first it may be the shape of the face: it is the mean reading of neutral studio portraits
and their deviation. The map reads less than 1 in a whole smile, hence the second. Other units are
left alone: speech and blinks move them all the time, or their reading is mostly shape."""

_RESTING: Final = 0.1
"""Quantile of a person's readings in a clip that counts as shape, where it is below that bound."""

_MOST: Final = 1.25
"""What is removed at most: a broad smile is more than a typical one."""

_READING_NOISE: Final = 0.1
"""Difference between readings of one person that counts as no change."""

_SMILING_CHEEKS: Final = 0.7
"""Cheek raise (6), which landmarks do not show, per unit of a smile."""

_EYE_POINTS: Final = [p for eye in EYES.values() for p in (*eye.upper_lid, *eye.lower_lid)]
_EYE_MARGIN: Final = 0.3
"""What is read around the eyes where only they move, eye distances."""


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """How the mesh engine draws.

    Attributes:
        still: edit a single image: emotions may open a closed mouth, whose inside is drawn. In
            a video the opening of the mouth is speech and is preserved.
        portrait: animate a single image: the inside of the mouth is drawn, on the grid of a
            video.
        wrinkles: strength of the creases that accompany an expression, 0..2.
        grid: longest side of the grid on which motion is computed; larger is finer and slower.
    """

    still: bool = False
    portrait: bool = False
    wrinkles: float = 1.0
    grid: int = 224


class MeshEngine:
    """Moves a face by action units and warps the image accordingly. Stateless."""

    name: Final = "mesh"

    def __init__(self, settings: MeshSettings | None = None) -> None:
        self.settings = settings or MeshSettings()

    def encode(self, image: Image, face: Face) -> Motion:
        """Read the pose, lips and action units of ``face`` from its landmarks."""
        pose = head_pose(face.landmarks)
        head = pose.to_head(face.landmarks)
        turn, _ = cv2.Rodrigues(pose.rotation)
        lip = np.array([lips.opening(head), np.linalg.norm(head[61] - head[291])], np.float32)
        code = np.array([*turn.ravel(), *pose.translation[:2], pose.scale], np.float32)
        return Motion(lip=lip, pose=code, expression=read_expression(head))

    @overload
    def render(self, image: Picture, face: Face, delta: Expression) -> Picture: ...

    @overload
    def render(self, image: RGBWindow, face: Face, delta: Expression) -> RGBWindow: ...

    def render(self, image: Image, face: Face, delta: Expression) -> Image:
        """Draw ``face`` with its expression moved by ``delta``.

        Args:
            image: a picture, or RGB ``uint8`` or ``uint16 (H, W, 3)``; not changed.
            face: landmarks in ``image``; ``face.weight`` scales the edit.
            delta: ``float32 (D,)`` action units.

        Returns:
            A new image of the same kind; ``image`` itself when there is nothing to draw.
        """
        delta = (delta * face.weight).astype(np.float32)
        if not np.abs(delta).max() > 0:
            return image
        motion = self._motion(head_pose(face.landmarks).to_head(face.landmarks), delta)
        out = self.move(as_picture(image), face, motion, delta)
        return out if isinstance(image, Picture) else out.read(out.box)

    def move(
        self,
        picture: Picture,
        face: Face,
        motion: Points,
        delta: Expression,
        gaze: tuple[float, float] = (0.0, 0.0),
        example: Exemplar | None = None,
    ) -> Picture:
        """Draw ``face`` with its landmarks moved. Only a window around the face is read.

        Args:
            picture: not changed.
            face: landmarks in ``picture``.
            motion: displacement ``(478, 3)`` in the head frame, eye distances.
            delta: the action units ``float32 (D,)`` that cause it, for the creases.
            gaze: displacement of the irises to the right and down, eye distances.
            example: of the inside of the mouth; None: the mouth's own in ``picture``, if it is
                open, or another person's.

        Returns:
            A new picture; ``picture`` itself when there is nothing to draw.
        """
        pose = head_pose(face.landmarks)
        points = face.landmarks.astype(np.float64)
        moves = pose.rotate(motion)
        glance = (gaze[0] * pose.scale, gaze[1] * pose.scale)
        if max(float(np.abs(moves[:, :2]).max()), *map(abs, glance)) < _MIN_MOTION:
            return picture
        vertices, shifts = extend(points, moves[:, :2])
        shifts = unfold(vertices, shifts, pose.scale)
        moves[:, :2] = shifts[:LANDMARK_COUNT]
        box = moving_box(vertices, shifts, (picture.height, picture.width))
        if any(glance):
            eyes = Box.around(points[_EYE_POINTS], _EYE_MARGIN * pose.scale).within(picture.box)
            box = eyes if box is None else box.joined(eyes)
        if box is None or box.empty:
            return picture
        corner = np.array([box.left, box.top, 0.0])
        points, vertices = points - corner, vertices - corner[:2]
        pose = replace(pose, translation=pose.translation - corner)

        def draw(window: RGBWindow) -> RGBWindow:
            mesh = vertices, shifts
            return self._draw(window, points, moves, mesh, pose, delta, glance, face, example)

        window = picture.read(box)
        if picture.interlaced:
            drawn = window.copy()
            for first in (0, 1):
                drawn[first::2] = draw(_one_field(window, first))[first::2]
        else:
            drawn = draw(window)
        return picture.replaced(box, drawn)

    def _draw(
        self,
        window: RGBWindow,
        points: Points,
        moves: Points,
        mesh: tuple[Points, Points],
        pose: HeadPose,
        delta: Expression,
        glance: tuple[float, float],
        face: Face,
        example: Exemplar | None,
    ) -> RGBWindow:
        """Return a window with the face in it moved; all coordinates are those of the window."""
        grid = self.settings.grid * (_STILL_GRID_FACTOR if self.settings.still else 1)
        moved = mesh_field(points, moves, mesh, window.shape, grid)
        if moved is None:
            return window
        region, field = moved
        new_points = points[:, :2] + moves[:, :2]
        field = smooth_creases(field, _lips_and_eyes(new_points, region))
        warped = window.copy()
        warped[region.window] = warp(window, field, region)
        if face.bridged:  # the face may be covered: move the pixels, draw nothing
            return warped
        source = to_8_bits(window)
        out = to_8_bits(warped).copy()
        draw_eyes(out, source, points[:, :2], moves[:, :2], pose.scale, glance)
        if self.settings.still or self.settings.portrait:
            keep_own = not self.settings.portrait
            draw_mouth(out, source, pose, points, moves, keep_own=keep_own, example=example)
        if self.settings.wrinkles > 0:
            shade_smile(out, new_points, delta, self.settings.wrinkles)
            draw_wrinkles(out, new_points, delta, pose.scale, region, self.settings.wrinkles)
        if warped.dtype == np.uint8:
            return out
        # What is painted has 8 bits; the pixels of the face keep their depth.
        painted = out.astype(np.int32) - to_8_bits(warped)
        return np.clip(warped + 257 * painted, 0, 65535).astype(np.uint16)

    def _motion(self, head: Points, delta: Expression) -> Points:
        """Return the displacement ``(478, 3)`` in the head frame."""
        if self.settings.still:
            motion = rig.displacement(head, delta)
            motion = lips.settle_still(head, motion, delta)
        else:
            spoken = lips.articulate(head, delta)
            motion = lips.keep_articulation(head, rig.displacement(head, spoken))
        return lips.steady_corners(head, motion)


def _one_field(window: RGBWindow, first: int) -> RGBWindow:
    """Return a window with the lines of one field; the others are interpolated between them."""
    out = window.copy()
    lines = window[first::2].astype(np.float32)
    between = (lines[:-1] + lines[1:]) / 2
    if first == 1:
        between = np.concatenate([lines[:1], between])
    if len(between) < len(out[1 - first :: 2]):
        between = np.concatenate([between, lines[-1:]])
    out[1 - first :: 2] = np.rint(between[: len(out[1 - first :: 2])]).astype(window.dtype)
    return out


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
    """Running estimate of the expression that a face has by itself, over recent frames.

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
    def own(self) -> Expression:
        """What :func:`removal` gives for the observed frames; zeros before the first."""
        if not self._seen:
            return np.zeros(len(UNIT_AND_SIDE), np.float32)
        return removal(np.stack(self._seen))


def removal(readings: npt.NDArray[np.float32]) -> Expression:
    """Compute what to subtract from a face so that it relaxes before a new expression is added.

    Args:
        readings: action units read in one or more frames of a person, ``float32 (N, D)``.

    Returns:
        ``float32 (D,)``, 0..1.25: the median, less what may be the shape of the face. Frames that
        differ tell the two apart better than one. Units that speech moves are left alone.
    """
    usual, resting = np.median(readings, axis=0), np.quantile(readings, _RESTING, axis=0)
    own = np.zeros(readings.shape[1], np.float32)
    for unit, (shape, whole) in _OWN.items():
        for at in (INDEX[f"{unit}L"], INDEX[f"{unit}R"]):
            bound = shape if len(readings) == 1 else min(shape, float(resting[at]) + _READING_NOISE)
            own[at] = np.clip((usual[at] - bound) / (whole - bound), 0, _MOST)
    for side in "LR":
        own[INDEX[f"6{side}"]] = _SMILING_CHEEKS * own[INDEX[f"12{side}"]]
    return own


def smiling() -> Expression:
    """Return a whole smile with the cheeks that go with it, ``float32 (D,)``."""
    return expression({"6": _SMILING_CHEEKS, "12": 1.0})
