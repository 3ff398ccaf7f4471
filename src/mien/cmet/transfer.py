"""Run a connector along a clip, window after window; numpy only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.floating[Any]]
"""Expression codes or differences, ``(T, D)``."""

Connect = Callable[[Codes, Codes, Codes], Codes]
"""``(reference (5, D), speech (S,), expression (5, D)) -> difference (5, D)``."""

WINDOW: Final = 5


def transfer(connect: Connect, vector: Codes, expression: Codes) -> Codes:
    """Expression differences along a clip.

    Windows of five frames follow each other; the difference of one is the reference of the next
    (zeros before the first), as published. Unlike the published code nothing is dropped or
    mirrored: the last window is filled by repeating the last frame and the result is cut.

    Args:
        connect: the connector.
        vector: emotion semantic vector ``(S,)``.
        expression: codes ``(T, D)``, T >= 1.

    Returns:
        ``(T, D)``.
    """
    length = len(expression)
    filled = np.concatenate([expression, np.repeat(expression[-1:], -length % WINDOW, axis=0)])
    reference = np.zeros_like(filled[:WINDOW])
    parts = []
    for start in range(0, len(filled), WINDOW):
        reference = connect(reference, vector, filled[start : start + WINDOW])
        parts.append(reference)
    return np.concatenate(parts)[:length]
