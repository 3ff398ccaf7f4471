"""The emotion embedder: audio and face features to an identity-free Gaussian emotion prior.

The paper (DICE-Talk, arXiv 2504.18087) leaves the network open; this design is mien's. The tokens
of both modalities attend to each other (layers of cross attention both ways), attention pooling
makes one vector, and two linear layers give mean and log variance. Either modality may be missing.
At last the Gaussian is replaced by a mixture of those of the emotions (:class:`Prototypes`), which
leaves no room for the person.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.errors import InputError
from mien.weights.convert import load_net, save
from mien.weights.hub import HubNet


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """Sizes of the embedder.

    Attributes:
        audio: size of an audio frame's feature.
        face: size of a face frame's feature.
        width: size of tokens and of the Gaussian.
        heads, layers: of the attention.
        dropout: dropout rate in training.
        emotions, people: classes of the two heads used in training.
        prototypes: emotions whose Gaussians are mixed; 0 while the rest is trained.
    """

    audio: int = 1024
    face: int = 512
    width: int = 256
    heads: int = 4
    layers: int = 2
    dropout: float = 0.1
    emotions: int = 22
    people: int = 47
    prototypes: int = 0


class Gaussian(NamedTuple):
    """``mean`` and ``log_variance``, both ``(B, width)``."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return a sample for standard normal ``noise`` ``(B, width)``."""
        return self.mean + noise * torch.exp(0.5 * self.log_variance)

    def divergence(self) -> Tensor:
        """Compute the mean Kullback-Leibler divergence to a standard normal, per dimension."""
        variance = self.log_variance.exp()
        return 0.5 * (self.mean.square() + variance - 1 - self.log_variance).mean()


class Prototypes(nn.Module):
    """Replaces a Gaussian by a mixture of one per emotion.

    The shares are a softmax of linear scores of the mean, so that two people who show the same
    emotions get the same result, however else they differ. Fitted by
    :func:`mien.training.emotion_prior.fit_prototypes`.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.scores = nn.Linear(width, count)
        self.mean, self.log_variance = (nn.Parameter(torch.zeros(count, width)) for _ in range(2))

    def forward(self, gaussian: Gaussian) -> Gaussian:
        """Mix the means and the variances."""
        share = self.scores(gaussian.mean).softmax(1)
        return Gaussian(share @ self.mean, torch.log(share @ self.log_variance.exp()))


class _CrossAttention(nn.Module):
    """Attention between the modalities, then a feed-forward layer for each."""

    def __init__(self, spec: EmbedderSpec) -> None:
        super().__init__()
        width = spec.width
        self.audio_looks, self.face_looks = (
            nn.MultiheadAttention(width, spec.heads, spec.dropout, batch_first=True)
            for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.feed = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(2)
        )

    def forward(self, audio: Tensor, face: Tensor) -> tuple[Tensor, Tensor]:
        from_face, _ = self.audio_looks(audio, face, face, need_weights=False)
        from_audio, _ = self.face_looks(face, audio, audio, need_weights=False)
        audio, face = self.norms[0](audio + from_face), self.norms[1](face + from_audio)
        audio = self.norms[2](audio + self.feed[0](audio))
        return audio, self.norms[3](face + self.feed[1](face))


class EmotionEmbedder(HubNet, nn.Module):
    """Embed audio frames ``(B, Ta, audio)`` and face frames ``(B, Tv, face)`` as a Gaussian."""

    spec_type = EmbedderSpec
    paper = "2504.18087"

    def __init__(self, spec: EmbedderSpec) -> None:
        super().__init__()
        self.spec = spec
        width = spec.width
        self.audio_in, self.face_in = nn.Linear(spec.audio, width), nn.Linear(spec.face, width)
        self.no_audio = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.no_face = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.cross = nn.ModuleList(_CrossAttention(spec) for _ in range(spec.layers))
        self.pool = nn.Linear(width, 1)
        self.drop = nn.Dropout(spec.dropout)
        self.mean, self.log_variance = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.constant_(self.log_variance.bias, -2.0)
        self.emotion = nn.Linear(width, spec.emotions)
        self.person = nn.Sequential(
            nn.Linear(width + spec.emotions, width),
            nn.ReLU(),
            nn.Linear(width, spec.people),
        )
        self.prototypes = Prototypes(spec.prototypes, width) if spec.prototypes else None

    def forward(
        self,
        audio: Tensor | None,
        face: Tensor | None,
        keep_audio: Tensor | None = None,
        keep_face: Tensor | None = None,
    ) -> Gaussian:
        """Compute the Gaussian of an audio clip, a face, or both.

        Args:
            audio: None where there is no voice.
            face: None where there is no face.
            keep_audio: ``bool (B,)``, rows whose audio is used (training drops some).
            keep_face: the same for faces.

        Raises:
            ValueError: when both are None.
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
        gaussian = Gaussian(self.mean(pooled), self.log_variance(pooled).clamp(-6, 2))
        return gaussian if self.prototypes is None else self.prototypes(gaussian)

    def person_of(self, mean: Tensor, emotion: Tensor) -> Tensor:
        """Return the logits of the people for means ``(B, width)`` with known emotions ``(B,)``.

        Who knows the emotion sees in it nothing of the person: what is left is style.
        """
        known = F.one_hot(emotion, self.spec.emotions).to(mean)
        out: Tensor = self.person(torch.cat([mean, known], 1))
        return out


def load_embedder(path: Path) -> EmotionEmbedder:
    """Read ``embedder.safetensors`` as written by ``mien train dice-embedder``.

    Raises:
        InputError: when there is no such file.
        WeightsError: when it is damaged.
    """
    if not path.is_file():
        raise InputError(
            f"There is no embedder file {path}. Make one with `mien train dice-embedder`."
        )
    return load_net(path, EmotionEmbedder, EmbedderSpec)


def save_embedder(net: EmotionEmbedder, path: Path) -> None:
    """Write an embedder and its sizes for :func:`load_embedder`."""
    save(net.state_dict(), path, asdict(net.spec), {"name": "embedder"})


class _GradientReversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:  # noqa: ANN401
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return -ctx.weight * gradient, None


def reverse(x: Tensor, weight: float) -> Tensor:
    """Return ``x``; its gradient is multiplied by ``-weight`` (Ganin & Lempitsky 2015)."""
    out: Tensor = _GradientReversal.apply(x, weight)  # type: ignore[no-untyped-call]
    return out


def contrast(mean: Tensor, emotion: Tensor, person: Tensor, temperature: float = 0.1) -> Tensor:
    """Compute the supervised contrastive loss; positives share the emotion, not the person.

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
    # The same person with the same emotion is neither a positive nor a negative.
    other = ~itself & ((emotion[:, None] != emotion[None]) | alike)
    logits = logits - logits.max(1, keepdim=True).values.detach()
    total = (logits.exp() * other).sum(1, keepdim=True)
    shares = logits - torch.log(total + 1e-12)
    count = alike.sum(1)
    each = -(shares * alike).sum(1) / count.clamp(min=1)
    return each[count > 0].mean() if bool((count > 0).any()) else each.sum() * 0
