"""Training of DICE-Talk's emotion priors (arXiv 2504.18087); what both of its embedders share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.dicetalk.embedder import EmotionEmbedder, Gaussian, contrast, reverse

Array = npt.NDArray[Any]

_PERSON_WEIGHT: Final = 20.0
"""Of the differences between people beside those between recordings, where both count as noise."""

_RIDGE: Final = 0.02
_LEAST_NOISE: Final = 1e-4
"""Variance within an emotion beside that between them, where there are too few recordings."""

_TINY: Final = 1e-12
_SHARPNESS: Final = 0.25
"""Of the shares: below 1, the mixture keeps more of a recording than its likeliest emotion."""


def balanced(labels: Array) -> Array:
    """Return odds ``(N,)`` of recordings at which every label is drawn equally often."""
    odds = 1 / np.bincount(labels)[labels]
    return odds / odds.sum()


def drop_modalities(count: int, share: float, rng: np.random.Generator) -> dict[str, Tensor]:
    """Choose rows that keep voice and face; ``share`` of them lack one, as many the other."""
    lost = rng.random(count)
    return {
        "keep_audio": torch.from_numpy(lost >= share),
        "keep_face": torch.from_numpy((lost < share) | (lost >= 2 * share)),
    }


def embedder_losses(
    net: EmotionEmbedder, batch: dict[str, Tensor], weights: tuple[float, float, float]
) -> tuple[dict[str, Tensor], Gaussian]:
    """Compute the weighted losses of an embedder: keep the emotion, remove the person.

    Args:
        net: the embedder.
        batch: its inputs, ``label`` and ``person``.
        weights: of contrast, reversed gradient of the speaker classifier, and divergence.

    Returns:
        The losses by name, and the Gaussians of the batch.
    """
    contrast_weight, adversary, divergence_weight = weights
    label, person = batch["label"], batch["person"]
    gaussian = net(batch["audio"], batch["face"], batch["keep_audio"], batch["keep_face"])
    sample = gaussian.sample(torch.randn_like(gaussian.mean))
    losses = {
        "emotion": F.cross_entropy(net.emotion(sample), label, label_smoothing=0.05),
        "contrast": contrast_weight * contrast(gaussian.mean, label, person),
        "person": F.cross_entropy(net.person_of(reverse(gaussian.mean, adversary), label), person),
        "divergence": divergence_weight * gaussian.divergence(),
    }
    return losses, gaussian


def fit_prototypes(
    net: EmotionEmbedder, gaussian: Gaussian, emotion: Array, person: Array
) -> EmotionEmbedder:
    """Return the embedder with a mixture of emotions at its end.

    The emotions are compared along the directions in which their means differ most beside what
    differs within an emotion, above all between people (linear discriminant analysis). The variance
    of each is that of its recordings, so that samples are as varied as people are.

    Args:
        net: trained without prototypes.
        gaussian: of recordings to train on, ``(N, width)``.
        emotion: their emotions, ``int (N,)``.
        person: who they are of, ``int (N,)``.
    """
    mean = gaussian.mean.double().cpu().numpy()
    known = np.unique(emotion)
    centres = np.stack([mean[emotion == one].mean(0) for one in known])
    rest = mean - centres[np.searchsorted(known, emotion)]
    style = np.stack([rest[person == one].mean(0) for one in np.unique(person)])
    directions = _directions(centres, rest, style)
    places = centres @ directions
    variance = gaussian.log_variance.double().exp().cpu().numpy()
    spread = [rest[emotion == one].var(0) + variance[emotion == one].mean(0) for one in known]
    out = EmotionEmbedder(replace(net.spec, prototypes=len(known))).to(gaussian.mean.device)
    mixed = out.prototypes
    assert mixed is not None  # noqa: S101 - there is at least one emotion
    values = {
        "scores.weight": _SHARPNESS * places @ directions.T,
        "scores.bias": -0.5 * _SHARPNESS * (places**2).sum(1),
        "mean": centres,
        "log_variance": np.log(spread),
    }
    mixed.load_state_dict({name: torch.from_numpy(value) for name, value in values.items()})
    out.load_state_dict(net.state_dict(), strict=False)
    return out.eval()


def _directions(centres: Array, rest: Array, style: Array) -> Array:
    """Return the directions ``(width, D)`` that tell emotions apart and people least."""
    noise = rest.T @ rest / len(rest) + _PERSON_WEIGHT * style.T @ style / len(style)
    scale = max(np.trace(noise) / len(noise), _LEAST_NOISE * centres.var(), _TINY)
    noise += _RIDGE * scale * np.eye(len(noise))
    size, axes = np.linalg.eigh(noise)
    white = axes / np.sqrt(size) @ axes.T
    between = np.cov(centres @ white, rowvar=False, bias=True)
    directions: Array = white @ np.linalg.eigh(between)[1][:, ::-1]
    return directions[:, : len(centres) - 1]
