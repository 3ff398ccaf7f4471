"""Paint the inside of a mouth: cavity, teeth and tongue, placed in the head frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.face.pose import HeadPose
from mien.face.topology import INNER_LOWER, INNER_UPPER, LOWER_LIP_MIDDLE, UPPER_LIP_MIDDLE
from mien.media.frame import RGBImage
from mien.utils.numeric import smoothstep

Points = npt.NDArray[np.float64]
Layer = npt.NDArray[np.float32]

_OWN_MOUTH: Final = (0.03, 0.05)
"""Lip gaps in the source, eye distances, between which its own open mouth takes over."""

_OWN_TEETH: Final = 0.10
"""Lip gap up to which the person's own teeth hardly show and painted ones are added."""

_APPEARS: Final = (0.008, 0.035)
"""Lip gaps after the edit, eye distances, between which the painted inside fades in."""

_OVERSAMPLING: Final = (3, 2)
"""Cells per pixel for a small and a large mouth."""

_LARGE: Final = 70
"""Width of the painted window, pixels, from which a mouth is large."""

_CAVITY: Final = np.array([52, 20, 20], np.float32)
_TONGUE: Final = np.array([150, 74, 72], np.float32)
_TOOTH: Final = np.array([226, 216, 200], np.float32)
_SKIN_POINTS: Final = (50, 280, 4, 205, 425)
_TYPICAL_SKIN: Final = 165.0
_COLORFUL_SKIN: Final = 35.0
"""Range of the skin's channels from which an image counts as fully coloured."""

_TOOTH_WIDTHS: Final = (0.068, 0.054, 0.058, 0.050, 0.050)
"""Widths of one side's teeth from the middle outwards, seen from the front, eye distances."""


@dataclass(frozen=True, slots=True)
class _Canvas:
    """An oversampled window of the image."""

    x: int
    y: int
    width: int
    height: int

    @property
    def cells(self) -> int:
        """Cells per pixel."""
        return _OVERSAMPLING[self.width >= _LARGE]

    def to_cells(self, points: Points) -> npt.NDArray[np.int32]:
        """Convert image pixels to canvas cells with 4 fractional bits."""
        cells = (points[..., :2] - [self.x, self.y] + 0.5) * self.cells - 0.5
        return np.round(cells * 16).astype(np.int32)

    def fill(self, points: Points) -> Layer:
        """Return a filled polygon, 0..1."""
        mask = np.zeros((self.height * self.cells, self.width * self.cells), np.float32)
        cv2.fillPoly(mask, [self.to_cells(points)], 1.0, cv2.LINE_AA, 4)
        return mask


def _curve(row: Points, count: int = 41) -> Points:
    """Return a smooth curve through the points of a lip (Catmull-Rom)."""
    at = np.linspace(0, len(row) - 1, count)
    i = np.clip(at.astype(int), 0, len(row) - 2)
    t = (at - i)[:, None]
    before, after = np.maximum(i - 1, 0), np.minimum(i + 2, len(row) - 1)
    p0, p1, p2, p3 = row[before], row[i], row[i + 1], row[after]
    out: Points = 0.5 * (
        2 * p1
        + (p2 - p0) * t
        + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
        + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    return out


def draw_mouth(
    image: RGBImage, source: RGBImage, pose: HeadPose, points: Points, moves: Points
) -> None:
    """Paint what an edit uncovers inside the mouth, in place.

    A mouth that was closed gets a complete inside; one that was open keeps its own teeth, unmoved,
    and only the newly uncovered part is painted.

    Args:
        image: the warped image, ``uint8 (H, W, 3)``.
        source: the unedited image.
        pose: head pose of the unedited face.
        points: landmarks ``(478, 3)`` before the edit, pixels.
        moves: ``(478, 3)`` pixels.
    """
    scale = pose.scale
    own_gap = float(np.linalg.norm(points[LOWER_LIP_MIDDLE] - points[UPPER_LIP_MIDDLE])) / scale
    new = points + moves
    gap = float(np.linalg.norm((new[LOWER_LIP_MIDDLE] - new[UPPER_LIP_MIDDLE])[:2])) / scale
    own = float(np.clip((own_gap - _OWN_MOUTH[0]) / (_OWN_MOUTH[1] - _OWN_MOUTH[0]), 0, 1))
    shown = float(np.clip((gap - _APPEARS[0]) / (_APPEARS[1] - _APPEARS[0]), 0, 1))
    if shown <= 0 or np.abs(moves[list(INNER_UPPER + INNER_LOWER), :2]).max() < 0.25:
        return
    outline = _outline(new)
    pad = 0.05 * scale + 3
    x0, y0 = np.maximum(np.floor(outline[:, :2].min(0) - pad), 0).astype(int).tolist()
    far = np.minimum(np.ceil(outline[:, :2].max(0) + pad), [image.shape[1], image.shape[0]])
    x1, y1 = far.astype(int).tolist()
    if x1 - x0 < 4 or y1 - y0 < 4:
        return
    canvas = _Canvas(x0, y0, x1 - x0, y1 - y0)
    head = pose.to_head(points)
    line = (head[UPPER_LIP_MIDDLE] + head[LOWER_LIP_MIDDLE]) / 2
    drop = float(pose.to_head(new)[LOWER_LIP_MIDDLE, 1] - line[1])
    inside = _paint(canvas, pose, line, drop, teeth=own_gap < _OWN_TEETH)
    mask = canvas.fill(outline)
    inside = (
        _in_light(inside, image, new)
        * _lip_shadow(mask, min(0.05, 0.3 * gap) * scale * canvas.cells)[..., None]
    )
    size = (canvas.width, canvas.height)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.5, 0.010 * scale * canvas.cells))
    alpha = cv2.resize(soft, size, interpolation=cv2.INTER_AREA)[..., None] * shown
    color = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
    if own > 0:
        kept = cv2.resize(canvas.fill(_outline(points)), size, interpolation=cv2.INTER_AREA)
        edge = max(0.5, 0.012 * scale)
        kept = np.clip(cv2.GaussianBlur(kept, (0, 0), edge) * 2 - 1, 0, 1)[..., None] * own
        color += (source[y0:y1, x0:x1].astype(np.float32) - color) * kept
    window = image[y0:y1, x0:x1].astype(np.float32)
    image[y0:y1, x0:x1] = np.clip(window + (color - window) * alpha + 0.5, 0, 255).astype(np.uint8)


def _outline(points: Points) -> Points:
    """Return the closed curve ``(82, 3)`` around the mouth opening."""
    return np.concatenate(
        [_curve(points[list(INNER_UPPER)]), _curve(points[list(INNER_LOWER)])[::-1]]
    )


def _in_light(colors: Layer, image: RGBImage, points: Points) -> Layer:
    """Adapt ``colors`` to the light on this face; grey in a black-and-white image."""
    at = np.clip(np.round(points[list(_SKIN_POINTS), :2]).astype(int), 0, None)
    skin = image[np.minimum(at[:, 1], image.shape[0] - 1), np.minimum(at[:, 0], image.shape[1] - 1)]
    color = np.median(skin.astype(np.float32), 0)
    level = float(np.clip(color.mean() / _TYPICAL_SKIN, 0.3, 1.1))
    colorful = float(np.clip((color.max() - color.min()) / _COLORFUL_SKIN, 0, 1))
    gray = colors.mean(2, keepdims=True)
    out: Layer = (gray + (colors - gray) * colorful) * level
    return out


def _lip_shadow(mask: Layer, reach: float) -> Layer:
    """Return the brightness of the inside towards the lips, 0..1; ``reach`` in cells."""
    distance = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    near = np.clip(distance / max(reach, 1.0), 0, 1)
    return (0.50 + 0.50 * smoothstep(near)).astype(np.float32)


def _paint(canvas: _Canvas, pose: HeadPose, line: Points, drop: float, teeth: bool) -> Layer:
    """Return the colours ``float32`` of the inside: cavity, tongue, lower and upper teeth."""
    shape = (canvas.height * canvas.cells, canvas.width * canvas.cells)
    out: Layer = np.empty((*shape, 3), np.float32)
    out[:] = _CAVITY
    cells = pose.scale * canvas.cells
    tongue_y = line[1] + drop + 0.01
    angle = np.linspace(0, 2 * np.pi, 40)
    half = min(0.12, 0.4 * drop)
    oval = np.stack(
        [
            0.23 * np.cos(angle) + line[0],
            tongue_y + half * 0.75 * np.sin(angle),
            np.full(40, line[2] + 0.12),
        ],
        1,
    )
    tongue = cv2.GaussianBlur(canvas.fill(pose.to_image(oval)), (0, 0), max(0.5, 0.03 * cells))
    out += (tongue * 0.9)[..., None] * (_TONGUE - out)
    if not teeth:
        return out
    lower_edge = line[1] + drop + 0.012
    _teeth(out, canvas, pose, line, lower_edge, -0.075, 0.80, 0.60)
    _teeth(out, canvas, pose, line, line[1] + 0.042, 0.17, 1.0, 0.97)
    return out


def _teeth(
    out: Layer,
    canvas: _Canvas,
    pose: HeadPose,
    line: Points,
    edge: float,
    height: float,
    width: float,
    bright: float,
) -> None:
    """Paint one row of teeth over ``out``, in place.

    ``edge``: y of the biting edge in the head frame; ``height``: towards the gums, positive for
    upper teeth; ``width``: factor on the tooth widths; ``bright``: 0..1.
    """
    cells = pose.scale * canvas.cells
    row = np.zeros(out.shape[:2], np.float32)
    shade = np.zeros(out.shape[:2], np.float32)
    up = np.sign(height)
    for side in (-1, 1):
        at = 0.0
        for number, tooth_width in enumerate(_TOOTH_WIDTHS):
            left, right = at, at + tooth_width * width
            at = right
            middle = (left + right) / 2
            reach = 0.009 if number == 1 else (0.002 if number == 2 else 0.004 * number)
            arc_z = line[2] + 0.06 + 0.9 * middle**2
            curve_y = -up * 0.25 * middle**2
            w = (right - left) / 2 * 0.975
            t = np.linspace(0, np.pi, 9)
            bite_x = middle - w * np.sign(np.cos(t)) * np.abs(np.cos(t)) ** 0.35
            bite_y = edge - up * reach * 0.8 + up * 0.016 * (np.sin(t) ** 0.5 - 1) + curve_y
            x = np.concatenate([bite_x, [middle + w * 0.9, middle - w * 0.9]])
            y = np.concatenate([bite_y, [edge - height, edge - height]])
            tooth = np.stack([side * x + line[0], y, np.full(x.size, arc_z)], 1)
            mask = canvas.fill(pose.to_image(tooth))
            light = bright * float(np.clip(1 - 5.0 * middle**2, 0.25, 1))
            row = np.maximum(row, mask)
            shade = np.where(mask > 0.5, light, shade)
    row = cv2.GaussianBlur(row, (0, 0), max(0.4, 0.006 * cells))
    shade = cv2.GaussianBlur(shade, (0, 0), max(0.4, 0.010 * cells))
    weight = np.clip(row * 1.02, 0, 1)
    tone = shade / np.maximum(
        cv2.GaussianBlur((shade > 0).astype(np.float32), (0, 0), max(0.4, 0.010 * cells)), 0.2
    )
    out += weight[..., None] * (
        _TOOTH * np.clip(tone, 0, 1)[..., None] * (0.72 + 0.28 * row[..., None]) - out
    )
