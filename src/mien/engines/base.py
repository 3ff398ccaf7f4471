"""What every engine offers, whatever draws the face inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mien.face.follow import Face
from mien.media.frame import RGBImage

Expression = npt.NDArray[np.float32]
"""``float32 (D,)``: one value per entry of the engine's ``expression_names``."""


@dataclass(frozen=True, slots=True)
class Motion:
    """How one face moves in one frame, split as in C-MET (arXiv 2604.07786, section 3).

    Attributes:
        lip: articulation code, ``float32 (L,)``.
        pose: rotation (3 rad), translation (2 px), scale (px per eye distance), ``float32 (6,)``.
        expression: expression code, ``float32 (D,)``, in the engine's own units.
    """

    lip: npt.NDArray[np.float32]
    pose: npt.NDArray[np.float32]
    expression: Expression


class Engine(Protocol):
    """Reads a face's motion and draws the face with another expression."""

    name: str
    expression_names: tuple[str, ...]

    @property
    def expression_dim(self) -> int:
        """Length D of an expression code."""

    def encode(self, image: RGBImage, face: Face) -> Motion:
        """Read the motion of ``face`` in ``image``."""

    def render(self, image: RGBImage, face: Face, delta: Expression) -> RGBImage:
        """Draw ``face`` with its expression moved by ``delta``; a new image, same size.

        Pixels away from the face are the input's own, bit for bit; a zero ``delta`` (or a face of
        weight 0) returns them all.
        """
