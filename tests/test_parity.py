"""Recorded outputs of the published networks, on deterministic weights (seed 0)."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from .parity import cmet, dice
from .parity.compare import SPECS, Case


@pytest.mark.parametrize(
    "case", [*cmet.CASES, *dice.CASES], ids=lambda case: f"{case.name} {case.run.__name__}"
)
def test_as_recorded(case: Case) -> None:
    differences = list(case.check(SPECS, seed=0))
    assert differences
    assert not [d for d in differences if not d.good]
