"""How one face moves in one frame, as engines read it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Motion:
    """How one face moves in one frame, split as in C-MET (arXiv 2604.07786, section 3).

    Attributes:
        lip: articulation code, ``float32 (L,)``.
        pose: head pose in the engine's own code, ``float32 (P,)``.
        expression: expression code, ``float32 (D,)``, in the engine's own units.
    """

    lip: npt.NDArray[np.float32]
    pose: npt.NDArray[np.float32]
    expression: npt.NDArray[np.float32]
