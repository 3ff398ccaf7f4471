"""Animate a portrait: a single image whose face speaks, feels, blinks and turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.engines.mesh import lips, rig
from mien.engines.mesh.engine import MeshEngine, MeshSettings
from mien.engines.mesh.warp import RING_SIZE, mesh_field, smooth_creases, warp, warp_mesh
from mien.face.facs import INDEX, Expression
from mien.face.follow import Face
from mien.face.pose import HeadPose, head_pose
from mien.face.topology import EYES, INNER_LOWER, INNER_UPPER, LANDMARK_COUNT, OVAL
from mien.media.frame import ArrayPicture, RGBImage
from mien.weights.bundled import open_arrays

Points = npt.NDArray[np.float64]

_FREE_YAW: Final = 0.35
_PROFILE_YAW: Final = 0.75
"""Yaw in the image, radians, up to which the head may turn fully, and from which hardly at all."""

_LIP_RAISE: Final = 0.7
"""Fraction of an upper-lip raise that is kept in speech; videos allow less with a closed mouth,
whose own pixels would show where it tears open."""

_SEALED: Final = 0.012
"""Opening, eye distances, below which the lips are closed."""

_UPPER, _LOWER = list(INNER_UPPER), list(INNER_LOWER)

_HAIR: Final = (1.0, 0.9, 0.55, 0.0)
"""Fraction of the head's motion that each ring outside the oval follows."""

_NECK: Final = (0.8, 0.5, 0.2, 0.0)
"""The same below the chin, where the neck stays."""

_GRID: Final = 128
"""Longest side of the grid on which a turn is computed; it is smooth, so a coarse grid does."""

_SMOOTH: Final = 0.012
"""Standard deviation of the smoothing that hides creases of the mesh, sides of that grid."""

_PIVOT: Final = np.array([0.0, 1.75, 0.9])
"""Pivot of the head: the top of the neck, eye distances in the head frame."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A small rotation of the head relative to its pose in the image.

    Attributes:
        yaw: to the right of the image, radians.
        pitch: down, radians.
        roll: clockwise, radians.
        rise: upward shift, eye distances.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    rise: float = 0.0

    def matrix(self) -> Points:
        """Return the rotation ``(3, 3)`` in the head frame (x right, y down, z away)."""
        (sy, cy), (sp, cp), (sr, cr) = (
            (np.sin(v), np.cos(v)) for v in (self.yaw, self.pitch, self.roll)
        )
        yaw = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
        pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        out: Points = roll @ pitch @ yaw
        return out


@dataclass(slots=True)
class Portrait:
    """A face in an image, ready to be drawn in many states.

    Attributes:
        image: ``uint8 (H, W, 3)``.
        face: the face in it.
        settings: of the mesh engine.
    """

    image: RGBImage
    face: Face
    settings: MeshSettings = field(default_factory=lambda: MeshSettings(portrait=True))
    _engine: MeshEngine = field(init=False)
    _pose: HeadPose = field(init=False)
    _head: Points = field(init=False)

    def __post_init__(self) -> None:
        self._engine = MeshEngine(self.settings)
        self._pose = head_pose(self.face.landmarks)
        self._head = self._pose.to_head(self.face.landmarks)

    @property
    def freedom(self) -> float:
        """Fraction of a head turn that the image allows, 0..1: less where the head is turned."""
        over = (abs(self._pose.yaw) - _FREE_YAW) / (_PROFILE_YAW - _FREE_YAW)
        return 1 - 0.8 * float(np.clip(over, 0, 1))

    def draw(
        self,
        code: npt.NDArray[np.float32],
        delta: Expression,
        turn: Turn,
        blink: float = 0.0,
        gaze: tuple[float, float] = (0.0, 0.0),
        onto: RGBImage | None = None,
    ) -> RGBImage:
        """Draw the image at one moment.

        Args:
            code: articulation code ``(7,)``.
            delta: action units ``float32 (D,)`` of the emotion.
            turn: of the head.
            blink: 0 (as open as the expression has it) .. 1 (closed).
            gaze: displacement of the irises to the right and down, eye distances.
            onto: image to draw on, with the faces drawn before; the original by default.
        """
        image = self.image if onto is None else onto
        head = self._head
        speech = speech_motion(head, code)
        spoken = head + speech
        felt = spoken_units(spoken, delta)
        for side in "LR":
            unit = INDEX[f"43{side}"]
            felt[unit] = felt[unit] + blink * (1 - felt[unit])
        motion = speech + lips.keep_articulation(spoken, rig.displacement(spoken, felt))
        motion = lips.steady_corners(head, motion)
        moved = self._engine.move(ArrayPicture(image), self.face, motion, felt, gaze).image()
        points = self.face.landmarks + self._pose.rotate(motion)
        limited = Turn(turn.yaw * self.freedom, turn.pitch * self.freedom, turn.roll, turn.rise)
        return turn_head(moved, points, self._pose, limited)


def spoken_units(spoken: Points, delta: Expression) -> Expression:
    """Adapt action units to a mouth that speaks and whose inside is drawn.

    Args:
        spoken: landmarks ``(478, 3)`` of the speaking face in the head frame.
        delta: ``float32 (D,)``.
    """
    felt = lips.articulate(spoken, delta)
    for side in "LR":
        lip = INDEX[f"10{side}"]
        felt[lip] = max(felt[lip], _LIP_RAISE * delta[lip])
    return felt


@lru_cache(maxsize=1)
def speech_fields() -> Points:
    """Load the displacement per unit of each entry of the code, ``float64 (7, 478, 3)``.

    Raises:
        WeightsError: when the file is missing.
    """
    out: Points = open_arrays("articulation.npz")["fields"].astype(np.float64)
    out.setflags(write=False)
    return out


def speech_motion(head: Points, code: npt.NDArray[np.float32]) -> Points:
    """Compute the displacement ``(478, 3)`` for an articulation code, in the head frame.

    The mouth in the image is closed first, so that the opening is that of the code alone.

    Args:
        head: landmarks ``(478, 3)`` in the head frame, eye distances.
        code: articulation code ``(7,)``.
    """
    values = code.astype(np.float64)
    motion = np.tensordot(values, speech_fields(), 1)
    opening = np.maximum(head[_LOWER, 1] - head[_UPPER, 1], 0)
    asked = motion[_LOWER, 1] - motion[_UPPER, 1]
    open_share = float(np.clip((values[0] - _SEALED) / _SEALED, 0, 1))
    wanted = np.maximum(asked, 0) * open_share
    return lips.close_gap(motion, wanted - asked - opening)


def turn_head(image: RGBImage, points: Points, pose: HeadPose, turn: Turn) -> RGBImage:
    """Draw an image with its head slightly turned, hair and neck following.

    Args:
        image: ``uint8 (H, W, 3)``; not changed.
        points: landmarks ``(478, 3)`` in ``image``, pixels.
        pose: of the head in ``image``.
        turn: the rotation.
    """
    head = pose.to_head(points)
    turned = (head - _PIVOT) @ turn.matrix().T + _PIVOT - np.array([0, turn.rise, 0])
    moves = pose.rotate(turned - head)
    if not np.abs(moves[:, :2]).max() > 0.05:
        return image
    result = mesh_field(points, moves, _rigid(points, moves), image.shape, _GRID)
    if result is None:
        return image
    region, field = result
    columns, rows = region.grid_size
    field = smooth_creases(field, np.zeros((rows, columns), np.float32))
    field = cv2.GaussianBlur(field, (0, 0), _SMOOTH * max(columns, rows))
    out = image.copy()
    out[region.window] = warp(image, field, region)
    return out


def _rigid(points: Points, moves: Points) -> tuple[Points, Points]:
    """Return the vertices of the whole mesh and their motion with the head."""
    mesh, oval = warp_mesh(), list(OVAL)
    vertices, shifts = np.zeros((mesh.size, 2)), np.zeros((mesh.size, 2))
    vertices[:LANDMARK_COUNT], shifts[:LANDMARK_COUNT] = points[:, :2], moves[:, :2]
    centre = points[oval, :2].mean(0)
    away = points[oval, :2] - centre
    chin = points[152, :2] - points[10, :2]
    down = away @ chin / (np.linalg.norm(away, axis=1) * np.linalg.norm(chin) + 1e-9)
    below = np.clip((down - 0.4) / 0.5, 0, 1)[:, None]
    start = LANDMARK_COUNT
    for size, hair, neck in zip(RING_SIZE, _HAIR, _NECK, strict=True):
        vertices[start : start + len(oval)] = centre + away * size
        shifts[start : start + len(oval)] = moves[oval, :2] * (hair + (neck - hair) * below)
        start += len(oval)
    rows = [(mesh.eye_middles[side], eye.upper_lid, eye.lower_lid) for side, eye in EYES.items()]
    rows.append((mesh.mouth_middles, INNER_UPPER[1:-1], INNER_LOWER[1:-1]))
    for at, upper, lower in rows:
        both = [list(upper), list(lower)]
        vertices[at : at + len(upper)] = np.mean([points[row, :2] for row in both], 0)
        shifts[at : at + len(upper)] = np.mean([moves[row, :2] for row in both], 0)
    return vertices, shifts
