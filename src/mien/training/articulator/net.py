"""The articulator: features of a voice to articulation codes; causal but for a short look-ahead."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.speech.articulation import NAMES
from mien.speech.features import FEATURES
from mien.training.articulator.classes import CLASSES

_KERNEL: Final = 5
_DILATIONS: Final = (1, 2, 4, 8, 16, 1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class ArticulatorSpec:
    """Sizes.

    Attributes:
        width: channels.
        dropout: while training.
    """

    width: int = 128
    dropout: float = 0.2

    def to_dict(self) -> dict[str, Any]:
        """The sizes in plain values."""
        return asdict(self)


class _Block(nn.Module):
    """Dilated causal convolution, norm over channels, residual."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.past = 2 * dilation
        self.conv = nn.Conv1d(width, width, 3, dilation=dilation)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Conv1d(width, width, 1)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(F.pad(x, (self.past, 0))).transpose(1, 2)
        y = F.gelu(self.norm(y)).transpose(1, 2)
        return x + self.drop(self.out(y))


class ArticulatorNet(nn.Module):
    """Rows ``(B, R, 82)`` that begin ``LOOK_AHEAD`` late, to codes ``(B, R / 2, 7)``."""

    mean: Tensor
    spread: Tensor

    def __init__(self, spec: ArticulatorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.first = nn.Conv1d(FEATURES, spec.width, _KERNEL, stride=2)
        self.drop = nn.Dropout(spec.dropout)
        self.blocks = nn.Sequential(*(_Block(spec.width, d, spec.dropout) for d in _DILATIONS))
        self.last = nn.Conv1d(spec.width, len(NAMES), 1)
        self.said = nn.Conv1d(spec.width, len(CLASSES), 1)
        self.register_buffer("mean", torch.zeros(len(NAMES)))
        self.register_buffer("spread", torch.ones(len(NAMES)))

    def forward(self, rows: Tensor) -> Tensor:
        """Codes in eye distances."""
        return self.standard(rows) * self.spread + self.mean

    def standard(self, rows: Tensor) -> Tensor:
        """Codes as deviations of a typical speaker's."""
        out: Tensor = self.last(self._heard(rows)).transpose(1, 2)
        return out

    def phones(self, rows: Tensor) -> Tensor:
        """Scores of the classes of phones ``(B, R / 2, 16)``; only trainings ask."""
        out: Tensor = self.said(self._heard(rows)).transpose(1, 2)
        return out

    def _heard(self, rows: Tensor) -> Tensor:
        x = F.pad(rows.transpose(1, 2), (_KERNEL - 2, 0))
        heard: Tensor = self.blocks(self.drop(self.first(x)))
        return heard
