"""The emotion embedder: a voice and a face to an identity-free Gaussian (dicetalk.md section 8).

The paper's text leaves the network open; this design is ours. Tokens of both modalities look at
each other (two layers of attention in both directions), attention pools them, and two linear layers
give mean and log variance. Either modality may be missing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """Sizes.

    Attributes:
        audio: size of an audio frame's feature.
        face: size of a face frame's feature.
        width: of tokens and of the Gaussian.
        heads, layers: of the attention.
        emotions, people: classes of the two heads that training needs.
    """

    audio: int = 1024
    face: int = 512
    width: int = 256
    heads: int = 4
    layers: int = 2
    dropout: float = 0.1
    emotions: int = 22
    people: int = 47

    def to_dict(self) -> dict[str, Any]:
        """The sizes in plain values."""
        return asdict(self)


class Gaussian(NamedTuple):
    """``mean`` and ``log_variance`` ``(B, width)``."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """A draw with standard normal ``noise`` ``(B, width)``."""
        return self.mean + noise * torch.exp(0.5 * self.log_variance)

    def divergence(self) -> Tensor:
        """Mean Kullback-Leibler divergence to the standard normal distribution, per dimension."""
        spread = self.log_variance.exp()
        return 0.5 * (self.mean.square() + spread - 1 - self.log_variance).mean()


class _Cross(nn.Module):
    """Each modality looks at the other, then at itself through a feed-forward layer."""

    def __init__(self, spec: EmbedderSpec) -> None:
        super().__init__()
        width = spec.width

        def look() -> nn.MultiheadAttention:
            return nn.MultiheadAttention(width, spec.heads, spec.dropout, batch_first=True)

        self.audio_looks, self.face_looks = look(), look()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.feed = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(2)
        )

    def forward(self, audio: Tensor, face: Tensor) -> tuple[Tensor, Tensor]:
        heard, _ = self.audio_looks(audio, face, face, need_weights=False)
        seen, _ = self.face_looks(face, audio, audio, need_weights=False)
        audio, face = self.norms[0](audio + heard), self.norms[1](face + seen)
        audio = self.norms[2](audio + self.feed[0](audio))
        return audio, self.norms[3](face + self.feed[1](face))


class EmotionEmbedder(nn.Module):
    """Audio frames ``(B, Ta, audio)`` and face frames ``(B, Tv, face)`` to a Gaussian."""

    def __init__(self, spec: EmbedderSpec) -> None:
        super().__init__()
        self.spec = spec
        width = spec.width
        self.audio_in, self.face_in = nn.Linear(spec.audio, width), nn.Linear(spec.face, width)
        self.no_audio = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.no_face = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.cross = nn.ModuleList(_Cross(spec) for _ in range(spec.layers))
        self.pool = nn.Linear(width, 1)
        self.drop = nn.Dropout(spec.dropout)
        self.mean, self.log_variance = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.constant_(self.log_variance.bias, -2.0)
        self.emotion = nn.Linear(width, spec.emotions)
        self.person = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, spec.people)
        )

    def forward(
        self,
        audio: Tensor | None,
        face: Tensor | None,
        keep_audio: Tensor | None = None,
        keep_face: Tensor | None = None,
    ) -> Gaussian:
        """The Gaussian of what is heard and seen.

        Args:
            audio: None where there is no voice.
            face: None where there is no face.
            keep_audio: ``bool (B,)``: rows whose voice counts (training drops some).
            keep_face: the same for faces.

        Raises:
            ValueError: without either.
        """
        given = audio if audio is not None else face
        if given is None:
            raise ValueError("An embedder needs a voice or a face.")
        batch = len(given)
        a = self.no_audio.expand(batch, -1, -1) if audio is None else self.audio_in(audio)
        v = self.no_face.expand(batch, -1, -1) if face is None else self.face_in(face)
        if keep_audio is not None:
            a = torch.where(keep_audio[:, None, None], a, self.no_audio)
        if keep_face is not None:
            v = torch.where(keep_face[:, None, None], v, self.no_face)
        for layer in self.cross:
            a, v = layer(a, v)
        tokens = torch.cat([a, v], 1)
        share = self.pool(tokens).softmax(1)
        pooled = self.drop((share * tokens).sum(1))
        return Gaussian(self.mean(pooled), self.log_variance(pooled).clamp(-6, 2))


class _Reversed(torch.autograd.Function):
    """Identity whose gradient is turned round (Ganin & Lempitsky 2015)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:  # noqa: ANN401
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return -ctx.weight * gradient, None


def reverse(x: Tensor, weight: float) -> Tensor:
    """``x``; whoever learns from it downstream makes what is upstream forget."""
    out: Tensor = _Reversed.apply(x, weight)  # type: ignore[no-untyped-call]
    return out


def contrast(mean: Tensor, emotion: Tensor, person: Tensor, temperature: float = 0.1) -> Tensor:
    """Supervised contrast: the same emotion of *another* person is alike.

    Args:
        mean: ``(B, width)``.
        emotion: labels ``(B,)``.
        person: labels ``(B,)``.
        temperature: of the softmax.
    """
    z = F.normalize(mean, dim=1)
    logits = z @ z.T / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    alike = (emotion[:, None] == emotion[None]) & (person[:, None] != person[None])
    # The same person with the same emotion is neither alike nor different.
    other = ~itself & ((emotion[:, None] != emotion[None]) | alike)
    logits = logits - logits.max(1, keepdim=True).values.detach()
    total = (logits.exp() * other).sum(1, keepdim=True)
    shares = logits - torch.log(total + 1e-12)
    count = alike.sum(1)
    each = -(shares * alike).sum(1) / count.clamp(min=1)
    return each[count > 0].mean() if bool((count > 0).any()) else each.sum() * 0
