"""Draw the eyes under moving lids: the eyeball stays in place, its hidden parts are filled in."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.face.topology import EYES, Eye
from mien.media.frame import RGBImage
from mien.utils.numeric import smoothstep

Points = npt.NDArray[np.float64]
Window = npt.NDArray[np.float32]

_MARGIN: Final = 0.10
"""Border around the box of the eye, eye distances."""

_MIN_LID_MOTION: Final = 0.25
_MIN_GAZE: Final = 0.05
"""Pixels of motion of lids and irises below which an eye is not drawn."""

_IRIS_REACH: Final = 1.9
"""Distance, iris radii, within which the eyeball moves with the iris."""

_SHUT: Final = (0.008, 0.03)
"""Heights of the opening, eye distances, between which the eyeball fades in."""

_LOWERED: Final = 0.03
"""How far a lid comes down, eye distances, until what lies at its edge is drawn fully."""

_LASHES: Final = (-0.014, -0.004, 0.008, 0.026)
"""Where the lashes of the upper lid begin, are whole, thin out and end, eye distances below it."""

_CONTACT: Final = (0.4, 0.012)
"""How much the line where the lids meet is darkened, and its width, eye distances."""

_SEAM: Final = 0.065
"""Distance from the line where the lids meet, eye distances, within which their skin is drawn."""

_LEAST_SEAM: Final = 3.5
"""The same in pixels, at least."""

_STROKE: Final = 0.03
_LID_HEIGHT: Final = 0.08
"""Half the width of the widest lash that is taken off a lid, and where it ends, eye distances."""

_SLIT_SHADE: Final = (0.5, 0.07)
"""How much a lid that comes down shades the eyeball, and how far below it, eye distances."""

_OUTSIDE_IRIS: Final = 1.2
_FEWEST_WHITE: Final = 4
"""Where the white begins, iris radii, and how many pixels show its colour."""

_LID_SHADE: Final = 0.84
"""Brightness of the eyeball just under a raised lid."""

_LASH_BAND: Final = 0.045
"""How far lashes and shadow reach below the original lid line, eye distances."""


def _opening(points: Points, eye: Eye) -> Points:
    """Return the outline ``(16, 2)`` of the eye opening."""
    return points[[eye.corners[0], *eye.upper_lid, eye.corners[1], *reversed(eye.lower_lid)]]


def _opening_height(outline: Points) -> float:
    """Return the largest height of an eye opening ``(16, 2)``, pixels."""
    upper, lower = outline[1:8, 1], outline[15:8:-1, 1]
    return float((lower - upper).max())


def _lid_line(lid: Points, columns: npt.NDArray[np.int_]) -> npt.NDArray[np.float32]:
    """Return the y coordinate ``(1, W)`` of a lid, corners included, at the image columns."""
    order = np.argsort(lid[:, 0])
    return np.interp(columns, lid[order, 0], lid[order, 1]).astype(np.float32)[None]


def _soft_mask(
    outline: Points, origin: tuple[int, int], shape: tuple[int, int], blur: float
) -> npt.NDArray[np.float32]:
    """Return a filled polygon, 0..1, with edges blurred by ``blur`` pixels."""
    mask = np.zeros(shape, np.float32)
    cv2.fillPoly(mask, [np.round((outline - origin) * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(mask, (0, 0), blur) if blur > 0.3 else mask


def draw_eyes(
    warped: RGBImage,
    source: RGBImage,
    landmarks: Points,
    motion: Points,
    scale: float,
    gaze: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Draw the unmoved eyeballs into ``warped``, in place.

    The new eye opening shows the pixels of the source, unmoved. What the lid covered is filled in
    from the visible iris and white, shaded like the region under a lid.

    Args:
        warped: the image to draw on, ``uint8 (H, W, 3)``.
        source: the unedited image.
        landmarks: ``(478, 2)`` pixels in ``source``.
        motion: ``(478, 2)`` pixels.
        scale: pixels per eye distance.
        gaze: displacement of the irises to the right and down, pixels.
    """
    moved = max(map(abs, gaze)) >= _MIN_GAZE
    drawn = [
        side
        for side, eye in EYES.items()
        if moved or np.abs(motion[[*eye.upper_lid, *eye.lower_lid]]).max() >= _MIN_LID_MOTION
    ]
    if not drawn:
        return
    seen = {side: _whites(source, landmarks, eye) for side, eye in EYES.items()}
    for side in drawn:
        eye = EYES[side]
        image = _with_gaze(source, landmarks, eye, gaze) if moved else source
        whites = _completed([*seen[side], *seen["R" if side == "L" else "L"]])
        _draw_eye(warped, image, landmarks, motion, scale, eye, whites)


def _completed(seen: list[Points | None]) -> tuple[Points, Points] | None:
    """Fill colours of this eye that do not show with the other side's, then the other eye's."""
    known = [color for color in seen if color is not None]
    if not known:
        return None
    left, right = (known[0] if color is None else color for color in seen[:2])
    return left, right


def _with_gaze(
    source: RGBImage, landmarks: Points, eye: Eye, gaze: tuple[float, float]
) -> RGBImage:
    """Return the image with one iris moved; the white at the corners of the eye stays."""
    iris = landmarks[list(eye.iris)]
    centre = iris[1:].mean(0)
    radius = float(np.linalg.norm(iris[1:] - centre, axis=1).mean())
    reach = _IRIS_REACH * radius + max(map(abs, gaze))
    x0, y0 = np.maximum(np.floor(centre - reach).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(centre + reach).astype(int), source.shape[1::-1])
    if x1 - x0 < 3 or y1 - y0 < 3:
        return source
    x, y = np.meshgrid(np.arange(x0, x1, dtype=np.float32), np.arange(y0, y1, dtype=np.float32))
    away = np.hypot(x - centre[0] - gaze[0], y - centre[1] - gaze[1]) / radius
    share = smoothstep(np.clip((_IRIS_REACH - away) / (_IRIS_REACH - 1), 0, 1))
    out = source.copy()
    out[y0:y1, x0:x1] = cv2.remap(
        source,
        (x - share * gaze[0]).astype(np.float32),
        (y - share * gaze[1]).astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return out


def _draw_eye(
    warped: RGBImage,
    source: RGBImage,
    landmarks: Points,
    motion: Points,
    scale: float,
    eye: Eye,
    whites: tuple[Points, Points] | None,
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
    # Lashes and their shadow overhang the edge of the eye: that band is filled in as well.
    band = min(_LASH_BAND * scale, 0.3 * float((lower - upper).max()))
    raised = float(np.maximum(-motion[list(eye.upper_lid), 1].min(), 0))
    below = y - _lid_line(new[:9], columns)
    if raised > 0.25 and whites is not None and float((lower - upper).max()) > 3:
        iris = landmarks[list(eye.iris)]
        ball = _filled_in(
            source, ball, x, y, iris, upper + band, lower, band, raised / scale, whites
        )
        shade = _LID_SHADE + (1 - _LID_SHADE) * np.clip(below / max(1.6 * band, 1.0), 0, 1)
        ball *= shade[..., None] ** min(1.0, raised / (0.02 * scale))
    lowered = float(np.clip(motion[list(eye.upper_lid), 1].max() / (_LOWERED * scale), 0, 1))
    height = _opening_height(new)
    if lowered > 0:
        closed = 1 - float(np.clip(height / max(_opening_height(old), 1.0), 0, 1))
        depth, reach = _SLIT_SHADE
        ball *= 1 - depth * closed * np.clip(1 - below / (reach * scale), 0, 1)[..., None]
    # A closed eye shows nothing of the eyeball, not even a bright line.
    shown = float(np.clip((height / scale - _SHUT[0]) / (_SHUT[1] - _SHUT[0]), 0, 1))
    mask = _soft_mask(new, (x0, y0), shape, 0.012 * scale)[..., None] * np.float32(shown)
    window = warped[y0:y1, x0:x1].astype(np.float32)
    window += (ball - window) * mask
    if lowered > 0:
        lid = [eye.corners[0], *eye.upper_lid, eye.corners[1]]
        _draw_lid(window, source, (x, y), new[:9], motion[lid], scale, lowered, 1 - shown)
    warped[y0:y1, x0:x1] = np.clip(window + 0.5, 0, 255).astype(np.uint8)


def _draw_lid(
    window: Window,
    source: RGBImage,
    place: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    edge: Points,
    motion: Points,
    scale: float,
    lowered: float,
    shut: float,
) -> None:
    """Draw a lid that came down, in place: without the lashes on its skin, with those at its edge.

    Args:
        window: ``float32 (h, w, 3)``.
        source: the unedited image.
        place: columns and rows of the window in the image, ``(h, w)`` each.
        edge: of the lid, corners included, ``(9, 2)`` pixels of the image.
        motion: by which it came there, ``(9, 2)`` pixels.
        scale: pixels per eye distance.
        lowered: how far it came down, 0..1.
        shut: 1 where the lids meet.
    """
    x, y = place
    order = np.argsort(edge[:, 0])
    line, across, down = (
        np.interp(x[0], edge[order, 0], values[order]).astype(np.float32)[None]
        for values in (edge[:, 1], motion[:, 0], motion[:, 1])
    )
    along = np.clip((x[:1] - edge[:, 0].min()) / max(float(np.ptp(edge[:, 0])), 1.0), 0, 1)
    below, inside = (y - line) / np.float32(scale), np.sqrt(np.sin(np.pi * along))
    if shut > 0:
        ends = np.minimum(4 * inside, 1)
        column, row = x - x[0, 0], np.broadcast_to(line - y[0, 0], y.shape)
        away = np.float32(max(_SEAM * scale, _LEAST_SEAM))
        skin, cheek = (
            cv2.remap(window, column, row + a, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for a in (-away, away)
        )
        seam = skin + (cheek - skin) * np.clip((y - line) / (2 * away) + 0.5, 0, 1)[..., None]
        window += (seam - window) * (shut * ends * (np.abs(y - line) < away))[..., None]
    stroke = np.ones((1, 2 * int(_STROKE * scale) + 3), np.uint8)
    plain = cv2.morphologyEx(window, cv2.MORPH_CLOSE, stroke)
    bare = np.interp(below, (-_LID_HEIGHT, -_LID_HEIGHT / 2, -0.01, 0), (0, 1, 1, 0))
    window += (plain - window) * (lowered * inside * bare)[..., None].astype(np.float32)
    own = cv2.remap(source, x - across, y - down, cv2.INTER_LINEAR).astype(np.float32)
    lashes = np.interp(below, _LASHES, (0, 1, 1, 0)) * lowered * inside
    darker = np.minimum(own.sum(2) / np.maximum(window.sum(2), 1), 1)
    window *= 1 + ((darker - 1) * lashes)[..., None].astype(np.float32)
    depth, reach = _CONTACT
    contact = depth * shut * lowered * inside * np.exp(-((below / reach) ** 2))
    window *= 1 - contact[..., None].astype(np.float32)


def _filled_in(
    source: RGBImage,
    ball: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.float32],
    iris: Points,
    top: npt.NDArray[np.float32],
    bottom: npt.NDArray[np.float32],
    band: float,
    raised: float,
    whites: tuple[Points, Points],
) -> npt.NDArray[np.float32]:
    """Return the eyeball with the part above ``top`` filled in.

    Hidden iris is copied from visible iris at the same distance from the pupil, hidden white is
    interpolated between the visible white of both sides.

    ``ball``: window of the source, ``float32 (h, w, 3)``; ``x``, ``y``: its columns and rows in the
    image, ``(h, w)``; ``iris``: centre and four border points, ``(5, 2)``; ``top``, ``bottom``:
    y coordinates between which the eye is visible, ``(1, w)``; ``band``: width of the transition,
    pixels; ``raised``: how far the lid rises, eye distances; ``whites``: colours of the white left
    and right of the iris.
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
    t = np.clip(dx / (2.5 * radius) + 0.5, 0, 1)[..., None]
    white = (whites[0] + (whites[1] - whites[0]) * t).astype(np.float32)
    limbus = np.clip((distance - radius) / (0.14 * radius), 0, 1)[..., None]
    made = inside + (white - inside) * limbus
    near = (y < np.maximum(top, center[1]) + band).astype(np.float32)
    share = np.clip((top - y) / max(band, 1.0) + 1, 0, 1) * near * min(1.0, raised / 0.015)
    out: npt.NDArray[np.float32] = ball + (made - ball) * share[..., None]
    return out


def _whites(source: RGBImage, landmarks: Points, eye: Eye) -> list[Points | None]:
    """Return the colours of the white left and right of the iris; None where hardly any shows.

    The brighter half of the pixels counts: the rest are lashes, shadows and the border of the iris.
    """
    outline = _opening(landmarks, eye)
    x0, y0 = np.maximum(np.floor(outline.min(0)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(outline.max(0)).astype(int) + 1, source.shape[1::-1])
    if x1 - x0 < 3 or y1 - y0 < 3:
        return [None, None]
    shown = _soft_mask(outline, (int(x0), int(y0)), (int(y1 - y0), int(x1 - x0)), 0) > 0.9
    iris = landmarks[list(eye.iris)]
    center = iris[1:].mean(0)
    radius = float(np.linalg.norm(iris[1:] - center, axis=1).mean())
    y, x = np.mgrid[y0:y1, x0:x1]
    white = shown & (np.hypot(x - center[0], y - center[1]) > _OUTSIDE_IRIS * radius)
    colors: list[Points | None] = []
    for side in (x < center[0], x > center[0]):
        pixels = source[y0:y1, x0:x1][white & side].astype(np.float64)
        if len(pixels) < _FEWEST_WHITE:
            colors.append(None)
            continue
        bright = pixels.sum(1)
        colors.append(pixels[bright >= np.median(bright)].mean(0))
    return colors
