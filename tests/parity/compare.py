"""Deterministic inputs and weights of a seed, and the comparison with recorded outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..reference import reference_weights as made

SPECS = Path(__file__).parent.parent / "reference"
Output = np.ndarray | torch.Tensor | float


@dataclass(frozen=True)
class Seeded:
    """Weights of one seed, and inputs of the same or another one, in one precision."""

    seed: int
    dtype: torch.dtype
    inputs: int

    def weights(self, spec: str) -> dict[str, torch.Tensor]:
        """A new dictionary; its tensors are shared and must not be changed."""
        return dict(_weights(spec, self.seed))

    def fill(self, name: str, shape: tuple[int, ...], scale: float = 1.0) -> torch.Tensor:
        return torch.from_numpy(made.fill(name, shape, self.inputs, scale)).to(self.dtype)

    def image(self, name: str, height: int, width: int) -> torch.Tensor:
        """``(1, 3, height, width)``."""
        return torch.from_numpy(made.image(name, height, width, self.inputs)).to(self.dtype)[None]

    def waveform(self, name: str, samples: int) -> np.ndarray:
        return made.waveform(name, samples, self.inputs)


@lru_cache(maxsize=1)
def _weights(spec: str, seed: int) -> dict[str, torch.Tensor]:
    found = made.state_dict(SPECS / f"{spec}.json", seed)
    return {key: torch.from_numpy(np.asarray(value)) for key, value in found.items()}


@dataclass(frozen=True)
class Tolerance:
    """Largest and mean absolute difference to accept; ``relative`` to the size of the values."""

    most: float
    mean: float = np.inf
    relative: bool = False


@dataclass(frozen=True)
class Case:
    """One recorded file in one precision.

    ``run`` yields (array's name, output). ``limits`` holds tolerances by prefix of the array's
    name; "" is for all others.
    """

    file: str
    precision: str
    run: Callable[[Seeded, Mapping[str, Any]], Iterator[tuple[str, Output]]]
    limits: Mapping[str, Tolerance]

    @property
    def name(self) -> str:
        return f"{self.file} {self.precision}"

    def check(self, folder: Path, seed: int, inputs: int | None = None) -> Iterator[Difference]:
        """Compare every array; ``inputs`` is the seed of the inputs if it differs from ``seed``."""
        dtype = torch.float64 if self.precision == "fp64" else torch.float32
        made_of = Seeded(seed, dtype, seed if inputs is None else inputs)
        with np.load(folder / f"{self.file}.npz", allow_pickle=False) as golden, torch.no_grad():
            for name, output in self.run(made_of, golden):
                limit = next(
                    (self.limits[k] for k in self.limits if k and name.startswith(k)),
                    self.limits[""],
                )
                yield _difference(name, output, golden, limit)


@dataclass(frozen=True)
class Difference:
    """How far an output is from the recorded one."""

    name: str
    most: float
    mean: float
    limit: Tolerance

    @property
    def good(self) -> bool:
        return self.most <= self.limit.most and self.mean <= self.limit.mean


def _difference(
    name: str, output: Output, golden: Mapping[str, Any], limit: Tolerance
) -> Difference:
    if isinstance(output, torch.Tensor):
        output = output.detach().double().numpy()
    values = np.asarray(output, np.float64).reshape(-1)
    want = np.asarray(golden[name], np.float64).reshape(-1)
    values = values[:: int(golden[f"{name}__step"]) if f"{name}__step" in golden else 1]
    if values.shape != want.shape:
        return Difference(name, np.inf, np.inf, limit)
    gap = np.abs(values - want)
    if limit.relative:
        gap = gap / np.maximum(1, np.abs(want))
    return Difference(name, float(np.nan_to_num(gap, nan=np.inf).max()), float(gap.mean()), limit)
