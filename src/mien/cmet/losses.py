"""The connector's objective (section 3 of arXiv 2604.07786)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

TEMPERATURE = 0.1


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Published weights of reconstruction, contrastive and directional loss."""

    reconstruction: float = 1.0
    contrastive: float = 0.1
    directional: float = 0.05


def focal(prediction: Tensor, target: Tensor) -> Tensor:
    """Focal regression: mean of ``x^2 tanh(0.1 |x|)``, ``x`` the error; large ones dominate."""
    error = prediction - target
    return (error**2 * torch.tanh(0.1 * error.abs())).mean()


def contrastive(visual: Tensor, speech: Tensor, label: Tensor) -> Tensor:
    """Supervised contrast between and within the modalities.

    Args:
        visual: tokens ``(B, width)``; of any length, they are normalised here.
        speech: tokens ``(B, width)``.
        label: ``int64 (B,)``.
    """
    tokens = F.normalize(torch.cat([visual, speech]), dim=1)
    labels = torch.cat([label, label])
    logits = tokens @ tokens.T / TEMPERATURE
    logits = logits - logits.max(1, keepdim=True).values.detach()
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    same = (labels[:, None] == labels[None]) & ~itself
    total = logits.exp().masked_fill(itself, 0).sum(1, keepdim=True)
    log_share = logits - torch.log(total + 1e-12)
    return -((log_share * same).sum(1) / (same.sum(1) + 1e-12)).mean()


def directional(forward: Tensor, backward: Tensor) -> Tensor:
    """Squared ``1 + cos`` of both directions' differences ``(N, D)``: they should be opposite."""
    return ((1 + F.cosine_similarity(forward, backward, dim=1)) ** 2).mean()
