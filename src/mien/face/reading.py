"""Action units read from landmarks: the way back from the rig."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from mien.face.canonical import canonical_face
from mien.face.facs import Expression


@lru_cache(maxsize=1)
def _reader() -> npt.NDArray[np.float64]:
    with (files("mien") / "assets" / "rig.npz").open("rb") as file:
        out: npt.NDArray[np.float64] = np.load(file, allow_pickle=False)["reader"].astype(
            np.float64
        )
    return out


def read_expression(head: npt.NDArray[np.float64]) -> Expression:
    """Action units of a face.

    A linear reading learned on labelled faces; it is tuned to how faces differ between
    expressions, but part of a person's own shape leaks into it: compare readings of one person
    (see :mod:`mien.engines.mesh.baseline`) rather than people. Units that landmarks do not show
    (6, 9, 25) read 0.

    Args:
        head: landmarks ``(478, 3)`` in the head frame, eye distances.

    Returns:
        ``float32 (D,)``, 0..1.
    """
    weights = _reader()
    reading = weights[0] + (head - canonical_face().points).ravel() @ weights[1:]
    return np.clip(reading, 0, 1).astype(np.float32)
