"""Tell people apart by their faces: a vector of a face's appearance, and how alike two are.

The face is unrolled onto the frontal mean face by its landmarks, which removes most of pose and
expression, and a linear map (``tools/fit_recognition.py``) turns its contrasts into a vector. This
tells the people of a clip apart and finds the person of a picture in a clip; docs/faces.md lists
the error rates.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from mien.face.crop import face_crop
from mien.face.topology import MESH_POINTS, Landmarks
from mien.media.frame import Image, RGBImage
from mien.weights.bundled import open_arrays

Appearance = npt.NDArray[np.float32]
"""A person's looks, ``float32 (128,)`` of length 1; the product of two is their likeness, -1..1."""

Values = npt.NDArray[np.float32]

TEXTURE_PIXELS: Final = 48
"""Side of the unrolled face."""

SAME_AS_PICTURE: Final = 0.35
"""Likeness to a picture from which a person in a clip is the one in the picture."""

_CROP_PIXELS: Final = 80

_LIGHT_SPREAD: Final = 4.5
_CONTRAST_SPREAD: Final = 6.5
"""Standard deviations, pixels, of the neighbourhoods whose mean and contrast are removed."""

_LEAST_CONTRAST: Final = 1e-3
"""Variance of the logarithm of brightness below which contrast is not raised further."""


class _Unrolling(NamedTuple):
    """How a face is unrolled.

    Attributes:
        corners: the three mesh points around every pixel of the unrolled face, ``(48, 48, 3)``.
        weights: the pixel's barycentric weights, ``(48, 48, 3)``.
        mask: 1 where there is face, else 0, ``(48, 48)``.
        light_weight, contrast_weight: share of face in every pixel's neighbourhoods, ``(48, 48)``.
    """

    corners: npt.NDArray[np.intp]
    weights: Values
    mask: Values
    light_weight: Values
    contrast_weight: Values


@lru_cache(maxsize=1)
def _unrolling() -> _Unrolling:
    stored = open_arrays("unrolled_face.npz")
    mask = stored["mask"].astype(np.float32)
    light, contrast = (
        np.maximum(_blurred(mask, spread), 1e-3) for spread in (_LIGHT_SPREAD, _CONTRAST_SPREAD)
    )
    return _Unrolling(stored["corners"].astype(np.intp), stored["weights"], mask, light, contrast)


@lru_cache(maxsize=1)
def _projection() -> tuple[Values, Values]:
    """Return the mean ``(576,)`` and the matrix ``(576, 128)`` of the linear map."""
    stored = open_arrays("recognition.npz")
    return stored["mean"].astype(np.float32), stored["projection"].astype(np.float32)


def appearance(image: Image, landmarks: Landmarks) -> Appearance:
    """Compute the appearance of the face with ``landmarks`` ``(478, 3)``, pixels of ``image``."""
    crop = face_crop(landmarks)
    points = (crop.to_crop(landmarks[:MESH_POINTS, :2]) + np.float32(0.5)) * _CROP_PIXELS
    return descriptor(unroll(crop.cut(image, _CROP_PIXELS), points))


def descriptor(texture: npt.NDArray[np.uint8]) -> Appearance:
    """Compute the appearance of an unrolled face, see :func:`unroll`."""
    mean, projection = _projection()
    return _unit(_unit((patterns(texture) - mean) @ projection).sum(0))


def patterns(texture: npt.NDArray[np.uint8]) -> Values:
    """Return the local contrasts of an unrolled face and its mirror image, ``float32 (2, 576)``.

    Local means and deviations are removed, and with them most of the light.
    """
    unrolling = _unrolling()
    light = np.log1p(texture.astype(np.float32))
    contrast = light - _blurred(light * unrolling.mask, _LIGHT_SPREAD) / unrolling.light_weight
    contrast *= unrolling.mask
    variance = _blurred(contrast**2, _CONTRAST_SPREAD) / unrolling.contrast_weight
    contrast /= np.sqrt(variance + _LEAST_CONTRAST)
    side = TEXTURE_PIXELS // 2
    small = cv2.resize(contrast, (side, side), interpolation=cv2.INTER_AREA)
    return _unit(np.stack([small, small[:, ::-1]]).reshape(2, -1))


def _blurred(values: Values, spread: float) -> Values:
    return cv2.GaussianBlur(values, (0, 0), spread)


def _unit(vectors: npt.NDArray[np.floating[Any]]) -> Values:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    out: Values = (vectors / np.maximum(length, 1e-9)).astype(np.float32)
    return out


def mean_appearance(looks: list[Appearance]) -> Appearance:
    """Return the direction of the mean of at least one appearance."""
    return _unit(np.mean(looks, axis=0))


def unroll(image: RGBImage, points: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Return the brightness of a face as seen from the front, ``uint8 (48, 48)``.

    Args:
        image: RGB ``uint8 (H, W, 3)``.
        points: landmarks of the mesh ``(468 or more, 2 or more)``, pixels of ``image``.
    """
    unrolling = _unrolling()
    flat = points[:, :2].astype(np.float32)
    places = np.einsum("ijkc,ijk->ijc", flat[unrolling.corners], unrolling.weights) - np.float32(
        0.5
    )
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    out: npt.NDArray[np.uint8] = cv2.remap(
        grey, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return out
