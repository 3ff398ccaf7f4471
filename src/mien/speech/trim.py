"""Where in a recording somebody speaks."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mien.speech.features import MELS

_BELOW_PEAK: Final = 1.5
"""Level under the loudest row, in the features' unit (26 dB), that still counts as speech."""

_MARGIN: Final = 8
"""Rows kept around it: consonants are quiet."""


def speech_span(rows: npt.NDArray[Any]) -> tuple[int, int]:
    """First row and end of the part between the first and the last sound of a voice.

    Args:
        rows: features ``(T, FEATURES)``, T >= 1.
    """
    level = rows[:, :MELS].astype(np.float32).mean(1)
    loud = np.flatnonzero(level > level.max() - _BELOW_PEAK)
    return max(int(loud[0]) - _MARGIN, 0), min(int(loud[-1]) + 1 + _MARGIN, len(rows))
