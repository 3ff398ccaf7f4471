"""The mesh engine's expression code for the connector: 17 action-unit intensities.

OpenFace rates 17 action units from 0 to 5. The connector sees and changes them in tenths, so that
its focal loss, flat below errors of about one, works at the size of real differences.
"""

from __future__ import annotations

from typing import Final

UNITS: Final = (
    "1", "2", "4", "5", "6", "7", "9", "10", "12", "14", "15", "17", "20", "23", "25", "26", "45",
)  # fmt: skip
"""Action units of the code, in OpenFace's order; both sides together."""

COLUMNS: Final = tuple(f"AU{int(unit):02d}_r" for unit in UNITS)
"""Their columns in OpenFace's tables."""

PER_INTENSITY: Final = 10.0
"""Code units per step of OpenFace's scale."""
