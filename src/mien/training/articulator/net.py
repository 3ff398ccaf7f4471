"""The articulator's network, causal but for a short look-ahead, and its export to ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.speech.articulation import NAMES
from mien.speech.features import FEATURES
from mien.training.articulator.data import PHONE_CLASSES
from mien.training.onnx_export import write_onnx
from mien.training.trainer import read_net

_KERNEL: Final = 5
_DILATIONS: Final = (1, 2, 4, 8, 16, 1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class ArticulatorSpec:
    """Sizes of an articulator.

    Attributes:
        width: channels.
        dropout: while training.
    """

    width: int = 128
    dropout: float = 0.2


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
    """Maps rows ``(B, R, 82)`` that begin ``LOOK_AHEAD`` late to codes ``(B, R / 2, 7)``."""

    mean: Tensor
    spread: Tensor

    def __init__(self, spec: ArticulatorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.first = nn.Conv1d(FEATURES, spec.width, _KERNEL, stride=2)
        self.drop = nn.Dropout(spec.dropout)
        self.blocks = nn.Sequential(*(_Block(spec.width, d, spec.dropout) for d in _DILATIONS))
        self.last = nn.Conv1d(spec.width, len(NAMES), 1)
        self.phone_scores = nn.Conv1d(spec.width, len(PHONE_CLASSES), 1)
        self.register_buffer("mean", torch.zeros(len(NAMES)))
        self.register_buffer("spread", torch.ones(len(NAMES)))

    def forward(self, rows: Tensor) -> Tensor:
        """Return codes in eye distances."""
        return self.standard(rows) * self.spread + self.mean

    def standard(self, rows: Tensor) -> Tensor:
        """Return codes as deviations from the mean, in a typical speaker's spread."""
        out: Tensor = self.last(self._hidden(rows)).transpose(1, 2)
        return out

    def phones(self, rows: Tensor) -> Tensor:
        """Return scores of the phone classes ``(B, R / 2, 16)``, for pretraining."""
        out: Tensor = self.phone_scores(self._hidden(rows)).transpose(1, 2)
        return out

    def _hidden(self, rows: Tensor) -> Tensor:
        x = F.pad(rows.transpose(1, 2), (_KERNEL - 2, 0))
        hidden: Tensor = self.blocks(self.drop(self.first(x)))
        return hidden


def load_net(path: Path) -> ArticulatorNet:
    """Read the ``articulator.pt`` of a training."""
    return read_net(path, lambda spec: ArticulatorNet(ArticulatorSpec(**spec)))


class _Mean(nn.Module):
    """The mean of several nets' codes."""

    def __init__(self, nets: Sequence[ArticulatorNet]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, rows: Tensor) -> Tensor:
        return torch.stack([net(rows) for net in self.nets]).mean(0)


def export_articulator(nets: Sequence[ArticulatorNet], folder: Path) -> None:
    """Write ``articulator.onnx``: ``rows (1, R, 82)`` to the nets' mean ``codes (1, R / 2, 7)``."""
    example, path = (torch.zeros(1, 100, FEATURES),), folder / "articulator.onnx"
    names = (["rows"], ["codes"])
    write_onnx(_Mean(nets).eval(), example, path, *names, times=["rows", "codes"], half=True)
