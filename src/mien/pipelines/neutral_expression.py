"""How the people of a clip look at rest, from a first look at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.emotion.request import Request
from mien.engines.mesh import MeshEngine
from mien.engines.mesh.baseline import removal
from mien.face.facs import Expression
from mien.face.follow import Face, LandmarkTracker
from mien.face.select import shape_of
from mien.media.read import VideoReader

LOOKS: Final = 14
LOOK_SECONDS: Final = 12.0

_SAME_SHAPE: Final = 0.06


@dataclass(slots=True)
class RestingFaces:
    """Action units of every person at rest.

    Samples come from a first look; a person who is not among them is read when first seen. The
    value of a person never changes during a clip, so that nothing drifts or flickers.
    """

    engine: MeshEngine
    _samples: list[tuple[npt.NDArray[np.float64], Expression]] = field(default_factory=list)
    _known: dict[int, Expression] = field(default_factory=dict)

    def look(self, reader: VideoReader, tracker: LandmarkTracker) -> None:
        """Take samples from the start of a clip."""
        for image in reader.first_look(LOOKS, LOOK_SECONDS):
            for landmarks in tracker(image):
                reading = self.engine.encode(image, Face(0, landmarks)).expression
                self._samples.append((shape_of(landmarks), reading))
        tracker.reset()

    def of(self, face: Face) -> Expression:
        """Resting expression of ``face``, ``float32 (D,)``."""
        if face.id not in self._known:
            shape = shape_of(face.landmarks)
            own = [
                reading
                for sample, reading in self._samples
                if float(np.abs(sample - shape).mean()) < _SAME_SHAPE
            ]
            reading = self.engine.encode(_NO_PICTURE, face).expression
            self._known[face.id] = np.median(np.stack(own or [reading]), axis=0).astype(np.float32)
        return self._known[face.id]


_NO_PICTURE: Final = np.zeros((1, 1, 3), np.uint8)


def change(request: Request, time: float, resting: Expression) -> Expression:
    """Expression difference that turns a person's resting face into the one asked for.

    Args:
        request: what is asked for.
        time: seconds.
        resting: the person's own expression, ``float32 (D,)``.

    Returns:
        ``float32 (D,)``: the emotion, minus the share of the own expression that gives way.
    """
    delta = request.expression_at(time) - request.presence_at(time) * removal(resting)
    return delta.astype(np.float32)
