"""Three branches of a UNet call become one prediction (dicetalk.md section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

UNCONDITIONED, PICTURED, FULL = range(3)
"""The branches: nothing given; image and CLIP token given; audio and emotion too."""

BRANCHES: Final = 3


@dataclass(frozen=True, slots=True)
class Guidance:
    """Weights of the guidance.

    Attributes:
        image: how far what is drawn follows the picture.
        speech: how far it follows voice and emotion.
        low, high: share of the steps (0..1) outside of which only the full branch is asked; the
            defaults ask all three always.
    """

    image: float = 3.0
    speech: float = 6.0
    low: float = 0.0
    high: float = 1.0

    def covers(self, step: int, steps: int) -> bool:
        """Whether a step is guided."""
        return self.low <= step / steps < self.high

    def combine(self, branches: Tensor) -> Tensor:
        """``(3, ...)`` to ``(...)``: ``u + image (d - u) + speech (c - d)``."""
        u, d, c = branches[UNCONDITIONED], branches[PICTURED], branches[FULL]
        return u + self.image * (d - u) + self.speech * (c - d)
