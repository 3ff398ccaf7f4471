"""The sync net: two towers into one space, and their export to ONNX."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.speech.features import MELS
from mien.speech.lip_sync import MOUTH_PIXELS, SHIFTS
from mien.training.onnx_export import write_onnx
from mien.training.trainer import read_net

_GROUPS: Final = 8
_CODE: Final = 96
_WAVES: Final = 12
"""Waves of the cosine transform of a picture, each way: details down to four pixels."""

_GAIN: Final = 0.5

_LAYERS: Final = 4
"""Convolutions of three frames: a code looks at nine."""


@dataclass(frozen=True, slots=True)
class SyncSpec:
    """Sizes of a sync net.

    Attributes:
        width: channels.
        dropout: while training.
    """

    width: int = 128
    dropout: float = 0.2


def _waves() -> Tensor:
    """Return the lowest waves of the cosine transform of a picture ``(48 * 48, 144)``."""
    places = (torch.arange(MOUTH_PIXELS) + 0.5) / MOUTH_PIXELS
    waves = torch.cos(math.pi * places[:, None] * torch.arange(_WAVES)) * (2 / MOUTH_PIXELS) ** 0.5
    waves[:, 0] /= 2**0.5
    return torch.einsum("yi,xj->yxij", waves, waves).reshape(MOUTH_PIXELS**2, _WAVES**2)


class _Tower(nn.Module):
    """Convolutions over frames ``(B, C, T)`` without padding; codes of length 1."""

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv1d(inputs, width, 1)
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 3) for _ in range(_LAYERS))
        self.norms = nn.ModuleList(nn.GroupNorm(_GROUPS, width) for _ in range(_LAYERS))
        self.drop = nn.Dropout(dropout)
        self.last = nn.Conv1d(width, _CODE, 1)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.first(self.drop(frames))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = x[..., 1:-1] + self.drop(F.gelu(norm(conv(x))))
        return F.normalize(self.last(x), dim=1).transpose(1, 2)


class SyncNet(nn.Module):
    """Turns mouths and sound into codes of one space."""

    waves: Tensor

    def __init__(self, spec: SyncSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("waves", _waves(), persistent=False)
        self.lips = _Tower(_WAVES**2, spec.width, spec.dropout)
        self.fine = nn.Sequential(
            nn.Conv1d(MELS, spec.width // 2, 3, padding=1),
            nn.GELU(),
            nn.Conv1d(spec.width // 2, spec.width, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv1d(spec.width, spec.width, 4, stride=2, padding=1),
        )
        self.voice = _Tower(spec.width, spec.width, spec.dropout)
        self.sharpness = nn.Parameter(torch.tensor([2.0, 3.0]))

    def forward(self, mouths: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the codes of a clip.

        Args:
            mouths: grey ``(B, T, 48, 48)`` in 0..1.
            rows: log-mel bands ``(B, 4 S, 80)``.

        Returns:
            Codes ``(B, T - 8, 96)`` of the lips, and ``(B, S - 8, 96)`` of the sound, of length 1.
        """
        return self.see(mouths), self.hear(rows)

    def see(self, mouths: Tensor) -> Tensor:
        """Compute the codes of mouths; light and looks that do not move hardly count."""
        dark = mouths.mean((1, 2, 3), keepdim=True)
        spread = (mouths - dark).pow(2).mean((1, 2, 3), keepdim=True).sqrt() + 0.02
        even = (mouths - dark) / spread
        moving = even - even.mean(1, keepdim=True)
        frames = _GAIN * moving.flatten(2) @ self.waves
        out: Tensor = self.lips(frames.transpose(1, 2))
        return out

    def hear(self, rows: Tensor) -> Tensor:
        """Compute the codes of sound; the microphone hardly counts."""
        level = rows - rows.mean(1, keepdim=True)
        out: Tensor = self.voice(self.fine(level.transpose(1, 2)))
        return out

    def likeness(self, lips: Tensor, sound: Tensor) -> Tensor:
        """Return the products of codes ``(B, T, E)``, ``(B, T + 30, E)``: ``(B, T, 31)``."""
        near = sound.unfold(1, 2 * SHIFTS + 1, 1)
        return torch.einsum("bte,btes->bts", lips, near)


def load_net(path: Path) -> SyncNet:
    """Read the ``sync.pt`` of a training."""
    return read_net(path, lambda spec: SyncNet(SyncSpec(**spec)))


def export_sync(net: SyncNet, folder: Path) -> None:
    """Write ``sync.onnx``: :meth:`SyncNet.forward` for clips of any length."""
    example = torch.zeros(1, 40, MOUTH_PIXELS, MOUTH_PIXELS), torch.zeros(1, 280, MELS)
    names = (["mouths", "rows"], ["lips", "sound"])
    path = folder / "sync.onnx"
    write_onnx(
        net.eval(),
        example,
        path,
        *names,
        times=["mouths", "rows", "lips", "sound"],
        half=True,
    )
