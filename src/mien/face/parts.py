"""The three landmark nets: which points each finds, and what it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mien.face.topology import EYES, LOWER_LIP, UPPER_LIP, Eye
from mien.face.types import LANDMARK_COUNT


@dataclass(frozen=True, slots=True)
class Part:
    """What one landmark net is for.

    Attributes:
        name: ``face``, ``mouth`` or ``eye``.
        points: the landmarks it finds, in the order of its output.
        gaps: pairs of places in ``points`` whose distance matters: an opening.
        fine: places in ``points`` that matter most.
        pixels: side of its input.
    """

    name: str
    points: tuple[int, ...]
    gaps: tuple[tuple[int, int], ...]
    fine: tuple[int, ...]
    pixels: int


def _eye_points(eye: Eye, iris: tuple[int, ...]) -> tuple[int, ...]:
    rows = (eye.upper_lid, eye.lower_lid, eye.corners, *eye.upper_rows, eye.lower_row, iris)
    return tuple(p for row in (*rows, eye.brow_upper, eye.brow_lower) for p in row)


LIPS: Final = tuple(sorted({p for row in (*UPPER_LIP, *LOWER_LIP) for p in row}))
LIDS: Final = tuple(p for eye in EYES.values() for p in (*eye.upper_lid, *eye.lower_lid))
IRISES: Final = tuple(p for eye in EYES.values() for p in eye.iris)
_MIRRORED_IRIS: Final = (473, 476, 475, 474, 477)

EYE_POINTS: Final = {
    "R": _eye_points(EYES["R"], EYES["R"].iris),
    "L": _eye_points(EYES["L"], _MIRRORED_IRIS),
}
"""Each point of one row mirrors the same place of the other, so that one net serves both eyes."""

_LIP_GAPS: Final = tuple(zip(UPPER_LIP[3][1:-1], LOWER_LIP[3][1:-1], strict=True))
_LID_GAPS: Final = {
    side: tuple(zip(eye.upper_lid, eye.lower_lid, strict=True)) for side, eye in EYES.items()
}


def _places(
    pairs: tuple[tuple[int, int], ...], points: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    return tuple((points.index(a), points.index(b)) for a, b in pairs)


_ALL: Final = tuple(range(LANDMARK_COUNT))

FACE: Final = Part(
    "face",
    _ALL,
    (*_LIP_GAPS, *_LID_GAPS["R"], *_LID_GAPS["L"]),
    (*LIPS, *LIDS, *IRISES),
    128,
)
MOUTH: Final = Part("mouth", LIPS, _places(_LIP_GAPS, LIPS), tuple(range(len(LIPS))), 64)
EYE: Final = Part(
    "eye",
    EYE_POINTS["R"],
    _places(_LID_GAPS["R"], EYE_POINTS["R"]),
    tuple(
        EYE_POINTS["R"].index(p)
        for p in (*EYES["R"].upper_lid, *EYES["R"].lower_lid, *EYES["R"].iris)
    ),
    64,
)
PARTS: Final = {part.name: part for part in (FACE, MOUTH, EYE)}
