"""The crop that EDTalk was trained on, and how a drawn crop is pasted back into the frame."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.face.crop import Crop, roll_angle
from mien.face.topology import Landmarks
from mien.media.frame import Box, Picture, RGBImage

_JAW: Final = (
    127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152,
    377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356,
)  # fmt: skip
_BROWS: Final = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)

_FRAME: Final = (*_JAW, *_BROWS)
"""Points in place of the first 47 of the usual 68: jaw, brows, and what lies between."""

_TEMPLATE_SIDE: Final = 256.0
_TEMPLATE: Final = ((61.0, 95.0), (194.0, 224.0))
"""Top left and bottom right of those points' box in a picture of 256 pixels."""

_REACH: Final = 0.045
"""How far beyond the face's outline pixels are replaced, in sides of the crop."""

_CHIN: Final = 0.07
"""How much further below the face, where the jaw may drop."""

_SOFT: Final = 0.03
"""Width of the mask's soft edge (standard deviation), in sides of the crop."""

_GAIN: Final = (0.8, 1.25)
_EVEN: Final = 4.0
"""Added to standard deviations of colour before their ratio is taken, for flat areas."""

Mask = npt.NDArray[np.float32]


def training_crop(landmarks: Landmarks) -> Crop:
    """Find the square in which a face is placed as in EDTalk's training pictures.

    Args:
        landmarks: ``float32 (478, 3)`` pixels.
    """
    angle = roll_angle(landmarks)
    points = Crop(0, 0, 1, angle).to_crop(landmarks[list(_FRAME), :2])
    low, high = points.min(0), points.max(0)
    (left, top), (right, bottom) = _TEMPLATE
    width, height = high - low
    pixel = (float(width) / (right - left) + float(height) / (bottom - top)) / 2
    middle = np.array([(left + right) / 2, (top + bottom) / 2]) - _TEMPLATE_SIDE / 2
    centre = (low + high) / 2 - middle * pixel
    x, y = Crop(0, 0, 1, angle).to_image(centre).tolist()
    return Crop(x, y, pixel * _TEMPLATE_SIDE, angle)


def face_mask(landmarks: Landmarks, crop: Crop, pixels: int) -> Mask:
    """Compute where a drawn crop replaces the frame, ``float32 (pixels, pixels)`` in 0..1."""
    points = crop.to_crop(landmarks[:468, :2])
    outline = cv2.convexHull(points.astype(np.float32))[:, 0]
    middle = outline.mean(0)
    away = outline - middle
    outline = outline + _REACH * away / np.maximum(
        np.linalg.norm(away, axis=1, keepdims=True), 1e-6
    )
    low = outline[:, 1] > middle[1] + 0.6 * away[:, 1].max()
    outline[low, 1] += _CHIN
    mask = np.zeros((pixels, pixels), np.float32)
    cv2.fillConvexPoly(mask, np.round((outline + 0.5) * pixels).astype(np.int32), 1.0)
    # The crop's border must not show.
    edge = max(1, round(2 * _SOFT * pixels))
    mask[:edge], mask[-edge:], mask[:, :edge], mask[:, -edge:] = 0, 0, 0, 0
    return cv2.GaussianBlur(mask, (0, 0), _SOFT * pixels)


def match_colour(drawn: RGBImage, original: RGBImage, mask: Mask) -> RGBImage:
    """Give ``drawn`` the mean and, within limits, the contrast of ``original`` under ``mask``.

    Per channel; all pictures have the same size.
    """
    weight = mask[..., None] / max(float(mask.sum()), 1e-6)
    out = drawn.astype(np.float32)
    wanted = original.astype(np.float32)
    mean, goal = (out * weight).sum((0, 1)), (wanted * weight).sum((0, 1))
    spread = np.sqrt(((out - mean) ** 2 * weight).sum((0, 1))) + _EVEN
    goal_spread = np.sqrt(((wanted - goal) ** 2 * weight).sum((0, 1))) + _EVEN
    gain = np.clip(goal_spread / spread, *_GAIN)
    return np.clip(np.rint((out - mean) * gain + goal), 0, 255).astype(np.uint8)


def paste(picture: Picture, drawn: RGBImage, crop: Crop, mask: Mask, weight: float) -> Picture:
    """Return ``picture`` with ``drawn`` in place of ``crop``.

    Args:
        picture: not changed.
        drawn: ``uint8 (P, P, 3)``.
        crop: where it goes.
        mask: ``float32 (M, M)`` over the crop.
        weight: strength, 0..1; 0 returns ``picture`` itself.
    """
    corners = crop.to_image(np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]))
    box = Box.around(corners, 1).within(picture.box)
    if weight <= 0 or box.empty:
        return picture

    def placed(image: npt.NDArray[np.generic], how: int) -> npt.NDArray[np.generic]:
        back = cv2.invertAffineTransform(crop.matrix(image.shape[0]))
        back[:, 2] -= (box.left, box.top)
        return cv2.warpAffine(image, back, (box.width, box.height), flags=how)

    part = picture.read(box)
    peak = np.iinfo(part.dtype).max
    face = placed(drawn, cv2.INTER_CUBIC).astype(np.float32) * np.float32(peak / 255)
    share = weight * placed(mask, cv2.INTER_LINEAR).astype(np.float32)[..., None]
    mixed = np.clip(np.rint(part + share * (face - part)), 0, peak)
    return picture.replaced(box, np.where(share > 0, mixed, part).astype(part.dtype))
