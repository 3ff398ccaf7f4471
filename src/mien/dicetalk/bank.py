"""The emotion bank (DICE-Talk, arXiv 2504.18087) and the mesh engine's decoder on top of it.

An emotion prior is turned into tokens by 64 learned entries. Retrieval uses the nearest entry
(vector quantisation); otherwise the prior attends to all entries. Attribute names of the modules
are the keys of the published weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.weights.hub import HubNet

_COMMITMENT = 0.25


@dataclass(frozen=True, slots=True)
class BankSpec:
    """Sizes of the bank and its discriminator; the defaults are the published ones.

    Attributes:
        prior: size of an emotion prior.
        width: channels of tokens and entries.
        tokens: tokens per vector.
        entries: entries of the bank.
        heads: attention heads.
        feature: channels of the discriminator's input; 0 for no discriminator.
        hidden: sizes of the discriminator's hidden layers.
        classes: classes of the discriminator (seven emotions at three levels, and neutral).
    """

    prior: int = 256
    width: int = 1024
    tokens: int = 32
    entries: int = 64
    heads: int = 8
    feature: int = 1280
    hidden: tuple[int, int] = (512, 256)
    classes: int = 22


class TokenNet(nn.Module):
    """Project vectors ``(..., inputs)`` to tokens ``(..., tokens, width)``."""

    def __init__(self, inputs: int, width: int = 1024, tokens: int = 32) -> None:
        super().__init__()
        self.proj1 = nn.Linear(inputs, width)
        self.proj2 = nn.Linear(width, width)
        self.proj3 = nn.Linear(width, tokens * width)
        self.norm = nn.LayerNorm(width)
        self.tokens = tokens

    def forward(self, x: Tensor) -> Tensor:
        """Compute tokens ``(..., tokens, width)``."""
        y = self.proj3(F.relu(self.proj2(F.relu(self.proj1(x)))))
        out: Tensor = self.norm(y.reshape(*x.shape[:-1], self.tokens, -1))
        return out


class Quantised(NamedTuple):
    """Nearest entries: straight-through ``value (..., width)``, their ``codes``, and ``loss``."""

    value: Tensor
    codes: Tensor
    loss: Tensor


class Codebook(nn.Module):
    """The bank's entries, looked up by squared distance."""

    def __init__(self, spec: BankSpec) -> None:
        super().__init__()
        self.fc = nn.Linear(spec.prior, spec.width)
        self.codebook = nn.Embedding(spec.entries, spec.width)
        nn.init.uniform_(self.codebook.weight, -1 / spec.entries, 1 / spec.entries)

    def forward(self, prior: Tensor) -> Quantised:
        """Find the entries nearest to priors ``(..., prior)``."""
        z = self.fc(prior)
        flat, entries = z.reshape(-1, z.shape[-1]), self.codebook.weight
        gaps = flat.square().sum(1, keepdim=True) - 2 * flat @ entries.T + entries.square().sum(1)
        codes = gaps.argmin(1)
        value = entries[codes].reshape(z.shape)
        loss = F.mse_loss(value, z.detach()) + _COMMITMENT * F.mse_loss(value.detach(), z)
        return Quantised(z + (value - z).detach(), codes, loss)

    @torch.no_grad()
    def replace_unused(self, unused: Tensor, codes: Tensor, prior: Tensor, longest: int) -> None:
        """Move entries that have not been used for long to the place of a prior.

        Args:
            unused: for how many steps each entry has not been used, which is updated.
            codes: entries used in this step.
            prior: priors of this step ``(B, prior)``.
            longest: steps after which an unused entry is moved.
        """
        unused += 1
        unused[codes] = 0
        for entry in torch.nonzero(unused > longest).flatten().tolist():
            self.codebook.weight[entry] = self.fc(prior[entry % len(prior)])
            unused[entry] = 0


class _Attention(nn.Module):
    """Multi-head attention without output projection, residual or norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.fc_q = nn.Linear(width, width)
        self.fc_k = nn.Linear(width, width)
        self.fc_v = nn.Linear(width, width)
        self.heads = heads

    def forward(self, query: Tensor, source: Tensor) -> Tensor:
        q, k, v = (
            x.reshape(*x.shape[:-1], self.heads, -1).transpose(-3, -2)
            for x in (self.fc_q(query), self.fc_k(source), self.fc_v(source))
        )
        y = F.scaled_dot_product_attention(q, k, v)
        return y.transpose(-3, -2).flatten(-2)


class EmotionTokens(NamedTuple):
    """Output of the bank: ``tokens (..., T, width)``, the quantiser's result, the ``loss``."""

    tokens: Tensor
    quantised: Quantised
    loss: Tensor


class EmotionBank(HubNet, nn.Module):
    """Map emotion priors to tokens; the classifier is the discriminator used in training."""

    spec_type = BankSpec
    paper = "2504.18087"

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
    ) -> EmotionTokens:
        """Compute emotion tokens of priors ``(..., prior)``.

        Args:
            prior: means (or samples) of the emotion's Gaussian.
            retrieval: attend to the nearest entry instead of all; the loss is zero otherwise.
            dropped: ``bool (...)``, priors replaced by zeros, as for classifier-free guidance. The
                quantiser still sees them.
        """
        quantised = self.codebook(prior)
        value = quantised.value
        if dropped is not None:
            keep = (~dropped)[..., None].to(prior.dtype)
            prior, value = prior * keep, value * keep
        query = self.emo_linear(prior)
        if retrieval:
            source = self.kv_tokens_linear(value)
        else:  # tokens of all entries, (entries * T, width), depend on the weights alone
            source = self.kv_tokens_linear(self.codebook.codebook.weight).flatten(0, 1)
            source = source.expand(*query.shape[:-2], -1, -1)
        loss = quantised.loss if retrieval else quantised.loss.new_zeros(())
        return EmotionTokens(self.attention(query, source), quantised, loss)


class Discriminator(nn.Module):
    """Classify the emotion of a feature map ``(B, C, ...)``: logits ``(B, classes)``."""

    def __init__(self, spec: BankSpec) -> None:
        super().__init__()
        first, second = spec.hidden
        self.fc1 = nn.Linear(spec.feature, first)
        self.fc2 = nn.Linear(first, second)
        self.fc3 = nn.Linear(second, spec.classes)
        self.drop = nn.Dropout(0.1)

    def forward(self, feature: Tensor) -> Tensor:
        """Compute logits; axes after the channels are averaged."""
        pooled = feature.flatten(2).mean(2) if feature.ndim > 2 else feature
        y = self.drop(F.relu(self.fc1(pooled)))
        out: Tensor = self.fc3(self.drop(F.relu(self.fc2(y))))
        return out


def perplexity(codes: Tensor, entries: int) -> float:
    """Compute the effective number of entries in use, 1 .. ``entries``."""
    share = torch.bincount(codes.flatten(), minlength=entries).double()
    share = share / share.sum().clamp(min=1)
    return float(torch.exp(-(share * torch.log(share.clamp(min=1e-12))).sum()))


@dataclass(frozen=True, slots=True)
class MeshDiceSpec:
    """Sizes of bank and decoder at mesh scale.

    Attributes:
        bank: sizes of the bank; its ``feature`` is the decoder's hidden size.
        units: OpenFace action units in the output.
    """

    bank: BankSpec
    units: int = 17


class Decoded(NamedTuple):
    """Output of :class:`MeshDice`.

    ``face (B, units)``, the change in code units; ``feature (B, hidden)`` for the discriminator;
    the quantiser's ``loss`` and ``codes``.
    """

    face: Tensor
    feature: Tensor
    loss: Tensor
    codes: Tensor


class MeshDice(nn.Module):
    """Decode priors ``(B, prior)`` through a bank to changes of OpenFace action units."""

    def __init__(self, spec: MeshDiceSpec) -> None:
        super().__init__()
        self.spec = spec
        bank = spec.bank
        self.bank = EmotionBank(bank)
        self.hidden = nn.Sequential(
            nn.Linear(bank.tokens * bank.width, bank.feature), nn.GELU(), nn.Dropout(0.1)
        )
        self.face = nn.Linear(bank.feature, spec.units)

    def forward(self, prior: Tensor, *, retrieval: bool = False) -> Decoded:
        """Compute the changes of the face."""
        emotion = self.bank(prior, retrieval=retrieval)
        feature = self.hidden(emotion.tokens.flatten(1))
        return Decoded(self.face(feature), feature, emotion.loss, emotion.quantised.codes)
