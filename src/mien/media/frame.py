"""What a video is made of, for the rest of mien."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

RGBImage = npt.NDArray[np.uint8]
"""``uint8 (H, W, 3)``, red first, upright (rotation already applied)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a video.

    Attributes:
        image: RGB, ``uint8 (H, W, 3)``.
        time: presentation time in seconds, exact, counted from the start of the video.
        index: 0 for the first picture of the video.
    """

    image: RGBImage
    time: Fraction
    index: int
