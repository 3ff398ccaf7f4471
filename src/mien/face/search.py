"""Search a picture of any size for faces of any size, with a detector that sees only large ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import cv2
import numpy as np

from mien.face.box import Square
from mien.media.frame import RGBImage

Detector = Callable[[RGBImage], list[Square]]
"""Faces of a picture, in its pixels; sees those larger than a tenth or so of the picture."""

_DETECTION_SIDE: Final = 384
"""Pictures are shrunk to this longer side; detectors shrink further, but less well."""

_PARTS: Final = (1.0, 0.5, 0.25)
"""Sides of the tiles, shares of the picture's shorter side."""

_OVERLAP: Final = 0.34
"""Of neighbouring tiles: a face up to a third of a tile is whole in one of them."""

_SMALLEST_TILE: Final = 160
_SAME: Final = 0.5
"""Two finds nearer than this (face sizes) are one face."""


def search(image: RGBImage, detect: Detector, *, thorough: bool) -> list[Square]:
    """Squares of the faces in ``image``, largest first.

    Args:
        image: RGB ``uint8 (H, W, 3)``.
        detect: finds large faces.
        thorough: look in ever smaller tiles as well, for small faces in large pictures.
    """
    found: list[Square] = []
    for x, y, width, height in tiles(image.shape[1], image.shape[0]) if thorough else ():
        found += _shifted(_detect_in(image[y : y + height, x : x + width], detect), x, y)
    found += _detect_in(image, detect)
    kept: list[Square] = []
    for square in sorted(found, key=lambda s: -s.side):
        if not any(square.near(other, _SAME) for other in kept):
            kept.append(square)
    return kept


def tiles(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Overlapping square tiles ``(x, y, width, height)`` that cover a picture, large to small."""
    short = min(width, height)
    for part in _PARTS:
        side = round(short * part)
        if side < _SMALLEST_TILE or (width, height) == (side, side):
            continue
        for y in _starts(height, side):
            for x in _starts(width, side):
                yield x, y, side, side


def _starts(length: int, side: int) -> list[int]:
    """Where tiles of ``side`` begin so that they cover ``length``, evenly spread."""
    count = 1 + int(np.ceil((length - side) / (side * (1 - _OVERLAP))))
    return [round(v) for v in np.linspace(0, length - side, count)]


def _detect_in(part: RGBImage, detect: Detector) -> list[Square]:
    scale = min(1.0, _DETECTION_SIDE / max(part.shape[:2]))
    small = part
    if scale < 1:
        small = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = detect(np.ascontiguousarray(small))
    return [Square(s.x / scale, s.y / scale, s.side / scale) for s in found]


def _shifted(found: list[Square], x: int, y: int) -> list[Square]:
    return [Square(s.x + x, s.y + y, s.side) for s in found]
