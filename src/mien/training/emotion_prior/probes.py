"""How well emotions and people are read from what an embedder says of recordings."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]

_HALVES: Final = 10


def probe(
    train: Array, labels: npt.NDArray[np.int64], test: Array, test_labels: npt.NDArray[np.int64]
) -> float:
    """Compute the accuracy of a ridge classifier on standardised features."""
    mean, size = train.mean(0), train.std(0) + 1e-6
    a = np.c_[(train - mean) / size, np.ones(len(train))]
    b = np.c_[(test - mean) / size, np.ones(len(test))]
    targets = np.eye(labels.max() + 1)[labels]
    ridge = 1e-2 * len(a) * np.eye(a.shape[1])
    weights = np.linalg.solve(a.T @ a + ridge, a.T @ targets)
    return float(((b @ weights).argmax(1) == test_labels).mean())


def style_probe(
    values: Array, emotion: npt.NDArray[np.int64], person: npt.NDArray[np.int64]
) -> float:
    """Compute how often :func:`probe` recognises people by what is left without class means.

    Half of the recordings train it; the mean over several halves is returned.
    """
    person = np.unique(person, return_inverse=True)[1]
    means = {one: values[emotion == one].mean(0) for one in np.unique(emotion).tolist()}
    rest = values - np.stack([means[one] for one in emotion.tolist()])
    found = []
    for seed in range(_HALVES):
        order = np.random.default_rng(seed).permutation(len(rest))
        a, b = order[::2], order[1::2]
        found.append(probe(rest[a], person[a], rest[b], person[b]))
    return float(np.mean(found))
