"""Draw what an edit uncovers inside a mouth, by the appearance net."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.engines.mesh.appearance import (
    HEIGHT,
    WIDTH,
    Exemplar,
    Layer,
    MouthFrame,
    conditions,
    donors,
    draw_inside,
    inside,
    region,
    skin_color,
)
from mien.face.pose import HeadPose
from mien.face.topology import INNER_LOWER, INNER_UPPER, LOWER_LIP_MIDDLE, UPPER_LIP_MIDDLE
from mien.media.frame import Box, RGBImage

Points = npt.NDArray[np.float64]

_OWN_MOUTH: Final = (0.05, 0.08)
"""Lip gaps in the source, eye distances, between which its own inside becomes the example."""

_APPEARS: Final = (0.008, 0.03)
"""Lip gaps after the edit, eye distances, between which the drawn inside fades in."""

_LEAST_DRAWN: Final = 0.14
"""Lip gap, eye distances, of the mouth that the net draws at least; a narrower one shows a part of
it. Narrow gaps in pictures are blurred, and learned from them the net would close the lips."""

_KEPT: Final = (0.02, 0.08)
"""Changes of the gap, eye distances, between which an open mouth's own pixels give way."""

_COLORFUL: Final = 20.0
"""Range of the skin's channels from which an image counts as fully coloured."""

_TOOTH: Final = (0.78, 0.9)
"""Green by red from which a pixel begins to be a tooth, and from which it surely is one."""

_WHITE: Final = 0.92
"""Least blue of a tooth, relative to its red and green, in plain light."""

_PLAIN_LIGHT: Final = 0.87
"""Blue by green of skin in plain light."""

_EDGE: Final = 0.012
"""Softness of the edge of a person's own inside, eye distances."""


def draw_mouth(
    image: RGBImage,
    source: RGBImage,
    pose: HeadPose,
    points: Points,
    moves: Points,
    *,
    keep_own: bool = True,
) -> None:
    """Draw what an edit uncovers inside the mouth, in place.

    Args:
        image: the warped image, ``uint8 (H, W, 3)``.
        source: the unedited image.
        pose: head pose of the unedited face.
        points: landmarks ``(478, 3)`` before the edit, pixels.
        moves: ``(478, 3)`` pixels.
        keep_own: keep the pixels of a mouth that was open and hardly changes. A speaking mouth
            must not, or its teeth would come and go.
    """
    new = points + moves
    own_gap, gap = _gap(points) / pose.scale, _gap(new) / pose.scale
    shown = _ramp(gap, _APPEARS)
    if shown <= 0 or np.abs(moves[list(INNER_UPPER + INNER_LOWER), :2]).max() < 0.25:
        return
    frame = MouthFrame.of(new, pose)
    box = _box(frame, image.shape)
    if box is None:
        return
    patch = frame.cut(image)
    skin = skin_color(patch, frame.outline)
    wide = frame.opened(_LEAST_DRAWN)
    drawn = draw_inside(
        conditions(
            patch,
            wide,
            _example(source, points, pose, own_gap, skin).planes(wide.outline, skin),
            donors().style_of(wide.outline),
        )
    )
    drawn = _in_color(drawn, skin)
    color = _placed(drawn, frame, box)
    alpha = _placed(region(frame.outline), frame, box)[..., None] * shown
    window = image[box.slices].astype(np.float32)
    own = _ramp(own_gap, _OWN_MOUTH) * (1 - _ramp(abs(gap - own_gap), _KEPT)) if keep_own else 0
    if own > 0:
        before = MouthFrame.of(points, pose)
        kept = _placed(inside(before.outline), before, box)
        kept = cv2.GaussianBlur(kept, (0, 0), max(0.5, _EDGE * pose.scale))
        kept = np.clip(2 * kept - 1, 0, 1)[..., None] * np.float32(own)
        color += (source[box.slices].astype(np.float32) - color) * kept
    image[box.slices] = np.clip(window + (color - window) * alpha + 0.5, 0, 255).astype(np.uint8)


def _in_color(drawn: Layer, skin: Layer) -> Layer:
    """Take the yellow out of the teeth, and all colour in a gray image."""
    red, green, blue = (drawn[..., i] for i in range(3))
    tooth = np.clip((green / np.maximum(red, 1) - _TOOTH[0]) / (_TOOTH[1] - _TOOTH[0]), 0, 1)
    light = float(np.clip(skin[2] / max(skin[1], 1) / _PLAIN_LIGHT, 0.5, 1)) ** 0.5
    whiter = np.maximum(_WHITE * light * (red + green) / 2 - blue, 0) * tooth
    out = np.stack([red, np.minimum(green, np.maximum(red, blue)), blue + whiter], 2)
    colorful = float(np.clip((skin.max() - skin.min()) / _COLORFUL, 0, 1))
    gray = out.mean(2, keepdims=True)
    colored: Layer = gray + (out - gray) * colorful
    return colored


def _gap(points: Points) -> float:
    return float(np.linalg.norm((points[LOWER_LIP_MIDDLE] - points[UPPER_LIP_MIDDLE])[:2]))


def _ramp(value: float, between: tuple[float, float]) -> float:
    return float(np.clip((value - between[0]) / (between[1] - between[0]), 0, 1))


def _example(
    source: RGBImage, points: Points, pose: HeadPose, own_gap: float, skin: Layer
) -> Exemplar:
    """Return the person's own inside where it is open enough, else a donor's."""
    if own_gap > _OWN_MOUTH[1]:
        frame = MouthFrame.of(points, pose)
        return Exemplar.of(frame.cut(source), frame.outline)
    return donors().for_face(pose.yaw, skin)


def _box(frame: MouthFrame, shape: tuple[int, ...]) -> Box | None:
    """Return the pixels of the image that a patch covers; None outside."""
    back = cv2.invertAffineTransform(frame.to_patch)
    corners = np.array([[0, 0], [WIDTH, 0], [0, HEIGHT], [WIDTH, HEIGHT]]) - 0.5
    box = Box.around(corners @ back[:, :2].T + back[:, 2]).within(Box(0, 0, shape[1], shape[0]))
    return box if min(box.width, box.height) >= 4 else None


def _placed(patch: Layer, frame: MouthFrame, box: Box) -> Layer:
    """Move a patch back to its place in the image; the part in ``box``, zero elsewhere."""
    back = cv2.invertAffineTransform(frame.to_patch)
    factor = float(np.sqrt(abs(np.linalg.det(back[:, :2]))))
    if factor < 0.7:
        patch = cv2.GaussianBlur(patch, (0, 0), 0.45 / factor)
    back[:, 2] -= [box.left, box.top]
    out: Layer = cv2.warpAffine(patch, back, (box.width, box.height), flags=cv2.INTER_CUBIC)
    return out
