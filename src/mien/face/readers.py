"""Action units from other measurements: from landmarks, and from OpenFace's 17 intensities.

The connector and the emotion prior work on OpenFace's action units: 17 intensities from 0 to 5,
both sides of the face together. Both use tenths of an intensity as the unit, so that the focal
loss, which is flat below errors of about one, works at the scale of real differences.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.face.facs import Expression
from mien.face.topology import canonical_face
from mien.weights.bundled import open_arrays

OPENFACE_UNITS: Final = (
    "1", "2", "4", "5", "6", "7", "9", "10", "12", "14", "15", "17", "20", "23", "25", "26", "45",
)  # fmt: skip
"""OpenFace's action units, in the order of its tables."""

OPENFACE_COLUMNS: Final = tuple(f"AU{int(unit):02d}_r" for unit in OPENFACE_UNITS)
"""Columns of the intensities in OpenFace's tables."""

CODE_UNITS_PER_INTENSITY: Final = 10.0
"""Units of the expression code per step of OpenFace's scale."""


@lru_cache(maxsize=1)
def openface_to_rig() -> npt.NDArray[np.float32]:
    """Return the linear map from OpenFace code units to rig action units, ``float32 (17, D)``.

    Raises:
        WeightsError: when the file is missing or damaged.
    """
    out: npt.NDArray[np.float32] = open_arrays("connector.npz")["decoder"]
    out.setflags(write=False)
    return out


def read_expression(head: npt.NDArray[np.float64]) -> Expression:
    """Estimate the action units of a face from its landmarks, by a linear map.

    The map was fitted to labelled faces and follows differences between expressions, but part of a
    person's own shape leaks into it: compare readings of one person (see
    :func:`mien.engines.mesh.engine.removal`), not of several. Units that landmarks do not show (6,
    9, 25) read 0.

    Args:
        head: landmarks ``(478, 3)`` in the head frame, eye distances.

    Returns:
        ``float32 (D,)``, 0..1.
    """
    weights = _reader()
    reading = weights[0] + (head - canonical_face().points).ravel() @ weights[1:]
    return np.clip(reading, 0, 1).astype(np.float32)


@lru_cache(maxsize=1)
def _reader() -> npt.NDArray[np.float64]:
    out: npt.NDArray[np.float64] = open_arrays("rig.npz")["reader"].astype(np.float64)
    return out
