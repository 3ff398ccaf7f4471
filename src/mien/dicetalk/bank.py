"""The emotion bank: emotions in relation to each other (dicetalk.md section 3).

A prior asks, 64 learned entries answer. Retrieval takes the nearest entry (vector quantisation);
otherwise attention runs over all of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.dicetalk.tokens import TokenNet

_COMMITMENT = 0.25


@dataclass(frozen=True, slots=True)
class BankSpec:
    """Sizes; the defaults are the published ones.

    Attributes:
        prior: size of an emotion prior.
        width: of tokens and entries.
        tokens: per vector.
        entries: of the bank.
        heads: of the attention.
        feature: channels the discriminator sees; 0 for none.
        hidden: of the discriminator.
        classes: the discriminator tells apart (seven emotions at three levels, and neutral).
    """

    prior: int = 256
    width: int = 1024
    tokens: int = 32
    entries: int = 64
    heads: int = 8
    feature: int = 1280
    hidden: tuple[int, int] = (512, 256)
    classes: int = 22

    def to_dict(self) -> dict[str, Any]:
        """The sizes in plain values."""
        return asdict(self)


class Quantised(NamedTuple):
    """What the quantiser finds.

    ``value (..., width)`` with straight-through gradient, ``codes`` of the entries, its ``loss``.
    """

    value: Tensor
    codes: Tensor
    loss: Tensor


class Codebook(nn.Module):
    """Nearest entries by squared distance; names are the published ones."""

    def __init__(self, spec: BankSpec) -> None:
        super().__init__()
        self.fc = nn.Linear(spec.prior, spec.width)
        self.codebook = nn.Embedding(spec.entries, spec.width)
        nn.init.uniform_(self.codebook.weight, -1 / spec.entries, 1 / spec.entries)

    def forward(self, prior: Tensor) -> Quantised:
        """Entries nearest to priors ``(..., prior)``."""
        z = self.fc(prior)
        flat, rows = z.reshape(-1, z.shape[-1]), self.codebook.weight
        gaps = flat.square().sum(1, keepdim=True) - 2 * flat @ rows.T + rows.square().sum(1)
        codes = gaps.argmin(1)
        value = rows[codes].reshape(z.shape)
        loss = F.mse_loss(value, z.detach()) + _COMMITMENT * F.mse_loss(value.detach(), z)
        return Quantised(z + (value - z).detach(), codes, loss)


class _Attention(nn.Module):
    """Attention without output projection, residual or norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.fc_q = nn.Linear(width, width)
        self.fc_k = nn.Linear(width, width)
        self.fc_v = nn.Linear(width, width)
        self.heads = heads

    def forward(self, query: Tensor, source: Tensor) -> Tensor:
        q, k, v = self._split(self.fc_q(query)), *self.keys(source)
        y = F.scaled_dot_product_attention(q, k, v)
        return y.transpose(-3, -2).flatten(-2)

    def keys(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a source; the same for every query of a clip."""
        return self._split(self.fc_k(source)), self._split(self.fc_v(source))

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, -1).transpose(-3, -2)


class Told(NamedTuple):
    """What the bank tells: ``tokens (..., T, width)``, and the quantiser's part."""

    tokens: Tensor
    quantised: Quantised
    loss: Tensor


class EmotionBank(nn.Module):
    """Priors to emotion tokens, and the discriminator that keeps features true to an emotion."""

    def __init__(self, spec: BankSpec) -> None:
        super().__init__()
        self.spec = spec
        self.emo_linear = TokenNet(spec.prior, spec.width, spec.tokens)
        self.kv_tokens_linear = TokenNet(spec.width, spec.width, spec.tokens)
        self.codebook = Codebook(spec)
        self.attention = _Attention(spec.width, spec.heads)
        self.classifier = Discriminator(spec) if spec.feature else None

    def forward(
        self, prior: Tensor, *, retrieval: bool = False, dropped: Tensor | None = None
    ) -> Told:
        """Emotion tokens of priors ``(..., prior)``.

        Args:
            prior: means (or samples) of the emotion's Gaussian.
            retrieval: ask the nearest entry instead of all of them; the quantiser's loss counts
                only then.
            dropped: ``bool (...)``: priors to be left out, as for guidance. The quantiser still
                sees them.
        """
        quantised = self.codebook(prior)
        value = quantised.value
        if dropped is not None:
            keep = (~dropped)[..., None].to(prior.dtype)
            prior, value = prior * keep, value * keep
        query = self.emo_linear(prior)
        if retrieval:
            source = self.kv_tokens_linear(value)
        else:
            source = self.everything().expand(*query.shape[:-2], -1, -1)
        zero = quantised.loss.new_zeros(())
        loss = quantised.loss if retrieval else zero
        return Told(self.attention(query, source), quantised, loss)

    def everything(self) -> Tensor:
        """Tokens of all entries ``(entries * T, width)``; they depend on weights alone."""
        return self.kv_tokens_linear(self.codebook.codebook.weight).flatten(0, 1)


class Discriminator(nn.Module):
    """Which emotion a feature map ``(B, C, ...)`` shows: logits ``(B, classes)``."""

    def __init__(self, spec: BankSpec) -> None:
        super().__init__()
        first, second = spec.hidden
        self.fc1 = nn.Linear(spec.feature, first)
        self.fc2 = nn.Linear(first, second)
        self.fc3 = nn.Linear(second, spec.classes)
        self.drop = nn.Dropout(0.1)

    def forward(self, feature: Tensor) -> Tensor:
        """Logits of features, averaged over whatever axes follow the channels."""
        pooled = feature.flatten(2).mean(2) if feature.ndim > 2 else feature
        y = self.drop(F.relu(self.fc1(pooled)))
        out: Tensor = self.fc3(self.drop(F.relu(self.fc2(y))))
        return out


def perplexity(codes: Tensor, entries: int) -> float:
    """How many entries of the bank are in use, 1 .. ``entries``."""
    share = torch.bincount(codes.flatten(), minlength=entries).double()
    share = share / share.sum().clamp(min=1)
    return float(torch.exp(-(share * torch.log(share.clamp(min=1e-12))).sum()))
