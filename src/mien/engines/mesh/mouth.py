"""Draw what an edit uncovers inside a mouth, by the appearance net."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.engines.mesh.appearance import (
    HEIGHT,
    HOLE,
    WIDTH,
    Exemplar,
    Layer,
    MouthFrame,
    donors,
    inside,
    region,
    skin_color,
)
from mien.engines.mesh.inside import drawn_mouth
from mien.face.pose import HeadPose
from mien.face.topology import INNER_LOWER, INNER_UPPER, LOWER_LIP_MIDDLE, UPPER_LIP_MIDDLE
from mien.media.frame import Box, RGBImage
from mien.utils.numeric import ramp

Points = npt.NDArray[np.float64]

_OWN_MOUTH: Final = (0.05, 0.08)
"""Lip gaps in the source, eye distances, between which its own inside becomes the example."""

_APPEARS: Final = (0.008, 0.03)
"""Lip gaps after the edit, eye distances, between which the drawn inside fades in."""

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

_STRAYS: Final = 7.0
_STRAY_LIGHT: Final = 1.2
"""Patch pixels around the opening in which the source's teeth may lie on the lips, and how much
brighter than lips they are."""

_SOFT: Final = 0.8
"""Softness of the edge of the drawn inside, patch pixels; whole pixels would be jagged."""

_BETWEEN_LIPS: Final = 0.7
"""Brightness, relative to lips, of the line between lips that an edit closes."""

_LEAST_MOTION: Final = 0.25
"""Pixels that lips move at least."""

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
    example: Exemplar | None = None,
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
        example: of the inside; None: the source's own where it is open, or another person's.
    """
    new = points + moves
    own_gap, gap = _gap(points) / pose.scale, _gap(new) / pose.scale
    shown, was_open = ramp(gap, _APPEARS), ramp(own_gap, _OWN_MOUTH)
    still = np.abs(moves[list(INNER_UPPER + INNER_LOWER), :2]).max() < _LEAST_MOTION
    if still or not (shown or was_open):
        return
    frame = MouthFrame.of(new, pose)
    box = _box(frame, image.shape)
    if box is None:
        return
    own = was_open * (1 - ramp(abs(gap - own_gap), _KEPT)) if keep_own else 0.0
    patch = frame.cut(image)
    used = cv2.GaussianBlur(region(frame.outline), (0, 0), _SOFT)
    color, alpha = patch.astype(np.float32), shown * used
    if own < was_open:
        patch, painted, over = _without_strays(patch, frame.outline)
        alpha = np.maximum(alpha, (was_open - own) * over)
        color = painted.astype(np.float32)
    if shown:
        skin = skin_color(patch, frame.outline)
        example = example or _example(source, points, pose, own_gap, skin)
        drawn = _in_color(drawn_mouth(patch, frame, example, skin), skin)
        color += (drawn - color) * (shown * used)[..., None]
    color, alpha = _placed(color, frame, box), _placed(alpha, frame, box)[..., None]
    window = image[box.slices].astype(np.float32)
    if own > 0:
        before = MouthFrame.of(points, pose)
        kept = _placed(inside(before.outline), before, box)
        kept = cv2.GaussianBlur(kept, (0, 0), max(0.5, _EDGE * pose.scale))
        kept = np.clip(2 * kept - 1, 0, 1)[..., None] * np.float32(own)
        color += (source[box.slices].astype(np.float32) - color) * kept
    image[box.slices] = np.clip(window + (color - window) * alpha + 0.5, 0, 255).astype(np.uint8)


def _without_strays(patch: RGBImage, edge: Layer) -> tuple[RGBImage, RGBImage, Layer]:
    """Paint over teeth that the source shows and that the edit left on the lips.

    Returns:
        The patch with clean lips; the same with closed lips; and where these two differ from the
        patch, ``float32 (96, 128)``.
    """
    hole = (inside(edge, HOLE) >= 0.5).astype(np.uint8)
    lips = (inside(edge, _STRAYS) >= 0.5) & (hole == 0)
    light = patch.mean(2)
    bright = light > _STRAY_LIGHT * np.median(light[lips]) if lips.any() else lips
    pale = patch[..., 1] > _TOOTH[0] * patch[..., 0].astype(np.float32)
    stray = cv2.dilate((lips & bright & pale).astype(np.uint8), np.ones((5, 5), np.uint8))
    painted: RGBImage = cv2.inpaint(patch, stray | hole, 3, cv2.INPAINT_TELEA)
    clean = np.where((stray > hole)[..., None], painted, patch)
    closed = np.where(hole[..., None] > 0, painted * _BETWEEN_LIPS, clean).astype(np.uint8)
    over = cv2.GaussianBlur((stray | hole).astype(np.float32), (0, 0), 0.8)
    return clean, closed, over


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
