"""The imperceptible mark of edited faces: a fixed pattern of brightness, anchored to the head.

The pattern lies in the plane of the face, in units of the distance between the eyes, and so moves,
turns and scales with the face. Its frequencies have equal magnitudes, up to a slope, and phases
drawn from a fixed seed, which is the key; :mod:`mien.provenance.detection` correlates with them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.face.pose import HeadPose, head_pose
from mien.face.topology import OVAL, Landmarks, canonical_face
from mien.media.frame import Box, Picture

Plane = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex128]

CANVAS: Final = 256
"""Samples along a side of the square in which the pattern is defined."""

_SPAN: Final = 3.6
"""Side of the square, eye distances."""

_CENTER: Final = (0.0, 0.42, 0.15)
"""Its centre in the head frame, eye distances."""

_BAND: Final = (12.0, 40.0)
"""Frequencies of the pattern, waves per canvas: higher ones do not survive compression, lower ones
are drowned by the face itself."""

_SLOPE: Final = 0.5
"""Magnitudes fall with this power of the frequency."""

_KEY: Final = 2026
_RMS: Final = 1.45
"""Root mean square inside the face, grey levels of 255."""

_EDGE: Final = 3.0
"""Softness of the outline, canvas samples."""


@lru_cache(maxsize=1)
def key_phases() -> Spectrum:
    """Return the spectrum of the pattern without magnitudes, ``complex128 (CANVAS, CANVAS)``.

    Its values are of length 1 in the band, else 0.
    """
    noise = np.fft.fft2(np.random.default_rng(_KEY).standard_normal((CANVAS, CANVAS)))
    radius = _frequencies()
    band = (radius >= _BAND[0]) & (radius <= _BAND[1])
    out: Spectrum = np.where(band, noise / np.abs(noise), 0)
    return out


@lru_cache(maxsize=1)
def face_mask() -> Plane:
    """Return the outline of the face on the canvas, soft, 0..1, ``float32 (CANVAS, CANVAS)``."""
    oval = canonical_face().points[list(OVAL)][:, :2]
    points = ((oval - _CENTER[:2]) / _SPAN + 0.5) * CANVAS
    mask = np.zeros((CANVAS, CANVAS), np.float32)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 1.0)
    mask = cv2.erode(mask, np.ones((3, 3), np.uint8))
    out: Plane = cv2.GaussianBlur(mask, (0, 0), _EDGE).astype(np.float32)
    return out


def canvas_to_image(pose: HeadPose) -> npt.NDArray[np.float64]:
    """Return the affine map ``(2, 3)`` from canvas samples to pixels of a picture."""
    axes = pose.scale * pose.rotation[:2, :2] * (_SPAN / CANVAS)
    corner = np.array(_CENTER) - [_SPAN / 2, _SPAN / 2, 0.0]
    start = pose.scale * pose.rotation[:2] @ corner + pose.translation[:2]
    return np.column_stack([axes, start])


def canvas_box(placed: npt.NDArray[np.float64]) -> Box:
    """Return the box around the outline of the face under a map of :func:`canvas_to_image`."""
    return Box.around(_corners() @ placed[:, :2].T + placed[:, 2], 1.0)


def marked(picture: Picture, landmarks: Landmarks, weight: float = 1.0) -> Picture:
    """Return a picture with the mark in the face at ``landmarks`` ``(478, 3)``, pixels.

    Args:
        picture: with the edited face.
        landmarks: of the face.
        weight: strength of the edit, 0..1.
    """
    placed = canvas_to_image(head_pose(landmarks))
    box = canvas_box(placed).within(picture.box)
    if box.empty or weight <= 0:
        return picture
    placed[:, 2] -= (box.left, box.top)
    change = cv2.warpAffine(_pattern(), placed, (box.width, box.height))
    return picture.brightened(box, change if weight >= 1 else change * np.float32(weight))


@lru_cache(maxsize=1)
def _corners() -> npt.NDArray[np.float64]:
    """Return the corners of the box around the outline on the canvas, ``(4, 2)``."""
    rows, columns = (np.flatnonzero(face_mask().max(axis) > 0) for axis in (1, 0))
    return np.array([(x, y) for x in columns[[0, -1]] for y in rows[[0, -1]]], np.float64)


@lru_cache(maxsize=1)
def _pattern() -> Plane:
    """Return the mark on the canvas, grey levels of 255."""
    slope = np.maximum(_frequencies(), 1.0) ** -_SLOPE
    wave: npt.NDArray[Any] = np.fft.ifft2(key_phases() * slope).real
    mask = face_mask()
    wave *= _RMS / np.sqrt((wave[mask > 0.5] ** 2).mean())
    out: Plane = (wave * mask).astype(np.float32)
    return out


def _frequencies() -> npt.NDArray[np.float64]:
    """Return the radial frequency of every coefficient, waves per canvas."""
    steps = np.fft.fftfreq(CANVAS) * CANVAS
    out: npt.NDArray[np.float64] = np.hypot(steps[:, None], steps)
    return out
