"""Learning rates over a training."""

from __future__ import annotations

import math


def warmed_cosine(done: int, steps: int, warm_up: float, floor: float = 0.0) -> float:
    """Share of the full learning rate: rising over ``warm_up`` steps, then falling as a cosine.

    Args:
        done: steps done.
        steps: of the whole training.
        warm_up: steps until the rate is full.
        floor: what is left at the end.
    """
    return min(1.0, (done + 1) / warm_up) * (0.5 * (1 + math.cos(math.pi * done / steps)) + floor)
