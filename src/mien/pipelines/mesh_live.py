"""Edit a live stream of pictures, such as a camera's."""

from __future__ import annotations

import math
from fractions import Fraction
from types import TracebackType
from typing import Final, Self

import numpy as np

from mien.emotion.request import Request, build_request
from mien.emotion.resolve_mesh import MeshResolver
from mien.engines.mesh import MeshEngine
from mien.engines.mesh.engine import NeutralEstimate
from mien.errors import InputError
from mien.face.facs import Expression
from mien.face.follow import FaceFollower
from mien.face.select import FaceChoice, FaceSelector
from mien.face.tracker import FaceTracker
from mien.media.frame import RGBImage
from mien.pipelines.mesh_edit import expression_change

_EASE_SECONDS: Final = 0.15
"""Time constant with which a new request, or a better estimate of the face at rest, takes over."""


class Editor:
    """Edits live pictures, each without waiting for later ones.

    ``emotion`` may be set at any time; the face eases into it. The person's own expression is
    estimated on the way. Use it as a context manager, or call ``close``.

    Args:
        emotion: an ``Emotion``, ``Timeline`` or text such as ``"sad:0.6"``.
        face: ``largest``, ``all`` or a number from 1.
        rate: pictures per second where no times are given.

    Raises:
        InputError: for a request or choice that cannot be used.
    """

    def __init__(
        self, emotion: Request | str, *, face: str = "largest", rate: float = 25.0
    ) -> None:
        if not math.isfinite(rate) or rate <= 0:
            raise InputError(
                f"The rate must be a positive number of pictures per second; got {rate}."
            )
        choice = FaceChoice.parse(face)
        if choice.kind == "picture":
            raise InputError(
                "A live editor chooses faces by largest, all or a number; got a picture."
            )
        self.emotion = emotion
        self._engine = MeshEngine()
        self._tracker = FaceTracker()
        self._follower = FaceFollower(self._tracker)
        self._selector = FaceSelector(choice)
        self._baselines: dict[int, NeutralEstimate] = {}
        self._shown: dict[int, Expression] = {}
        self._step = 1 / Fraction(rate).limit_denominator(100_000)
        self._time: Fraction | None = None

    @property
    def emotion(self) -> Request:
        """The emotion that is asked for now."""
        return self._emotion

    @emotion.setter
    def emotion(self, request: Request | str) -> None:
        emotion = build_request(request)
        resolver = MeshResolver(emotion, speaking=True)
        resolver.check()
        self._emotion, self._resolver = emotion, resolver

    def __call__(self, image: RGBImage, time: float | Fraction | None = None) -> RGBImage:
        """Return ``image`` (RGB ``uint8 (H, W, 3)``) with the chosen faces edited.

        Args:
            image: not changed; returned as it is where there is no face.
            time: seconds; must grow. Without it pictures are ``1 / rate`` apart.

        Raises:
            InputError: for another array or a time that does not grow.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(
                f"Pictures must be RGB uint8 (H, W, 3); got {image.dtype} {image.shape}."
            )
        last = self._time
        now = (
            Fraction(time)
            if time is not None
            else (last + self._step if last is not None else Fraction(0))
        )
        if last is not None and now <= last:
            raise InputError(f"Times must grow; got {float(now)} after {float(last)}.")
        self._time = now
        elapsed = float(now - last) if last is not None else 0.0
        faces = self._follower.update(image, now)
        for face in self._selector.pick(faces, self._follower.cut):
            baseline = self._baselines.setdefault(face.id, NeutralEstimate())
            baseline.observe(self._engine.encode(image, face))
            wanted = expression_change(self._resolver.at(float(now)), baseline.own)
            shown = self._shown.get(face.id, wanted)
            shown = shown + np.float32(1 - math.exp(-elapsed / _EASE_SECONDS)) * (wanted - shown)
            self._shown[face.id] = shown
            image = self._engine.render(image, face, shown)
        return image

    def close(self) -> None:
        """Release the nets."""
        self._tracker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
