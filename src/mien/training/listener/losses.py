"""The listener's objective: labels, distillation, and invariance to who says what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.training.listener.config import LossWeights
from mien.training.listener.net import SCALE, Said

SMOOTHING = 0.1
TEMPERATURE = 0.1


@dataclass(frozen=True)
class Targets:
    """What is known of a batch of ``B`` voices.

    Attributes:
        emotion: ``int64 (B,)``, index into ``HEARD``; -1 where it has another label.
        relative: ``bool (B,)``: the speaker's neutral voice is in the batch.
        intensity: ``float32 (B,)``, 1..3; 0 where unknown.
        teacher: ``float32 (B, 1024)``; zeros where unknown.
        speaker: ``int64 (B,)``.
    """

    emotion: Tensor
    relative: Tensor
    intensity: Tensor
    teacher: Tensor
    speaker: Tensor


class _Reverse(torch.autograd.Function):
    """Identity whose gradient is reversed (Ganin & Lempitsky 2015)."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        return -grads[0]


class SpeakerAdversary(nn.Module):
    """Guesses the speaker from an embedding; the listener learns to give it nothing."""

    def __init__(self, embedding: int, speakers: int) -> None:
        super().__init__()
        self.guess = nn.Sequential(
            nn.Linear(embedding, embedding), nn.ReLU(), nn.Linear(embedding, speakers)
        )

    def forward(self, embedding: Tensor) -> Tensor:
        """Logits ``(B, speakers)``; the gradient into ``embedding`` is reversed."""
        reverse: Callable[[Tensor], Tensor] = _Reverse.apply
        return self.guess(reverse(embedding * SCALE))


def contrast(embedding: Tensor, label: Tensor) -> Tensor:
    """Supervised contrast (Khosla et al. 2020) of unit embeddings ``(B, E)``; label -1: only other.

    Batches hold several emotions of one speaker, often in the same words, and the same emotion by
    other speakers: what must be pulled together differs in voice and words, what must be pushed
    apart agrees in them.
    """
    itself = torch.eye(len(embedding), dtype=torch.bool, device=embedding.device)
    similar = (embedding @ embedding.T / TEMPERATURE).masked_fill(itself, -1e4)
    known = label >= 0
    same = (label[:, None] == label[None]) & ~itself & known[:, None] & known[None]
    log_share = similar - similar.logsumexp(1, keepdim=True)
    count = same.sum(1)
    each = (log_share * same).sum(1) / count.clamp_min(1)
    return -each[count > 0].mean() if bool((count > 0).any()) else embedding.sum() * 0


def distil(said: Tensor, teacher: Tensor, mean: Tensor) -> Tensor:
    """One minus the cosine to the teacher's features, as they are and without their mean."""
    known = teacher.abs().sum(1) > 0
    if not bool(known.any()):
        return said.sum() * 0
    said, teacher = said[known], teacher[known]
    raw = F.cosine_similarity(said, teacher, dim=1)
    centred = F.cosine_similarity(said - mean, teacher - mean, dim=1)
    return (2 - raw - centred).mean()


def objective(
    said: Said,
    targets: Targets,
    adversary: SpeakerAdversary,
    teacher_mean: Tensor,
    weights: LossWeights,
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum, and its parts by name."""
    known = targets.emotion >= 0
    beside = known & targets.relative
    rated = targets.intensity > 0
    nothing = said.embedding.sum() * 0

    def crossed(logits: Tensor, where: Tensor) -> Tensor:
        if not bool(where.any()):
            return nothing
        return F.cross_entropy(logits[where], targets.emotion[where], label_smoothing=SMOOTHING)

    intensity = nothing
    if bool(rated.any()):
        intensity = F.mse_loss(said.intensity[rated], targets.intensity[rated])
    parts = {
        "emotion": crossed(said.emotion, known),
        "relative": crossed(said.relative, beside),
        "teacher": distil(said.teacher, targets.teacher, teacher_mean),
        "intensity": intensity,
        "contrast": contrast(said.embedding, targets.emotion),
        "speaker": F.cross_entropy(adversary(said.embedding), targets.speaker),
    }
    total = sum((getattr(weights, name) * part for name, part in parts.items()), nothing)
    return total, {name: float(part.detach()) for name, part in parts.items()}
