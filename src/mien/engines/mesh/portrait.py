"""One picture of a face that speaks, feels, blinks and turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.engines.mesh import lips, rig
from mien.engines.mesh.engine import MeshEngine, MeshSettings
from mien.engines.mesh.speaking import speech_motion
from mien.engines.mesh.turning import Turn, turn_head
from mien.face.facs import INDEX, Expression
from mien.face.follow import Face
from mien.face.pose import HeadPose, head_pose
from mien.media.frame import RGBImage

Points = npt.NDArray[np.float64]

_STRAIGHT: Final = 0.35
"""Yaw of the picture, radians, up to which a head may turn fully; far beyond it hardly may."""

_LIP_RAISE: Final = 0.7
"""How much of a raised upper lip stays while speaking; in videos a closed mouth allows less,
because its own pixels show when it tears open."""

_PROFILE: Final = 0.75


@dataclass(slots=True)
class Portrait:
    """A face in a picture, ready to be drawn in many states.

    Attributes:
        image: ``uint8 (H, W, 3)``.
        face: landmarks in it.
        settings: of the mesh.
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
        """How much of a turn the picture allows, 0..1: little where the head is turned already."""
        over = (abs(self._pose.yaw) - _STRAIGHT) / (_PROFILE - _STRAIGHT)
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
        """The picture at one moment.

        Args:
            code: articulation code ``(7,)``.
            delta: action units ``float32 (D,)`` of what is felt.
            turn: of the head.
            blink: 0 (as wide as felt) .. 1 (closed).
            gaze: travel of the irises, eye distances.
            onto: picture to draw on, where another face was drawn before.
        """
        image = self.image if onto is None else onto
        head = self._head
        speech = speech_motion(head, code)
        spoken = head + speech
        felt = lips.articulate(spoken, delta)
        for side in "LR":
            lip = INDEX[f"10{side}"]
            felt[lip] = max(felt[lip], _LIP_RAISE * delta[lip])
            unit = INDEX[f"43{side}"]
            felt[unit] = felt[unit] + blink * (1 - felt[unit])
        motion = speech + lips.keep_articulation(spoken, rig.displacement(spoken, felt))
        motion = lips.steady_corners(head, motion)
        moved = self._engine.move(image, self.face, motion, felt, gaze)
        points = self.face.landmarks + self._pose.rotate(motion)
        limited = Turn(turn.yaw * self.freedom, turn.pitch * self.freedom, turn.roll, turn.rise)
        return turn_head(moved, points, self._pose, limited)
