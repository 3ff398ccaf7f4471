"""The cross-modal connector: from semantic vector and expression to an expression difference.

Section 3 of C-MET (arXiv 2604.07786). The size of the expression code is a parameter: 10
coefficients of EDTalk, 17 action units of the mesh engine, 30 coefficients of PD-FGC. Attribute
names are those of the published checkpoint, so that its keys load unchanged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.weights.hub import HubNet


@dataclass(frozen=True, slots=True)
class ConnectorSpec:
    """Sizes of a connector; the defaults are the published ones.

    Attributes:
        expression: size D of the expression code.
        speech: size of the emotion semantic vector.
        width: size of a token, a power of two of at least 64.
        layers, heads, feed_forward: of the transformer.
        dropout: in the transformer and on its tokens.
        direct: add a linear path from semantic vector and expression to the difference. Not in
            the paper; with a few hundred pairs it generalises better.
    """

    expression: int = 10
    speech: int = 1024
    width: int = 1024
    layers: int = 4
    heads: int = 4
    feed_forward: int = 1024
    dropout: float = 0.1
    direct: bool = False


class ConnectorOutput(NamedTuple):
    """Output of a connector for a batch of ``B`` windows.

    ``delta (B, T, D)``; tokens before position encoding: ``reference (B, T, width)``,
    ``speech (B, 1, width)``, ``expression (B, T, width)``.
    """

    delta: Tensor
    reference: Tensor
    speech: Tensor
    expression: Tensor


class _ConvBlock(nn.Module):
    """Convolution, batch norm, optional residual connection, activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        padding: int,
        *,
        residual: bool = False,
        last: bool = False,
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv1d(inputs, outputs, kernel, stride, padding), nn.BatchNorm1d(outputs)
        )
        self.residual, self.last = residual, last

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_block(x)
        if self.residual:
            y = y + x
        return torch.tanh(y) if self.last else F.relu(y)


def _tokeniser(size: int, width: int) -> nn.Sequential:
    """Build the blocks (13 at width 1024) that turn an expression code into one token."""
    halved = -(-size // 2)
    left = -(-halved // 2)
    blocks = [
        _ConvBlock(1, 4, 3, 1, 1),
        _ConvBlock(4, 8, 3, 2, 1),
        _ConvBlock(8, 8, 3, 1, 1, residual=True),
        _ConvBlock(8, 8, 3, 1, 1, residual=True),
        _ConvBlock(8, 16, 3, 2, 1),
        _ConvBlock(16, 16, 3, 1, 1, residual=True),
        _ConvBlock(16, 16, 3, 1, 1, residual=True),
        # A code of 10 leaves 3 positions; the published kernel of 2 covers the first two.
        _ConvBlock(16, 32, 2 if size == 10 else left, 2, 0),
    ]
    channels = 32
    while channels < width:
        blocks.append(_ConvBlock(channels, 2 * channels, 1, 1, 0, last=2 * channels == width))
        channels *= 2
    return nn.Sequential(*blocks)


class _Positions(nn.Module):
    """Sinusoidal position encoding, interleaved (Vaswani et al. 2017)."""

    pe: Tensor

    def __init__(self, width: int, length: int = 512) -> None:
        super().__init__()
        place = torch.arange(length, dtype=torch.float32)[:, None]
        rate = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10_000.0) / width))
        table = torch.zeros(1, length, width)
        table[0, :, 0::2] = torch.sin(place * rate)
        table[0, :, 1::2] = torch.cos(place * rate)
        self.register_buffer("pe", table)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pe[:, : x.shape[1]]


class _SpeechTokeniser(nn.Module):
    def __init__(self, speech: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(speech, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, e: Tensor) -> Tensor:
        out: Tensor = self.norm(F.gelu(self.proj(e)))
        return out


class _Fusion(nn.Module):
    """Positions, type embeddings and the transformer over [reference | speech | expression]."""

    def __init__(self, spec: ConnectorSpec) -> None:
        super().__init__()
        self.position_r = _Positions(spec.width)
        self.position_e = _Positions(spec.width)
        self.modality = nn.Embedding(4, spec.width)
        self.dropout = nn.Dropout(spec.dropout)
        layer = nn.TransformerEncoderLayer(
            spec.width, spec.heads, spec.feed_forward, spec.dropout, batch_first=True
        )
        self.transformer_encoder = nn.TransformerEncoder(
            layer, spec.layers, enable_nested_tensor=False
        )
        # PyTorch copies one layer, and with it one draw of the weights.
        for name, values in self.transformer_encoder.named_parameters():
            if values.dim() > 1:
                nn.init.xavier_normal_(values)
            elif name.endswith("bias"):
                nn.init.zeros_(values)

    def forward(self, reference: Tensor, speech: Tensor, expression: Tensor) -> Tensor:
        kinds = self.modality.weight
        tokens = torch.cat(
            [
                self.position_r(reference) + kinds[1],
                speech + kinds[2],
                self.position_e(expression) + kinds[3],
            ],
            1,
        )
        out: Tensor = self.transformer_encoder(self.dropout(tokens))
        return out[:, -expression.shape[1] :]


class _Head(nn.Module):
    def __init__(self, width: int, expression: int) -> None:
        super().__init__()
        self.projector = nn.Sequential(
            nn.Linear(width, expression), nn.GELU(), nn.Linear(expression, expression)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.projector(tokens)
        return out


class Connector(HubNet, nn.Module):
    """Predicts the expression difference that goes with a change of voice.

    ``forward(reference (B, T, D), speech (B, 1, S), expression (B, T, D)) -> ConnectorOutput``:
    ``reference`` is the difference of the previous window (zeros at the start), ``speech`` the
    emotion semantic vector, ``expression`` the current code.
    """

    spec_type = ConnectorSpec
    paper = "2604.07786"

    def __init__(self, spec: ConnectorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.exp_encoder = _tokeniser(spec.expression, spec.width)
        self.ref_encoder = _tokeniser(spec.expression, spec.width)
        self.Norm = nn.LayerNorm(spec.width)
        self.speaker_encoder = _SpeechTokeniser(spec.speech, spec.width)
        self.fusion_transformer_encoder = _Fusion(spec)
        self.projector = _Head(spec.width, spec.expression)
        if spec.direct:
            self.direct_speech = nn.Linear(spec.speech, spec.expression, bias=False)
            self.direct_expression = nn.Linear(spec.expression, spec.expression, bias=False)
            for layer in (self.direct_speech, self.direct_expression, self.projector.projector[2]):
                for weights in layer.parameters():
                    nn.init.zeros_(weights)

    def forward(self, reference: Tensor, speech: Tensor, expression: Tensor) -> ConnectorOutput:
        """Predict the difference and tokens of a batch of windows."""
        out = self.published(reference, speech, expression)
        if not self.spec.direct:
            return out
        return out._replace(delta=out.delta + self.direct_path(speech, expression))

    def direct_path(self, speech: Tensor, expression: Tensor) -> Tensor:
        """Return the output of the linear path alone, ``(B, T, D)``."""
        out: Tensor = self.direct_speech(speech) + self.direct_expression(expression)
        return out

    def published(self, reference: Tensor, speech: Tensor, expression: Tensor) -> ConnectorOutput:
        """Run the published network, without the linear path."""
        before = self._tokens(self.ref_encoder, reference)
        now = self._tokens(self.exp_encoder, expression)
        voice = self.speaker_encoder(speech)
        fused = self.fusion_transformer_encoder(before, voice, now)
        return ConnectorOutput(self.projector(fused), before, voice, now)

    def _tokens(self, encoder: nn.Module, code: Tensor) -> Tensor:
        batch, length, size = code.shape
        tokens = encoder(code.reshape(batch * length, 1, size))
        out: Tensor = self.Norm(tokens.reshape(batch, length, -1))
        return out
