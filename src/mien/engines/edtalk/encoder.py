"""The encoder: a picture to a style vector and six feature maps (cmet.md 2.2 and 2.3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.engines.edtalk.layers import Blur, leaky
from mien.engines.edtalk.spec import EDTalkSpec


class Coefficients(NamedTuple):
    """Motion of ``B`` pictures along the directions.

    At the published sizes ``lip (B, 20)``, ``pose (B, 6)``, ``expression (B, 10)``.
    """

    lip: Tensor
    pose: Tensor
    expression: Tensor

    def joined(self) -> Tensor:
        """All of them ``(B, 36)`` in the order of the directions."""
        return torch.cat(self, 1)


class _ResidualBlock(nn.Module):
    """Half the size: two convolutions beside a filtered short cut, the sum over sqrt(2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.keep = nn.Conv2d(inputs, inputs, 3, padding=1)
        self.blur = Blur(inputs, 2)
        self.shrink = nn.Conv2d(inputs, outputs, 3, stride=2)
        self.skip_blur = Blur(inputs, 1, stride=2)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # The root of two of the sum has met the gain of the second activation: see keys.py.
        main = leaky(self.shrink(self.blur(leaky(self.keep(x)))))
        return main.add_(self.skip(self.skip_blur(x)))


class Encoder(nn.Module):
    """Pictures ``(B, 3, P, P)`` in [-1, 1] to style ``(B, S)`` and feature maps, coarse to fine."""

    def __init__(self, spec: EDTalkSpec) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, spec.widths[0], 1)
        pairs = zip(spec.widths, spec.widths[1:], strict=False)
        self.blocks = nn.ModuleList(_ResidualBlock(a, b) for a, b in pairs)
        self.last = nn.Conv2d(spec.widths[-1], spec.style, 4, bias=False)

    def forward(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Style and feature maps."""
        x = leaky(self.first(pictures))
        maps = [x]
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        # The 4 x 4 map is not used by the synthesis.
        return self.last(x)[:, :, 0, 0], maps[-2::-1]


class MotionHeads(nn.Module):
    """Style vectors to coefficients: linear layers without any activation between them.

    A product of matrices is a matrix: at load time they become one (:meth:`folded`).
    """

    def __init__(self, spec: EDTalkSpec) -> None:
        super().__init__()
        style = spec.style
        self.shared = nn.ModuleList(nn.Linear(style, style) for _ in range(spec.shared_layers))

        def head(outputs: int) -> nn.ModuleList:
            sizes = [style] * (spec.head_layers - 1) + [outputs]
            return nn.ModuleList(nn.Linear(style, size) for size in sizes)

        self.lip, self.pose = head(spec.lip), head(spec.pose)
        self.expression = head(spec.expression)

    @torch.no_grad()
    def folded(self) -> list[tuple[Tensor, Tensor]]:
        """One matrix and bias for lip, pose and expression each, computed in float64."""
        out = []
        for head in (self.lip, self.pose, self.expression):
            layers = [*self.shared, *head]
            weight, bias = layers[0].weight.double(), layers[0].bias.double()
            for layer in layers[1:]:
                weight = layer.weight.double() @ weight
                bias = layer.weight.double() @ bias + layer.bias.double()
            dtype = layers[0].weight.dtype
            out.append((weight.to(dtype), bias.to(dtype)))
        return out

    def forward(self, style: Tensor, folded: list[tuple[Tensor, Tensor]]) -> Coefficients:
        """Coefficients of style vectors ``(B, S)``."""
        return Coefficients(*(F.linear(style, weight, bias) for weight, bias in folded))
