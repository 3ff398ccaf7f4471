"""Numbers and curves that several modules need."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


def is_number(value: object) -> bool:
    """Whether a value given by a user is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def smoothstep(x: Any) -> Any:  # noqa: ANN401 - a number or an array, returned as such
    """The cubic ``3x² - 2x³``, which rises from 0 to 1 with flat ends; ``x`` within 0..1."""
    return x * x * (3 - 2 * x)


def interpolate_rows(times: Floats, known: Floats, values: Floats) -> npt.NDArray[np.float32]:
    """Interpolate every column of a table linearly; the first and last rows hold beyond the ends.

    Args:
        times: where to read the table, ``(K,)``.
        known: where its rows lie, rising, ``(N,)``.
        values: the table, ``(N, D)``.

    Returns:
        ``float32 (K, D)``.
    """
    columns = [np.interp(times, known, column) for column in values.T]
    return np.stack(columns, axis=-1).astype(np.float32)


def correlation(a: Floats, b: Floats) -> float:
    """Compute Pearson's r of ``(N,)`` and ``(N,)``; 0 where one is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 1e-9 else 0.0


def ramp(value: float, between: tuple[float, float]) -> float:
    """Return 0 below and 1 above two bounds, linear between them."""
    return min(max((value - between[0]) / (between[1] - between[0]), 0.0), 1.0)
