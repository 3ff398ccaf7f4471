"""The Fréchet distance of two sets of features; FID, FVD, E-FID and FAD differ in the features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.errors import InputError

Matrix = npt.NDArray[np.float64]


@dataclass(slots=True)
class Moments:
    """Running mean and covariance of features; the features themselves are not kept."""

    count: int = 0
    total: Matrix = field(default_factory=lambda: np.zeros(()))
    products: Matrix = field(default_factory=lambda: np.zeros(()))

    def add(self, features: npt.NDArray[np.floating[Any]]) -> None:
        """Include features ``(N, D)``."""
        values = features.astype(np.float64)
        self.count += len(values)
        self.total = self.total + values.sum(0)
        self.products = self.products + values.T @ values

    def mean_and_covariance(self) -> tuple[Matrix, Matrix]:
        """Return the mean ``(D,)`` and the covariance ``(D, D)``.

        Raises:
            InputError: for fewer than two features.
        """
        if self.count < 2:
            raise InputError(f"A Fréchet distance needs at least two samples; got {self.count}.")
        mean = self.total / self.count
        covariance = (self.products - self.count * np.outer(mean, mean)) / (self.count - 1)
        return mean, covariance


def frechet_distance(one: Moments, two: Moments) -> float:
    """Return ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` (Heusel et al. 2017), at least 0.

    The trace of the root is the sum of the roots of the eigenvalues of ``C1^(1/2) C2 C1^(1/2)``,
    which is symmetric: no complex root is needed.
    """
    (mean1, cov1), (mean2, cov2) = one.mean_and_covariance(), two.mean_and_covariance()
    values, vectors = np.linalg.eigh(cov1)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    between = np.linalg.eigvalsh(root @ cov2 @ root)
    trace = float(np.trace(cov1) + np.trace(cov2) - 2 * np.sqrt(np.maximum(between, 0)).sum())
    return max(0.0, float(((mean1 - mean2) ** 2).sum()) + trace)
