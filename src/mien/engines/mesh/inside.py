"""The inside of a mouth: drawn in one piece, or in layers where it is wide open.

The net has seen few people who bare both rows of teeth, and blurs them. So a wide mouth is composed
of the space behind the teeth, drawn by the net without any, the upper teeth of the example below
the upper lip, and, where many teeth show, the same teeth turned upside down and made smaller above
the lower lip.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.engines.mesh.appearance import (
    HALF,
    HEIGHT,
    PIXELS_PER_EYE_DISTANCE,
    WIDTH,
    Exemplar,
    Layer,
    MouthFrame,
    conditions,
    donors,
    draw_inside,
    split_lips,
)
from mien.media.frame import RGBImage
from mien.utils.numeric import ramp

_LEAST_DRAWN: Final = 0.14
"""Lip gap, eye distances, of the mouth that the net draws at least; a narrower one shows a part of
it. Narrow gaps in pictures are blurred, and learned from them the net would close the lips."""

_WIDE: Final = (0.16, 0.28)
"""Lip gaps, eye distances, between which drawing in one piece gives way to layers."""

_FITTED: Final = 0.17
"""Height, eye distances, to which the upper teeth of an example are scaled."""

_WHOLE: Final = (0.0, 1.0)
"""Teeth, as a share of the opening, of a donor in which none were found."""

_CROWN, _LOWER_CROWN = 0.16, 0.13
"""Largest visible height of upper and of lower teeth, eye distances."""

_SLIT: Final = 0.012
"""Least distance between the rows, eye distances."""

_UPPER_SEEN: Final = (0.1, 0.13)
"""Heights of the upper teeth, eye distances, between which they begin to be drawn."""

_LOWER_SEEN: Final = (0.25, 0.45)
"""Shares of teeth in the inside between which the lower ones begin to be drawn."""

_LOWER_WIDTH, _LOWER_LIGHT = 0.75, 0.85
"""Width and brightness of lower teeth relative to upper ones."""

_SPACE: Final = (0.55, 0.03)
"""Least dark and toothy fractions (the style) of the space behind the teeth."""

_DEEP, _TONGUE = 0.65, 2.0
"""Darkness of the palate, and how late the tongue becomes light."""

_VIOLET: Final = 0.55
"""Blue that the space may have at least, relative to red."""

_EDGE: Final = 1.6
_SHADOW: Final = 5.0
"""Softness of the teeth's edges, and reach of the shadows of lip and teeth, patch pixels."""

_BRIGHTNESS: Final = np.float32(0.88)
"""Brightness of bared teeth relative to those of a smile, which lie farther in front."""

_LIP_SHADE: Final = 0.35
"""Darkness of the upper lip's shadow on the teeth."""


def drawn_mouth(patch: RGBImage, frame: MouthFrame, example: Exemplar, skin: Layer) -> Layer:
    """Draw the inside of a mouth.

    Args:
        patch: the warped image, RGB 0..255 ``(96, 128, 3)``.
        frame: of the mouth.
        example: another mouth's inside.
        skin: mean colour ``(3,)`` of the skin around the mouth.

    Returns:
        RGB ``float32 (96, 128, 3)``, 0..255, of which the inside is meant.
    """
    wide = ramp(frame.gap, _WIDE)
    if wide == 1:
        return _layers(patch, frame, example, skin)
    whole = _drawn(patch, frame.opened(_LEAST_DRAWN), example, skin)
    if wide > 0:
        whole += (_layers(patch, frame, example, skin) - whole) * np.float32(wide)
    return whole


def _layers(patch: RGBImage, frame: MouthFrame, example: Exemplar, skin: Layer) -> Layer:
    gap = frame.gap
    dark, tooth = donors().style_of(frame.outline)
    behind = _deepened(
        _drawn(patch, frame, example, skin, (max(dark, _SPACE[0]), _SPACE[1])), frame
    )
    height = min(_CROWN, tooth / max(dark + tooth, 1e-3) * gap)
    shown = ramp(height, _UPPER_SEEN)
    if not shown:
        return behind
    span = example.teeth
    if span is None:
        example = donors().for_face(frame.yaw, skin)
        span = example.teeth or _WHOLE
    lower = min(_LOWER_CROWN, gap - height - _SLIT) * ramp(tooth, _LOWER_SEEN)
    teeth = _fitted(example, span, frame, skin)
    return _layered(behind, teeth, frame, height / gap, max(lower, 0) / gap, shown)


def _drawn(
    patch: RGBImage,
    frame: MouthFrame,
    example: Exemplar,
    skin: Layer,
    style: tuple[float, float] | None = None,
) -> Layer:
    shown = example.planes(frame.outline, skin)
    style = style or donors().style_of(frame.outline)
    return draw_inside(conditions(patch, frame, shown, style))


_COLUMN = np.arange(WIDTH, dtype=np.float32)
_ROW = np.arange(HEIGHT, dtype=np.float32)[:, None]
_ALONG = np.abs(np.linspace(-1, 1, HALF, dtype=np.float32))[:, None]
"""Places along a lip, from 1 at the corners to 0 in the middle."""


def _layered(
    behind: Layer, teeth: Layer, frame: MouthFrame, height: float, lower: float, shown: float
) -> Layer:
    """Put rows of teeth in front of the space behind them.

    Args:
        behind: the space.
        teeth: of :func:`_fitted`.
        frame: of the wide mouth.
        height: of the upper teeth in the middle, relative to the gap.
        lower: the same of the lower teeth.
        shown: opacity of the upper teeth.
    """
    upper_lip, lower_lip = split_lips(frame.outline)
    opening = lower_lip - upper_lip
    across = np.interp(_COLUMN, [upper_lip[0, 0], upper_lip[-1, 0]], [0, 1])
    from_corners = 4 * across * (1 - across)
    tips = _height_at(upper_lip + opening * height * (1 - 0.5 * _ALONG**3))
    # How much of the teeth the lip covers.
    lowered = (_FITTED - height * frame.gap) * PIXELS_PER_EYE_DISTANCE
    shade = 0.5 + 0.5 * np.clip((_ROW - tips) / _SHADOW, 0, 1)
    out = behind * shade[..., None]
    if lower:
        crest = _height_at(lower_lip - opening * lower * (1 - 0.9 * _ALONG**2))
        middle = upper_lip[:, 0].mean()
        columns = middle + (_COLUMN - middle) / _LOWER_WIDTH
        rows = np.interp(columns, _COLUMN, tips) + lowered - 1 - (_ROW - crest)
        sides = np.clip(1.8 * from_corners - 0.6, 0, 1)
        share = np.clip((_ROW - crest) / _EDGE + 0.5, 0, 1) * sides
        out += (_sampled(teeth, columns, rows) * _LOWER_LIGHT - out) * share[..., None]
    sides = shown * np.clip(1.6 * from_corners, 0, 1)
    share = np.clip((tips - _ROW) / _EDGE + 0.5, 0, 1) * sides
    upper = _sampled(teeth, _COLUMN, np.repeat(_ROW + lowered, WIDTH, 1))
    upper *= 1 - _LIP_SHADE * np.clip(1 - (_ROW - _height_at(upper_lip)) / _SHADOW, 0, 1)[..., None]
    out += (upper - out) * share[..., None]
    return out.astype(np.float32)


def _fitted(example: Exemplar, span: tuple[float, float], frame: MouthFrame, skin: Layer) -> Layer:
    """Return the example's upper teeth below the upper lip of a mouth, column by column."""
    first, last = span
    upper, lower = split_lips(frame.outline)
    top = _height_at(upper)
    height = np.maximum((_height_at(lower) - top) * _FITTED / frame.gap, 1)
    lip, below = split_lips(example.outline)
    across = (_COLUMN - upper[:, 0].min()) / max(float(np.ptp(upper[:, 0])), 1)
    columns = (lip[:, 0].min() + across * np.ptp(lip[:, 0])).astype(np.float32)
    start = np.interp(columns, lip[:, 0], lip[:, 1])
    gap = np.maximum(np.interp(columns, below[:, 0], below[:, 1]) - start, 1)
    down = first + (_ROW - top) / height * (last - first)
    return _BRIGHTNESS * _sampled(example.lit(skin), columns, start + down * gap)


def _deepened(behind: Layer, frame: MouthFrame) -> Layer:
    """Darken the space behind the teeth towards the palate, and take the violet out of it."""
    upper_lip, lower_lip = split_lips(frame.outline)
    top, bottom = _height_at(upper_lip), _height_at(lower_lip)
    down = np.clip((_ROW - top) / np.maximum(bottom - top, 1), 0, 1)
    deep = ramp(frame.gap, _WIDE)
    out = behind * (1 - deep * _DEEP * (1 - down**_TONGUE))[..., None]
    out[..., 2] = np.minimum(out[..., 2], np.maximum(out[..., 1], _VIOLET * out[..., 0]))
    return out.astype(np.float32)


def _height_at(edge: npt.NDArray[np.floating[Any]]) -> Layer:
    """The row of an edge ``(P, 2)`` in every column of the patch."""
    out: Layer = np.interp(_COLUMN, edge[:, 0], edge[:, 1]).astype(np.float32)
    return out


def _sampled(patch: Layer, columns: Layer, rows: Layer) -> Layer:
    """Sample a patch at columns ``(128,)`` and rows ``(96, 128)``."""
    x = np.repeat(columns[None], HEIGHT, 0).astype(np.float32)
    out: Layer = cv2.remap(
        patch, x, rows.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return out
