"""The appearance net, a small U-Net for CPUs, its discriminator, and export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.parametrizations import spectral_norm

from mien.engines.mesh.appearance import DETAIL_PLANES, HEIGHT, PLANES, WIDTH
from mien.training.onnx_export import write_onnx

_SLOPE: Final = 0.1
_JUDGE_SLOPE: Final = 0.2
_JUDGE_WIDTHS: Final = (24, 48, 64)
_JUDGE_PLANES: Final = 5
_JUDGE_GAIN: Final = 5.0
"""Factor on the discriminator's output: with spectral norms alone it hardly leaves chance."""


@dataclass(frozen=True, slots=True)
class NetSpec:
    """Sizes of the net: channels at a half, a quarter and an eighth of the patch."""

    widths: tuple[int, ...] = (20, 40, 80)


class _Block(nn.Module):
    """Two convolutions with a residual connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(F.leaky_relu(self.first(F.leaky_relu(x, _SLOPE)), _SLOPE))
        return out


class AppearanceNet(nn.Module):
    """Draws the inside of a mouth: ``(N, 16, 96, 128)`` to RGB ``(N, 3, 96, 128)``, -1..1."""

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.spec = spec
        a, b, c = spec.widths
        self.enter = nn.Conv2d(DETAIL_PLANES * 4 + PLANES - DETAIL_PLANES, a, 3, padding=1)
        self.fine, self.fine_out = _Block(a), _Block(a)
        self.shrink = nn.Conv2d(a, b, 4, 2, 1)
        self.middle, self.middle_out = _Block(b), _Block(b)
        self.shrink_again = nn.Conv2d(b, c, 4, 2, 1)
        self.coarse = nn.Sequential(_Block(c), _Block(c))
        self.widen, self.widen_again = nn.Conv2d(c, b, 1), nn.Conv2d(b, a, 1)
        self.leave = nn.Conv2d(a, 12, 3, padding=1)

    def forward(self, planes: Tensor) -> Tensor:
        """Draw the inside of mouths from the planes that the engine prepares."""
        detail = F.pixel_unshuffle(planes[:, :DETAIL_PLANES], 2)
        fine = self.fine(self.enter(torch.cat([detail, planes[:, DETAIL_PLANES:, ::2, ::2]], 1)))
        middle = self.middle(self.shrink(fine))
        coarse = self.coarse(self.shrink_again(middle))
        middle = self.middle_out(middle + F.interpolate(self.widen(coarse), scale_factor=2.0))
        fine = self.fine_out(fine + F.interpolate(self.widen_again(middle), scale_factor=2.0))
        return F.pixel_shuffle(self.leave(F.leaky_relu(fine, _SLOPE)), 2)


class Discriminator(nn.Module):
    """Tells real mouths from drawn ones, patch by patch, given the hole and the lips' distance."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c = _JUDGE_WIDTHS
        self.layers = nn.ModuleList(
            spectral_norm(layer)
            for layer in (
                nn.Conv2d(_JUDGE_PLANES, a, 4, 2, 1),
                nn.Conv2d(a, b, 4, 2, 1),
                nn.Conv2d(b, c, 3, 1, 1),
                nn.Conv2d(c, 1, 3, 1, 1),
            )
        )

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits ``(N, 1, 24, 32)``, positive for real, and the features before them."""
        features = []
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), _JUDGE_SLOPE)
            features.append(x)
        return _JUDGE_GAIN * self.layers[-1](x), features


def export_net(net: AppearanceNet, folder: Path) -> Path:
    """Write ``appearance.onnx`` into ``folder`` and return its path."""
    path = folder / "appearance.onnx"
    example = torch.zeros(1, PLANES, HEIGHT, WIDTH)
    write_onnx(net, (example,), path, ["planes"], ["image"], half=True)
    return path
