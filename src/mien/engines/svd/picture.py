"""A portrait as the nets want it: size, face mask, crop, CLIP's picture (dicetalk.md section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mien.media.frame import RGBImage

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]

_MULTIPLE: Final = 64
_CLIP_SIDE: Final = 224
_CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
_CLIP_SPREAD: Final = (0.26862954, 0.26130258, 0.27577711)
_MASK_AREA: Final = 1.1

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Portrayed:
    """A portrait, prepared.

    Attributes:
        reference: ``float32 (3, H, W)``, -1..1.
        mask: where the face is, ``float32 (3, H, W)``, 0..1, with soft edges.
        clip: ``float32 (3, 224, 224)``, CLIP's mean and spread.
    """

    reference: Array
    mask: Array
    clip: Array


def working_size(width: int, height: int, shortest: int = 512) -> tuple[int, int]:
    """Width and height at which a picture is made: multiples of 64, the shorter side near 512."""
    scale = shortest / min(width, height)
    return (
        max(1, round(width * scale / _MULTIPLE)) * _MULTIPLE,
        max(1, round(height * scale / _MULTIPLE)) * _MULTIPLE,
    )


def mask_box(box: Box, width: int, height: int, area: float = _MASK_AREA) -> tuple[int, ...]:
    """Corners ``x0, y0, x1, y1`` of the mask for a face box ``x, y, w, h``."""
    x, y, w, h = box
    centre = (int((x + x + w) // 2), int((y + y + h) // 2))
    half = (int(w * area // 2), int(h * area // 2))
    return (
        max(0, centre[0] - half[0]),
        max(0, centre[1] - half[1]),
        min(width, centre[0] + half[0]),
        min(height, centre[1] + half[1]),
    )


def crop_box(corners: Box, width: int, height: int, grow: float) -> tuple[int, int, int, int]:
    """A square round a face.

    The box grows on every side, is cut at the picture's edges, then made square by giving up what
    is farther from the face.

    Args:
        corners: ``x0, y0, x1, y1`` of the face.
        width: of the picture.
        height: of the picture.
        grow: share of the box's width and height that is added on every side.
    """
    x0, y0, x1, y1 = corners
    w, h = x1 - x0, y1 - y0
    left, right = max(0, x0 - grow * w), min(width, x1 + grow * w)
    top, bottom = max(0, y0 - grow * h), min(height, y1 + grow * h)
    side = min(right - left, bottom - top)
    left, right = _slid(left, right, side, (x0 + x1) / 2)
    top, bottom = _slid(top, bottom, side, (y0 + y1) / 2)
    return round(left), round(top), round(right), round(bottom)


def _slid(low: float, high: float, side: float, face: float) -> tuple[float, float]:
    spare = (high - low - side) / 2
    middle = (low + high) / 2
    middle += min(max(face - middle, -spare), spare)
    return middle - side / 2, middle + side / 2


def portrayed(
    image: RGBImage, box: Box, *, shortest: int = 512, area: float = _MASK_AREA
) -> Portrayed:
    """Prepare a portrait.

    Args:
        image: ``uint8 (h, w, 3)``.
        box: the face's ``x, y, w, h`` in it.
        shortest: the shorter side to make.
        area: size of the mask by the box's.
    """
    from PIL import Image

    height, width = image.shape[:2]
    size = working_size(width, height, shortest)
    x0, y0, x1, y1 = mask_box(box, width, height, area)
    mask = np.zeros_like(image)
    mask[y0:y1, x0:x1] = 255
    picture = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    masked = Image.fromarray(mask).resize(size, Image.Resampling.LANCZOS)
    small = picture.resize((_CLIP_SIDE, _CLIP_SIDE), Image.Resampling.LANCZOS)
    return Portrayed(
        _planes(picture) * 2 - 1,
        _planes(masked),
        (_planes(small) - _column(_CLIP_MEAN)) / _column(_CLIP_SPREAD),
    )


def _planes(picture: Image) -> Array:
    values: npt.NDArray[Any] = np.asarray(picture, np.float32) / 255
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def _column(values: Sequence[float]) -> Array:
    return np.array(values, np.float32)[:, None, None]
