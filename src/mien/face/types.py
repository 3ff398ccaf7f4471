"""What the face room hands to everybody else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mien.media.frame import RGBImage

Landmarks = npt.NDArray[np.float32]
"""``float32 (478, 3)``: x right, y down, z into the picture, all in pixels of the frame.

Points 0-467 are the face mesh, 468-472 the iris at the left of the picture (the person's right
eye), 473-477 the other one.
"""

LANDMARK_COUNT = 478


@dataclass(frozen=True, slots=True)
class Face:
    """One person's face in one frame.

    Attributes:
        id: stable over the clip: the same person keeps it, also after a short absence.
        landmarks: smoothed, ``float32 (478, 3)`` pixels.
        weight: how much of an edit should show, 0..1; below 1 where the face comes or goes.
        bridged: True where the face was not seen and the landmarks are interpolated over a gap.
    """

    id: int
    landmarks: Landmarks
    weight: float = 1.0
    bridged: bool = False


class LandmarkTracker(Protocol):
    """Finds the faces of one frame after another. One instance per clip; not thread-safe."""

    def __call__(self, image: RGBImage) -> list[Landmarks]:
        """Return the raw landmarks of every face in ``image``, largest face first."""

    def reset(self) -> None:
        """Forget the last frame (after a cut or a seek)."""

    def close(self) -> None:
        """Release the nets."""
