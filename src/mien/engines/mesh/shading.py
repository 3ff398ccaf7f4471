"""The shading of a smile: cheeks that bulge and fold, learned from people who smiled.

The map is the mean change of skin's logarithmic brightness from a neutral face to a whole smile of
the same person, both fitted to the canonical face, without what is smoother than a cheek. Taken
away, the smile takes its shading along.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.face.facs import INDEX, Expression
from mien.face.topology import MESH_POINTS, canonical_face
from mien.media.frame import Box, RGBImage
from mien.weights.bundled import open_arrays

Points = npt.NDArray[np.float64]
Map = npt.NDArray[np.float32]

PIXELS: Final = 128
PIXELS_PER_EYE_DISTANCE: Final = 44.0
ORIGIN: Final = (63.5, 59.5)
"""Size of the map, its resolution, and where the origin of the canonical face lies in it."""

_CELLS: Final = 96
"""Longest side of the grid on which the shading is computed."""

_LEAST: Final = 0.05
"""Change of a smile below which nothing is shaded."""

_FEWEST_PIXELS: Final = 8


def canonical_in_map() -> Points:
    """Return the canonical landmarks ``(478, 3)`` in pixels of the map."""
    points = canonical_face().points * PIXELS_PER_EYE_DISTANCE
    return points + np.array([*ORIGIN, 0.0])


@lru_cache(maxsize=1)
def _smile() -> Map:
    """The map of a whole smile, ``float32 (128, 128, 3)``."""
    out: Map = open_arrays("shading.npz")["smile"].astype(np.float32)
    out.setflags(write=False)
    return out


def shade_smile(image: RGBImage, points: Points, delta: Expression, strength: float) -> None:
    """Add the shading of a smile, or take it away, in place.

    Args:
        image: the warped image, ``uint8 (H, W, 3)``.
        points: landmarks ``(478, 2)`` after the edit, pixels.
        delta: ``float32 (D,)`` action units; of them, 12 counts.
        strength: 0..2.
    """
    right, left = (strength * float(delta[INDEX[f"12{side}"]]) for side in "RL")
    if max(abs(right), abs(left)) < _LEAST:
        return
    skin = points[:MESH_POINTS, :2]
    box = Box.around(skin).within(Box(0, 0, image.shape[1], image.shape[0]))
    if min(box.width, box.height) < _FEWEST_PIXELS:
        return
    step = max(box.width, box.height) / _CELLS
    columns, rows = max(2, round(box.width / step)), max(2, round(box.height / step))
    x = box.left + (np.arange(columns) + 0.5) * box.width / columns - 0.5
    y = box.top + (np.arange(rows) + 0.5) * box.height / rows - 0.5
    place = _places(skin, *np.meshgrid(x, y))
    amounts = np.interp(np.arange(PIXELS), [ORIGIN[0] - 8, ORIGIN[0] + 8], [right, left])
    change = cv2.remap(
        _smile() * amounts[None, :, None].astype(np.float32),
        place[..., 0], place[..., 1], cv2.INTER_LINEAR, borderValue=(0, 0, 0),
    )  # fmt: skip
    window = image[box.slices]
    if not np.ptp(window.reshape(-1, 3)[:: window.size // 3 // 256 + 1], axis=1).any():
        change = np.repeat(change.mean(2, keepdims=True), 3, 2)  # a gray picture stays gray
    gain = cv2.resize(cv2.exp(change), (box.width, box.height), interpolation=cv2.INTER_LINEAR)
    window[:] = cv2.multiply(window, gain, dtype=cv2.CV_8U)


def _places(skin: Points, x: Points, y: Points) -> Map:
    """Map image pixels to the map, by cubic polynomials through the landmarks.

    Returns:
        ``float32 (rows, columns, 2)``.
    """
    middle, size = skin.mean(0), float(np.ptp(skin, axis=0).max()) / 2

    def powers(across: Points, down: Points) -> Points:
        u, v = (across - middle[0]) / size, (down - middle[1]) / size
        return np.stack([u**i * v**j for i in range(4) for j in range(4 - i)], -1)

    target = canonical_in_map()[:MESH_POINTS, :2]
    weights, *_ = np.linalg.lstsq(powers(skin[:, 0], skin[:, 1]), target, rcond=None)
    out: Map = (powers(x, y) @ weights).astype(np.float32)
    return out
