"""How the face moves when it speaks: the articulation code as displacement of landmarks."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.engines.mesh.lips import close_gap
from mien.face.topology import INNER_LOWER, INNER_UPPER
from mien.weights.bundled import open_arrays

Points = npt.NDArray[np.float64]

_UPPER, _LOWER = list(INNER_UPPER), list(INNER_LOWER)
_SEALED: Final = 0.012
"""Opening, eye distances, under which the lips are drawn shut."""


@lru_cache(maxsize=1)
def speech_fields() -> Points:
    """Displacement of the landmarks per unit of each entry of the code, ``float64 (7, 478, 3)``.

    Raises:
        WeightsError: when the file is missing.
    """
    out: Points = open_arrays("articulation.npz")["fields"].astype(np.float64)
    out.setflags(write=False)
    return out


def speech_motion(head: Points, code: npt.NDArray[np.float32]) -> Points:
    """Displacement ``(478, 3)`` that makes a face speak.

    The person's own mouth is closed first, so that the opening is the code's and nothing else.

    Args:
        head: landmarks ``(478, 3)`` in the head frame, eye distances.
        code: articulation code ``(7,)``.
    """
    values = code.astype(np.float64)
    motion = np.tensordot(values, speech_fields(), 1)
    own = np.maximum(head[_LOWER, 1] - head[_UPPER, 1], 0)
    asked = motion[_LOWER, 1] - motion[_UPPER, 1]
    open_share = float(np.clip((values[0] - _SEALED) / _SEALED, 0, 1))
    wanted = np.maximum(asked, 0) * open_share
    return close_gap(motion, wanted - asked - own)
