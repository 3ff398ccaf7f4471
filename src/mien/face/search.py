"""Search a picture of any size for faces of any size: look at it small, then ever larger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mien.face.box import Square
from mien.face.detector import Detection, distinct
from mien.media.frame import RGBImage

Detect = Callable[[RGBImage, int], list[Detection]]
"""Faces of a picture whose longer side is shrunk to so many pixels."""

QUICK: Final = 320
"""Longer side, pixels: faces of a thirtieth of the picture and more are seen."""

_THOROUGH: Final = (192, 640, 1280)
_LARGEST: Final = 3840
"""Longer sides for small faces, and (the first) for one that fills the picture."""

_SURE: Final = 0.6
"""Least score of a face that lies: three more looks would be three more chances to err."""

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
    return _largest_first(found)


def search_lying(image: RGBImage, detect: Detect) -> list[Detection]:
    """Faces of a picture that lies on a side or on its head, largest first."""
    size = (image.shape[1], image.shape[0])
    found = []
    for turns in (1, 2, 3):
        lying = np.ascontiguousarray(np.rot90(image, turns))
        seen = (one for one in detect(lying, QUICK) if one.score >= _SURE)
        found += [_turned(one, turns, size) for one in seen]
    return _largest_first(found)


def _largest_first(found: list[Detection]) -> list[Detection]:
    return sorted(distinct(found, _SAME), key=lambda detection: -detection.square.side)


def _turned(one: Detection, turns: int, size: tuple[int, int]) -> Detection:
    """What was seen in ``np.rot90(picture, turns)``, in the picture of ``size`` (width, height)."""
    width, height = size

    def back(points: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        x, y = points[..., 0], points[..., 1]
        ways = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}
        return np.stack(ways[turns], -1).astype(np.float32)

    x, y = back(np.array([one.square.x, one.square.y])).tolist()
    return Detection(Square(x, y, one.square.side), back(one.keys), one.score)
