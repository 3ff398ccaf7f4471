"""The 478 landmarks: what they are, which part of the face each belongs to, and a mean face.

"Right" and "left" are the person's own; the right side is at the left of the image. Rows run from
the left of the image to its right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.weights.bundled import open_arrays

Landmarks = npt.NDArray[np.float32]
"""``float32 (478, 3)``: x to the right, y down, z away from the camera; all in pixels of the frame.

Points 0-467 are the face mesh, 468-472 the iris at the left of the image (the person's right eye),
473-477 the other iris.
"""

LANDMARK_COUNT: Final = 478

MESH_POINTS: Final = 468
"""Number of landmarks before the irises."""

OVAL: Final = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""Outline of the face, clockwise from the middle of the forehead."""

UPPER_LIP: Final = (
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306),
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292),
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
)
"""Four rows of the upper lip, from the skin to the mouth opening."""

LOWER_LIP: Final = (
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
    (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306),
    (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
)
"""Four rows of the lower lip, from the skin to the mouth opening."""

INNER_UPPER: Final = UPPER_LIP[3]
INNER_LOWER: Final = LOWER_LIP[3]
UPPER_LIP_MIDDLE: Final = 13
LOWER_LIP_MIDDLE: Final = 14
MOUTH_CORNERS: Final = (61, 291)


@dataclass(frozen=True, slots=True)
class Eye:
    """One eye and what surrounds it; every row has seven points, corners excluded."""

    upper_lid: tuple[int, ...]
    lower_lid: tuple[int, ...]
    corners: tuple[int, int]
    upper_rows: tuple[tuple[int, ...], tuple[int, ...]]
    lower_row: tuple[int, ...]
    iris: tuple[int, ...]
    brow_upper: tuple[int, ...]
    brow_lower: tuple[int, ...]


RIGHT_EYE: Final = Eye(
    upper_lid=(246, 161, 160, 159, 158, 157, 173),
    lower_lid=(7, 163, 144, 145, 153, 154, 155),
    corners=(33, 133),
    upper_rows=((247, 30, 29, 27, 28, 56, 190), (113, 225, 224, 223, 222, 221, 189)),
    lower_row=(25, 110, 24, 23, 22, 26, 112),
    iris=(468, 469, 470, 471, 472),
    brow_upper=(70, 63, 105, 66, 107),
    brow_lower=(46, 53, 52, 65, 55),
)
LEFT_EYE: Final = Eye(
    upper_lid=(466, 388, 387, 386, 385, 384, 398),
    lower_lid=(249, 390, 373, 374, 380, 381, 382),
    corners=(263, 362),
    upper_rows=((467, 260, 259, 257, 258, 286, 414), (342, 445, 444, 443, 442, 441, 413)),
    lower_row=(255, 339, 254, 253, 252, 256, 341),
    iris=(473, 474, 475, 476, 477),
    brow_upper=(300, 293, 334, 296, 336),
    brow_lower=(276, 283, 282, 295, 285),
)
EYES: Final = {"R": RIGHT_EYE, "L": LEFT_EYE}

LIPS: Final = tuple(sorted({p for row in (*UPPER_LIP, *LOWER_LIP) for p in row}))
LIDS: Final = tuple(p for eye in EYES.values() for p in (*eye.upper_lid, *eye.lower_lid))
IRISES: Final = tuple(p for eye in EYES.values() for p in eye.iris)


def _eye_points(eye: Eye, iris: tuple[int, ...]) -> tuple[int, ...]:
    rows = (eye.upper_lid, eye.lower_lid, eye.corners, *eye.upper_rows, eye.lower_row, iris)
    return tuple(p for row in (*rows, eye.brow_upper, eye.brow_lower) for p in row)


EYE_POINTS: Final = {
    "R": _eye_points(RIGHT_EYE, RIGHT_EYE.iris),
    "L": _eye_points(LEFT_EYE, (473, 476, 475, 474, 477)),
}
"""Landmarks of each eye region. Equal positions in both rows mirror each other, so that one net
serves both eyes."""

RIGID: Final = (
    10, 151, 9, 8, 168, 6, 197, 195, 5, 127, 356, 162, 389, 234, 454, 33, 133, 362, 263,
    21, 251, 54, 284, 103, 332, 67, 297, 109, 338,
)  # fmt: skip
"""Points that no action unit moves: forehead, temples, nose bridge, eye corners."""


@dataclass(frozen=True, slots=True)
class CanonicalFace:
    """A mean face in the head frame, made from closed-mouth portraits.

    The unit is the distance between the eye centres; the axes are those of the image (x to the
    right, y down, z away from the camera). See ``assets/canonical_face.md``.

    Attributes:
        points: ``float64 (478, 3)``, eye distances.
        mirror: ``int64 (478,)``, the corresponding point on the other side of the face.
        triangles: ``int32 (850, 3)``, the skin; eyes and mouth are holes.
    """

    points: npt.NDArray[np.float64]
    mirror: npt.NDArray[np.int64]
    triangles: npt.NDArray[np.int32]


@lru_cache(maxsize=1)
def canonical_face() -> CanonicalFace:
    """Load the canonical face (once).

    Raises:
        WeightsError: when the file is missing or damaged.
    """
    stored = open_arrays("canonical_face.npz")
    arrays = [stored[name] for name in ("points", "mirror", "triangles")]
    for array in arrays:
        array.setflags(write=False)
    return CanonicalFace(*arrays)
