"""The canonical face: a mean face in the head's own frame.

Unit: the distance between the eye centres. Axes as in the picture: x right, y down, z away from
the camera. Made from closed-mouth portraits; see ``assets/canonical_face.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class CanonicalFace:
    """Mean face.

    Attributes:
        points: ``float64 (478, 3)``, eye distances.
        mirror: ``int64 (478,)``, the point on the other side of the face.
        triangles: ``int32 (850, 3)``, the skin; eyes and mouth are holes.
    """

    points: npt.NDArray[np.float64]
    mirror: npt.NDArray[np.int64]
    triangles: npt.NDArray[np.int32]


@lru_cache(maxsize=1)
def canonical_face() -> CanonicalFace:
    """Load the canonical face (once)."""
    with (files("mien") / "assets" / "canonical_face.npz").open("rb") as file:
        data = np.load(file, allow_pickle=False)
        arrays = [data[name] for name in ("points", "mirror", "triangles")]
    for array in arrays:
        array.setflags(write=False)
    return CanonicalFace(*arrays)
