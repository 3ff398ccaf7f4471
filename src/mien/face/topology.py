"""Which of the 478 points are which part of the face.

"Right" and "left" are the person's own; the right side lies at the left of the picture. Rows run
from the picture's left to its right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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

RIGID: Final = (
    10, 151, 9, 8, 168, 6, 197, 195, 5, 127, 356, 162, 389, 234, 454, 33, 133, 362, 263,
    21, 251, 54, 284, 103, 332, 67, 297, 109, 338,
)  # fmt: skip
"""Points that no action unit moves: forehead, temples, nose bridge, eye corners."""
