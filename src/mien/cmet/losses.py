"""Losses of the connector (section 3 of C-MET, arXiv 2604.07786)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

TEMPERATURE = 0.1


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weights of the reconstruction, contrastive and directional losses; the published ones."""

    reconstruction: float = 1.0
    contrastive: float = 0.1
    directional: float = 0.05


def focal(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute the focal regression loss: the mean of ``x^2 tanh(0.1 |x|)`` over errors ``x``."""
    error = prediction - target
    return (error**2 * torch.tanh(0.1 * error.abs())).mean()


def contrastive(visual: Tensor, speech: Tensor, label: Tensor) -> Tensor:
    """Compute the supervised contrastive loss between and within the modalities.

    Args:
        visual: tokens ``(B, width)`` of any norm; they are normalised here.
        speech: tokens ``(B, width)``.
        label: ``int64 (B,)``.
    """
    tokens = F.normalize(torch.cat([visual, speech]), dim=1)
    labels = torch.cat([label, label])
    logits = tokens @ tokens.T / TEMPERATURE
    logits = logits - logits.max(1, keepdim=True).values.detach()
    identity = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    same = (labels[:, None] == labels[None]) & ~identity
    total = logits.exp().masked_fill(identity, 0).sum(1, keepdim=True)
    log_share = logits - torch.log(total + 1e-12)
    return -((log_share * same).sum(1) / (same.sum(1) + 1e-12)).mean()


def directional(forward: Tensor, backward: Tensor) -> Tensor:
    """Compute the mean of ``(1 + cos)^2`` of opposite differences ``(N, D)``; 0 when opposed."""
    return ((1 + F.cosine_similarity(forward, backward, dim=1)) ** 2).mean()
