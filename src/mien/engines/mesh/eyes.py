"""Eyes under moving lids: the eyeball keeps its place, its hidden parts are completed."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.face.topology import EYES, Eye
from mien.media.frame import RGBImage

Points = npt.NDArray[np.float64]

_MARGIN: Final = 0.10
"""Free border around the eye's box, eye distances."""

_LEAST_LID: Final = 0.25
_LEAST_GLANCE: Final = 0.05
"""Pixels of motion under which an eye is left alone."""

_IRIS_REACH: Final = 1.9
"""Radii of the iris within which the eye goes along with a glance."""

_SHUT: Final = (0.008, 0.03)
"""Height of the opening, eye distances, over which the eyeball comes to be seen."""

_LASHES: Final = 0.04
"""Thickness of closed lashes, eye distances."""

_LASH_TONE: Final = 0.4
"""Their brightness by the skin's."""

_LASH_BAND: Final = 0.045
"""Height under the old lid line that its lashes and shadow reach, eye distances."""


def _opening(points: Points, eye: Eye) -> Points:
    """Outline ``(16, 2)`` of the eye opening."""
    order = [eye.corners[0], *eye.upper_lid, eye.corners[1], *reversed(eye.lower_lid)]
    out: Points = points[order]
    return out


def _opening_height(outline: Points) -> float:
    """Largest height of an eye opening ``(16, 2)``, pixels."""
    upper, lower = outline[1:8, 1], outline[15:8:-1, 1]
    return float((lower - upper).max())


def _lid_line(lid: Points, columns: npt.NDArray[np.int_]) -> npt.NDArray[np.float32]:
    """Height ``(1, W)`` of a lid, corners included, over picture columns."""
    order = np.argsort(lid[:, 0])
    return np.interp(columns, lid[order, 0], lid[order, 1]).astype(np.float32)[None]


def _soft_mask(
    outline: Points, origin: tuple[int, int], shape: tuple[int, int], blur: float
) -> npt.NDArray[np.float32]:
    """Filled polygon, 0..1, edges softened by ``blur`` pixels."""
    mask = np.zeros(shape, np.float32)
    cv2.fillPoly(mask, [np.round((outline - origin) * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(mask, (0, 0), blur) if blur > 0.3 else mask


def draw_eyes(
    warped: RGBImage,
    source: RGBImage,
    landmarks: Points,
    motion: Points,
    scale: float,
    look: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Put the unmoved eyeballs into ``warped``, in place.

    Inside the new eye opening the source's own pixels show, unmoved. What the old lid covered is
    filled by the part of the eye that mirrors it across the middle of the iris, shaded like the
    region under a lid.

    Args:
        warped: the picture being edited, ``uint8 (H, W, 3)``; written to.
        source: the unedited picture.
        landmarks: ``(478, 2)`` pixels in ``source``.
        motion: ``(478, 2)`` pixels.
        scale: pixels per eye distance.
        look: travel of the irises to the right and down, pixels.
    """
    looking = max(map(abs, look)) >= _LEAST_GLANCE
    for eye in EYES.values():
        lids = [*eye.upper_lid, *eye.lower_lid]
        if np.abs(motion[lids]).max() < _LEAST_LID and not looking:
            continue
        seen = _glanced(source, landmarks, eye, look) if looking else source
        _draw_eye(warped, seen, landmarks, motion, scale, eye)


def _glanced(source: RGBImage, landmarks: Points, eye: Eye, look: tuple[float, float]) -> RGBImage:
    """The picture with one iris moved; the white at the corners of the eye stays."""
    iris = landmarks[list(eye.iris)]
    centre = iris[1:].mean(0)
    radius = float(np.linalg.norm(iris[1:] - centre, axis=1).mean())
    reach = _IRIS_REACH * radius + max(map(abs, look))
    x0, y0 = np.maximum(np.floor(centre - reach).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(centre + reach).astype(int), source.shape[1::-1])
    if x1 - x0 < 3 or y1 - y0 < 3:
        return source
    x, y = np.meshgrid(np.arange(x0, x1, dtype=np.float32), np.arange(y0, y1, dtype=np.float32))
    away = np.hypot(x - centre[0] - look[0], y - centre[1] - look[1]) / radius
    share = np.clip((_IRIS_REACH - away) / (_IRIS_REACH - 1), 0, 1)
    share = share * share * (3 - 2 * share)
    out = source.copy()
    out[y0:y1, x0:x1] = cv2.remap(
        source,
        (x - share * look[0]).astype(np.float32),
        (y - share * look[1]).astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return out


def _draw_eye(
    warped: RGBImage, source: RGBImage, landmarks: Points, motion: Points, scale: float, eye: Eye
) -> None:
    old, new = _opening(landmarks, eye), _opening(landmarks + motion, eye)
    everything = np.concatenate([old, new])
    pad = _MARGIN * scale + 2
    x0, y0 = np.maximum(np.floor(everything.min(0) - pad), 0).astype(int).tolist()
    x1, y1 = (
        np.minimum(np.ceil(everything.max(0) + pad), [source.shape[1] - 1, source.shape[0] - 1])
        .astype(int)
        .tolist()
    )
    if x1 - x0 < 4 or y1 - y0 < 4:
        return
    shape = (y1 - y0, x1 - x0)
    ball = source[y0:y1, x0:x1].astype(np.float32)
    x = np.broadcast_to(np.arange(x0, x1, dtype=np.float32), shape)
    y = np.broadcast_to(np.arange(y0, y1, dtype=np.float32)[:, None], shape)
    columns = np.arange(x0, x1)
    upper, lower = _lid_line(old[:9], columns), _lid_line(old[[0, *range(15, 7, -1)]], columns)
    # Lashes and their shadow hang over the edge of the eye: that band is completed as well.
    band = min(_LASH_BAND * scale, 0.3 * float((lower - upper).max()))
    raised = float(np.maximum(-motion[list(eye.upper_lid), 1].min(), 0))
    if raised > 0.25 and float((lower - upper).max()) > 3:
        ball = _complete(
            source, ball, x, y, landmarks[list(eye.iris)], upper + band, lower, band, raised / scale
        )
        under_lid = np.clip((y - _lid_line(new[:9], columns)) / max(1.6 * band, 1.0), 0, 1)
        ball *= (0.70 + 0.30 * under_lid)[..., None] ** min(1.0, raised / (0.02 * scale))
    # A closed eye shows none of its ball, not even a bright line.
    shown = float(np.clip((_opening_height(new) / scale - _SHUT[0]) / (_SHUT[1] - _SHUT[0]), 0, 1))
    mask = _soft_mask(new, (x0, y0), shape, 0.012 * scale)[..., None] * np.float32(shown)
    patch = warped[y0:y1, x0:x1].astype(np.float32)
    patch += (ball - patch) * mask
    if shown < 1:
        _draw_lashes(patch, new, (x0, y0), scale, 1 - shown)
    warped[y0:y1, x0:x1] = np.clip(patch + 0.5, 0, 255).astype(np.uint8)


def _draw_lashes(
    patch: npt.NDArray[np.float32],
    opening: Points,
    origin: tuple[int, int],
    scale: float,
    strength: float,
) -> None:
    """Where lids meet there are lashes: a dark line over the slit, in place.

    Args:
        patch: window of the picture, ``float32 (h, w, 3)``.
        opening: outline of the closed eye ``(16, 2)``, pixels of the picture.
        origin: of the window.
        scale: pixels per eye distance.
        strength: 0..1.
    """
    upper, lower = opening[:9], opening[[0, *range(15, 8, -1), 8]]
    # Widest in the middle, nothing at the corners.
    thick = _LASHES * scale * np.sin(np.linspace(0, np.pi, len(upper)))
    top = np.minimum(upper[:, 1], lower[:, 1]) - 0.65 * thick
    bottom = np.maximum(upper[:, 1], lower[:, 1]) + 0.35 * thick
    middle = (upper[:, 0] + lower[:, 0]) / 2
    outline = np.concatenate([np.stack([middle, top], 1), np.stack([middle, bottom], 1)[::-1]])
    mask = _soft_mask(outline, origin, patch.shape[:2], max(0.5, 0.2 * _LASHES * scale))
    skin = np.median(patch.reshape(-1, 3), 0)
    patch += (skin * _LASH_TONE - patch) * (strength * np.minimum(1.5 * mask, 1))[..., None]


def _complete(
    source: RGBImage,
    ball: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.float32],
    iris: Points,
    top: npt.NDArray[np.float32],
    bottom: npt.NDArray[np.float32],
    band: float,
    raised: float,
) -> npt.NDArray[np.float32]:
    """Eyeball with the part above ``top`` made up.

    Hidden iris is taken from visible iris at the same distance from the pupil's middle, hidden
    white from a smooth run between the visible white of both sides.

    Args:
        source: the unedited picture.
        ball: its window, ``float32 (h, w, 3)``.
        x: picture columns of the window, ``(h, w)``.
        y: picture rows of the window, ``(h, w)``.
        iris: middle and four border points, ``(5, 2)``.
        top: ``(1, w)`` height down from which the eye is seen.
        bottom: ``(1, w)`` height down to which it is seen.
        band: softness of the seam, pixels.
        raised: how far the lid rises, eye distances.
    """
    center = iris[1:].mean(0)
    radius = float(np.linalg.norm(iris[1:] - center, axis=1).mean())
    dx, dy = x - center[0], y - center[1]
    distance = np.hypot(dx, dy)
    seen_y = np.clip(y, top, np.maximum(bottom - 1, top))
    across = np.sqrt(np.maximum(distance**2 - (seen_y - center[1]) ** 2, 0)) * np.sign(dx)
    inside = cv2.remap(
        source, (center[0] + across).astype(np.float32), seen_y.astype(np.float32), cv2.INTER_LINEAR
    ).astype(np.float32)
    white = _white(source, x, center, radius)
    limbus = np.clip((distance - 0.94 * radius) / (0.14 * radius), 0, 1)[..., None]
    made = inside + (white - inside) * limbus
    near = (y < np.maximum(top, center[1]) + band).astype(np.float32)
    share = np.clip((top - y) / max(band, 1.0) + 1, 0, 1) * near * min(1.0, raised / 0.015)
    out: npt.NDArray[np.float32] = ball + (made - ball) * share[..., None]
    return out


def _white(
    source: RGBImage, x: npt.NDArray[np.float32], center: Points, radius: float
) -> npt.NDArray[np.float32]:
    """Colour of the white of the eye, from what is seen left and right of the iris."""
    row = int(np.clip(round(float(center[1])), 1, source.shape[0] - 2))
    colors = []
    for side in (-1, 1):
        at = np.round(center[0] + side * radius * np.array([1.25, 1.4, 1.55])).astype(int)
        at = np.clip(at, 0, source.shape[1] - 1)
        patch = source[row - 1 : row + 2][:, at].reshape(-1, 3).astype(np.float32)
        colors.append(np.median(patch, 0))
    t = np.clip((x - center[0]) / (2.5 * radius) + 0.5, 0, 1)[..., None]
    out: npt.NDArray[np.float32] = (colors[0] + (colors[1] - colors[0]) * t).astype(np.float32)
    return out
