"""Training of DICE-Talk's emotion priors (arXiv 2504.18087); what both of its embedders share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.dicetalk.embedder import EmotionEmbedder, Gaussian, contrast, reverse


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
        "person": F.cross_entropy(net.person(reverse(gaussian.mean, adversary)), person),
        "divergence": divergence_weight * gaussian.divergence(),
    }
    return losses, gaussian
