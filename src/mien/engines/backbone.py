"""What C-MET needs of the net that reads and draws faces.

The connector (arXiv 2604.07786) knows a face as an expression code of some size. Whatever reads the
code of a picture and draws a picture with another code can be its backbone; EDTalk is one
(:mod:`mien.engines.edtalk`). ``docs/backbones.md`` adds another, step by step.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mien.face.pose import Motion
from mien.media.frame import RGBImage


class Backbone(Protocol):
    """Reads and draws crops ``uint8 (B, P, P, 3)`` in the framing of ``framing.training_crop``."""

    @property
    def name(self) -> str:
        """The engine's name in reports."""

    @property
    def pixels(self) -> int:
        """Side P of the crops that it reads."""

    @property
    def expression_dim(self) -> int:
        """Size D of the expression code."""

    def motion(self, crops: npt.NDArray[np.uint8]) -> list[Motion]:
        """Read crops: of each the expression code ``float32 (D,)``, and lips and pose.

        Lips and pose may be empty where the backbone does not tell them apart.
        """

    def source(self, crop: RGBImage) -> Any:  # noqa: ANN401 - the backbone's own
        """Encode a crop from which any number of frames are drawn."""

    def draw(self, source: Any, motion: list[Motion]) -> list[RGBImage]:  # noqa: ANN401
        """Draw an encoded crop with other motion; squares of any one size."""
