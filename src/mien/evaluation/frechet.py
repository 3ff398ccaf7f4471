"""Fréchet distance between two sets of features (Heusel et al. 2017): FID and FVD."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.errors import InputError

Array = npt.NDArray[np.float64]


@dataclass(slots=True)
class Moments:
    """Mean and covariance of features that go by; holds none of them."""

    count: int = 0
    total: Array | None = None
    products: Array | None = None

    def add(self, features: npt.NDArray[np.floating]) -> None:
        """Count features ``(N, D)``."""
        values = features.astype(np.float64)
        if self.total is None or self.products is None:
            size = values.shape[1]
            self.total, self.products = np.zeros(size), np.zeros((size, size))
        self.count += len(values)
        self.total += values.sum(0)
        self.products += values.T @ values

    def mean_and_covariance(self) -> tuple[Array, Array]:
        """``(D,)`` and ``(D, D)``.

        Raises:
            InputError: for fewer than two features.
        """
        if self.count < 2 or self.total is None or self.products is None:
            raise InputError(f"A Fréchet distance needs at least two samples; got {self.count}.")
        mean = self.total / self.count
        covariance = (self.products - self.count * np.outer(mean, mean)) / (self.count - 1)
        return mean, covariance


def frechet_distance(one: Moments, two: Moments) -> float:
    """``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``, never below 0.

    The trace of the root is the sum of the roots of the eigenvalues of ``C1^(1/2) C2 C1^(1/2)``,
    which is symmetric: no complex root is needed.
    """
    (mean1, cov1), (mean2, cov2) = one.mean_and_covariance(), two.mean_and_covariance()
    values, vectors = np.linalg.eigh(cov1)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    between = np.linalg.eigvalsh(root @ cov2 @ root)
    trace = float(np.trace(cov1) + np.trace(cov2) - 2 * np.sqrt(np.maximum(between, 0)).sum())
    return max(0.0, float(((mean1 - mean2) ** 2).sum()) + trace)
