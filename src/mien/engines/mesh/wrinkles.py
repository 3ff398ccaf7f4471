"""The creases that accompany an expression: brow furrow, forehead and nasolabial folds.

They are drawn where an expression appears, and filled where one is taken away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.engines.mesh.warp import Region
from mien.face.facs import INDEX, Expression
from mien.face.topology import canonical_face
from mien.media.frame import Box, RGBImage

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Crease:
    """A line on the right half of the face; the left half gets its mirror image.

    Attributes:
        units: action units that cause it, with weights; their strengths add up.
        path: knots of the line, each a weighted mean of landmarks.
        depth: darkening at strength 1.
        width: eye distances.
        start: strength below which the skin does not fold.
    """

    units: tuple[tuple[str, float], ...]
    path: tuple[tuple[tuple[int, float], ...], ...]
    depth: float
    width: float
    start: float = 0.2


def _between(a: int, b: int, t: float) -> tuple[tuple[int, float], ...]:
    return ((a, 1 - t), (b, t))


def _at(*points: int) -> tuple[tuple[int, float], ...]:
    return tuple((p, 1 / len(points)) for p in points)


_FOREHEAD: Final = ((9, 10), (107, 109), (66, 67), (105, 103), (63, 54))

CREASES: Final = (
    Crease((("9", 0.6), ("10", 0.7)),
           (_at(129), _at(203), _at(206), _at(216), _at(212, 216)), 0.11, 0.036, 0.1),
    Crease((("4", 1.0),), (_between(9, 107, 0.45), _between(8, 55, 0.5), _between(168, 193, 0.35)),
           0.11, 0.028),
    Crease((("9", 1.0),), (_between(6, 122, 0.9), _at(6, 197)), 0.07, 0.022),
    Crease((("9", 1.0),), (_between(197, 196, 0.9), _at(197)), 0.06, 0.020),
    *(Crease((("1", 0.6), ("2", 0.6)), tuple(_between(a, b, t) for a, b in _FOREHEAD), depth, 0.020)
      for t, depth in ((0.30, 0.045), (0.55, 0.05), (0.80, 0.03))),
    Crease((("6", 1.0), ("7", 0.5)), (_at(112), _at(26, 232), _at(23, 230), _at(110, 229)),
           0.06, 0.021, 0.3),
    Crease((("14", 1.0),), (_between(61, 57, 0.7), _between(61, 57, 1.0), _between(61, 43, 0.8)),
           0.09, 0.022),
    Crease((("15", 1.0),), (_between(61, 57, 0.4), _between(61, 43, 0.7), _between(61, 43, 1.3)),
           0.08, 0.022),
)  # fmt: skip
_REDDENING: Final = (0.72, 1.04, 1.2)
"""Factor on the darkening per channel: shaded skin turns red."""

_COLORFUL: Final = 20.0
"""Range of the skin's channels from which shade is fully coloured."""

_MIN_CHANGE: Final = 0.002
"""Relative change of brightness below which nothing is drawn."""

_SMOOTH_SKIN: Final = 0.35
_ROUGH_SKIN: Final = 1.15
_TYPICAL_TEXTURE: Final = 0.045
"""Strength of creases on smooth and rough skin, and the fine contrast of typical skin."""


_CHEEKS: Final = (50, 101, 205, 280, 330, 425)
_DARK_LINE: Final = (0.72, 0.88)
_DARK_FURROW: Final = (0.6, 0.75)
_DARK_PATCH: Final = (0.30, 0.50)
"""Brightness relative to the surroundings, where creases are drawn and where they are filled, and
relative to the cheeks, between which something dark turns from brow, hair or glasses into skin."""

_SURROUNDINGS: Final = 0.12
"""Standard deviation of the surroundings, eye distances."""


_FILLED_WIDTH: Final = 0.09
"""Width of the darkest line that is filled, eye distances."""

_PORES: Final = 0.006
"""Standard deviation of the average that leaves out the texture of skin, eye distances."""

_FILLED_FROM: Final = 0.1
"""Strength, taken away, from which a crease is filled."""


def _strength(crease: Crease, delta: Expression, side: str) -> float:
    """Strength of a crease, -1..1.4; negative where an expression is taken away."""
    total = sum(share * float(delta[INDEX[unit + side]]) for unit, share in crease.units)
    if total < 0:
        return min(total + _FILLED_FROM, 0) if total > -1 else -1.0
    return float(np.clip((total - crease.start) / (1 - crease.start), 0, 1.4))


def _path(crease: Crease, points: Points, side: str) -> Points:
    used, weights = _path_weights(crease, side)
    return weights @ points[used]


@lru_cache(maxsize=64)
def _path_weights(crease: Crease, side: str) -> tuple[npt.NDArray[np.intp], Points]:
    """Return the landmarks ``(K,)`` behind a path and their weights at its points, ``(17, K)``."""
    mirror = canonical_face().mirror
    used = sorted({p for knot in crease.path for p, _ in knot})
    rows = np.zeros((len(crease.path), len(used)))
    for row, knot in zip(rows, crease.path, strict=True):
        for point, weight in knot:
            row[used.index(point)] += weight
    at, knots = np.linspace(0, len(rows) - 1, 17), np.arange(len(rows))
    smooth = np.stack([np.interp(at, knots, column) for column in rows.T], 1)
    for _ in range(3):
        smooth[1:-1] = (smooth[:-2] + 2 * smooth[1:-1] + smooth[2:]) / 4
    return np.array(used if side == "R" else mirror[used], np.intp), smooth


def skin_texture(image: RGBImage, points: Points, scale: float) -> float:
    """Estimate how strongly skin folds: 0.35 (smooth, soft light) .. 1.15 (rough, hard light).

    Measured as the fine contrast of forehead and cheeks relative to their brightness.
    """
    x0, y0 = np.maximum(points[[109, 338, 50, 280], :2].min(0), 0).astype(int)
    x1, y1 = points[[109, 338, 50, 280], :2].max(0).astype(int)
    step = max(1, round(scale / 60))
    gray = image[y0 : max(y1, y0 + 8) : step, x0 : max(x1, x0 + 8) : step, 1].astype(np.float32)
    if gray.size < 64:
        return _SMOOTH_SKIN
    fine = gray - cv2.GaussianBlur(gray, (0, 0), 3.0)
    local = np.abs(fine) / np.maximum(gray, 20)
    texture = float(np.median(local)) / _TYPICAL_TEXTURE * 2.2
    return float(np.clip(texture, _SMOOTH_SKIN, _ROUGH_SKIN))


def draw_wrinkles(
    image: RGBImage,
    points: Points,
    delta: Expression,
    scale: float,
    region: Region,
    strength: float,
) -> None:
    """Darken the creases that an expression change adds and fill those it takes away, in place.

    Args:
        image: the warped image, ``uint8 (H, W, 3)``.
        points: landmarks ``(478, 2)`` after the edit, pixels.
        delta: ``float32 (D,)`` action units.
        scale: pixels per eye distance.
        region: the part to draw on.
        strength: 0..2.
    """
    lines = [
        (crease, _path(crease, points, side), amount)
        for crease in CREASES
        for side in "RL"
        if abs(amount := _strength(crease, delta, side)) > 0.02
    ]
    faded = [line for line in lines if line[2] < 0]
    lines = [line for line in lines if line[2] > 0]
    if not (faded or lines):
        return
    cheeks = np.clip(points[list(_CHEEKS), :2].astype(int), 0, np.array(image.shape[1::-1]) - 1)
    skin = np.median(image[cheeks[:, 1], cheeks[:, 0]], axis=0)
    cheek = float(skin[1])
    if faded:
        _fill(image, faded, region, scale, cheek)
    if not lines:
        return
    columns, rows = region.grid_size
    cell = scale * columns / region.width
    factor = strength * skin_texture(image, points, scale)
    gain = np.zeros((rows, columns), np.float32)
    for width in sorted({crease.width for crease, _, _ in lines}):
        drawn = np.zeros_like(gain)
        for crease, path, amount in lines:
            if crease.width == width:
                _stroke(drawn, region.to_grid(path), crease.depth * amount, width * cell)
        sigma = max(0.6, width * cell)
        core, flank = (cv2.GaussianBlur(drawn, (0, 0), sigma * s) for s in (0.8, 2.2))
        gain += 1.0 * flank - 1.9 * core  # a dark line between two bright ridges
    x, y, width, height = cv2.boundingRect((np.abs(gain) > _MIN_CHANGE).astype(np.uint8))
    if not width:
        return
    (left, top), (right, bottom) = (
        region.to_pixels((x, y)),
        region.to_pixels((x + width, y + height)),
    )
    window = image[top:bottom, left:right]
    small = cv2.resize(window[..., 1], (width, height), interpolation=cv2.INTER_AREA)
    skin = _skin(small.astype(np.float32), cheek, _SURROUNDINGS * cell)
    depth = np.clip(gain[y : y + height, x : x + width] * factor * skin, -0.5, 0.3)
    colorful = float(np.clip(np.ptp(skin) / _COLORFUL, 0, 1))
    tint = cv2.exp(cv2.merge([depth * (1 + colorful * (share - 1)) for share in _REDDENING]))
    whole = cv2.resize(tint, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    window[:] = cv2.multiply(window, whole, dtype=cv2.CV_8U)


def _fill(
    image: RGBImage,
    lines: list[tuple[Crease, Points, float]],
    region: Region,
    scale: float,
    cheek: float,
) -> None:
    """Brighten dark lines along creases up to the skin beside them, in place; pores stay."""
    path = np.concatenate([path for _, path, _ in lines])
    pad = 2 * _FILLED_WIDTH * scale
    box = Box.around(path, pad).within(Box(0, 0, image.shape[1], image.shape[0]))
    if min(box.width, box.height) < 8:
        return
    window = image[box.slices].astype(np.float32)
    mask = np.zeros(window.shape[:2], np.float32)
    for _, line, amount in lines:
        _stroke(mask, line - [box.left, box.top], -amount, _FILLED_WIDTH * scale)
    mask = cv2.GaussianBlur(mask, (0, 0), max(0.6, _FILLED_WIDTH * scale / 3))
    smooth = cv2.GaussianBlur(window, (0, 0), max(0.5, _PORES * scale))
    size = 2 * round(_FILLED_WIDTH * scale / 2) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    closed = cv2.GaussianBlur(
        cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, kernel), (0, 0), max(0.6, size / 6)
    )
    mask *= _skin(window[..., 1], cheek, _SURROUNDINGS * scale, _DARK_FURROW)
    window += np.maximum(closed - smooth, 0) * np.minimum(mask, 1)[..., None]
    image[box.slices] = np.clip(window + 0.5, 0, 255).astype(np.uint8)


def _skin(
    brightness: npt.NDArray[np.float32],
    cheek: float,
    reach: float,
    dark: tuple[float, float] = _DARK_LINE,
) -> npt.NDArray[np.float32]:
    """Return how far cells show skin, ``(rows, columns)`` in 0..1, rather than something dark."""
    around = cv2.GaussianBlur(brightness, (0, 0), max(reach, 1.0))
    line = (brightness / np.maximum(around, 1) - dark[0]) / (dark[1] - dark[0])
    patch = (brightness / max(cheek, 1) - _DARK_PATCH[0]) / (_DARK_PATCH[1] - _DARK_PATCH[0])
    out = np.clip(np.minimum(line, patch), 0, 1).astype(np.float32)
    return cv2.blur(out, (3, 3))


def _stroke(drawn: npt.NDArray[np.float32], path: Points, depth: float, width: float) -> None:
    """Draw a line that fades out at both ends, in place."""
    thick = max(1, round(width * 0.9))
    cells = np.round(path * 16).astype(int)
    for i in range(len(cells) - 1):
        fade = float(np.sin(np.pi * (i + 0.7) / (len(cells) + 0.4)) ** 0.7)
        a, b = cells[i].tolist(), cells[i + 1].tolist()
        cv2.line(drawn, a, b, depth * fade, thick, cv2.LINE_8, 4)
