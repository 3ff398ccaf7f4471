"""Search a picture of any size for faces of any size: look at it small, then ever larger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mien.face.detector import Detection
from mien.media.frame import RGBImage

Detect = Callable[[RGBImage, int], list[Detection]]
"""Faces of a picture whose longer side is shrunk to so many pixels."""

QUICK: Final = 320
"""Longer side, pixels: faces of a thirtieth of the picture and more are seen."""

_THOROUGH: Final = (192, 640, 1280)
_LARGEST: Final = 3840
"""Longer sides for small faces, and (the first) for one that fills the picture."""

_SAME: Final = 0.5
"""Two finds nearer than this (face sizes) are one face."""


def search(image: RGBImage, detect: Detect, *, thorough: bool) -> list[Detection]:
    """Faces in ``image``, largest first.

    Args:
        image: RGB ``uint8 (H, W, 3)``.
        detect: looks at the picture at one size.
        thorough: look at more sizes, up to half the picture's own where it is huge.
    """
    longest = max(image.shape[:2])
    sides = [QUICK]
    if thorough:
        sides += [side for side in _THOROUGH if side < 1.2 * longest]
        if longest > 2 * _THOROUGH[-1]:
            sides.append(min(longest // 2, _LARGEST))
    found = [one for side in sides for one in detect(image, side)]
    kept: list[Detection] = []
    for one in sorted(found, key=lambda detection: -detection.score):
        if not any(one.square.near(other.square, _SAME) for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda detection: -detection.square.side)
