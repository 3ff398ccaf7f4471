"""The synthesis: a picture from a source's feature maps, a latent and an expression.

What depends on the source alone is computed once (:class:`SourceMaps`). Branches whose results the
released code discards are left out.
"""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.engines.edtalk.layers import ModulatedConv, Upsample, leaky, warp
from mien.engines.edtalk.settings import START_PIXELS, EDTalkConfig

_FLOW_CHANNELS: Final = 3
"""Two channels of flow, one of mask."""


class SourceMaps(NamedTuple):
    """What one level needs of the source: a feature map and its filtered, normalised form.

    ``features`` and ``normal`` are ``(1, C, h, w)``.
    """

    features: Tensor
    normal: Tensor


class ExpressionModule(nn.Module):
    """Changes a feature map of the source by the expression: adaptive instance norm, added.

    Only scale and shift change per frame; convolution and normalisation depend on the source.
    """

    def __init__(self, channels: int, style: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.shared = nn.Linear(style, hidden)
        self.scale = nn.Linear(hidden, channels)
        self.shift = nn.Linear(hidden, channels)

    def prepare(self, features: Tensor) -> SourceMaps:
        """Compute what a feature map ``(1, C, h, w)`` contributes to every expression."""
        filtered = self.conv(features)
        wide = filtered.to(torch.promote_types(filtered.dtype, torch.float32))
        normal = F.instance_norm(wide, eps=1e-5).to(features.dtype)
        return SourceMaps(features, normal.contiguous(memory_format=torch.channels_last))

    def affine(self, expression: Tensor) -> tuple[Tensor, Tensor]:
        """Compute scale (one added) and shift, ``(B, C)``, of expression vectors ``(B, S)``."""
        hidden = F.relu(self.shared(expression))
        return 1 + self.scale(hidden), self.shift(hidden)

    def forward(self, source: SourceMaps, affine: tuple[Tensor, Tensor]) -> Tensor:
        """Compute the changed feature map ``(B, C, h, w)``."""
        scale, shift = (v[:, :, None, None].to(source.normal.dtype) for v in affine)
        return torch.addcmul(source.features + shift, source.normal, scale)


class _Level(nn.Module):
    """One picture size: two modulated convolutions, the warped source, flow and colour."""

    def __init__(self, before: int, width: int, config: EDTalkConfig, *, last: bool) -> None:
        super().__init__()
        self.up = ModulatedConv(before, width, config.style, up=True)
        self.same = ModulatedConv(width, width, config.style)
        self.express = ExpressionModule(width, config.style, config.affine)
        self.flow_weight = nn.Parameter(torch.zeros(_FLOW_CHANNELS, width))
        self.flow_bias = nn.Parameter(torch.zeros(_FLOW_CHANNELS))
        self.flow_modulation = nn.Linear(config.style, width)
        self.colour = nn.Conv2d(width, 3, 1)
        self.colour_bias = nn.Parameter(torch.zeros(3))
        self.last = last

    def flow(self, x: Tensor, latent: Tensor) -> Tensor:
        """Compute raw flow and mask ``(B, 3, h, w)``: a 1 x 1 convolution without demodulation."""
        weight = self.flow_weight * self.flow_modulation(latent)[:, None]
        batch, channels, height, width = x.shape
        flat = x.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        out = flat @ weight.to(x.dtype).transpose(1, 2)
        out = out.to(weight.dtype) + self.flow_bias
        return out.reshape(batch, height, width, _FLOW_CHANNELS).permute(0, 3, 1, 2)

    def warped(
        self, source: SourceMaps, affine: tuple[Tensor, Tensor], points: Tensor, mask: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        """Warp the source by flow and mask; returns it and its colour.

        The last level needs the colour only. A 1 x 1 convolution, a mask and bilinear sampling
        with zeros outside commute, so three channels are sampled there instead of all.
        """
        if self.last:
            colour = warp(self._coloured(source, affine), points, mask)
            assert self.colour.bias is not None  # noqa: S101 - for the type checker
            colour = colour + _column(self.colour.bias, colour)
            return None, leaky(colour).add_(_column(self.colour_bias, colour))
        warped = warp(self.express(source, affine), points, mask)
        return warped, leaky(self.colour(warped)).add_(_column(self.colour_bias, warped))

    def _coloured(self, source: SourceMaps, affine: tuple[Tensor, Tensor]) -> Tensor:
        """Compute the changed map's colour without bias, ``P (f + shift + n scale)``."""
        scale, shift = affine
        paint = self.colour.weight[:, :, 0, 0]
        batch, dtype = len(scale), source.normal.dtype
        weight = (paint.to(scale.dtype) * scale[:, None]).to(dtype)
        height, width = source.normal.shape[2:]
        flat = source.normal.permute(0, 2, 3, 1).reshape(1, height * width, -1)
        out = (flat @ weight.transpose(1, 2)).reshape(batch, height, width, 3).permute(0, 3, 1, 2)
        steady = F.conv2d(source.features, self.colour.weight)
        return out + (steady + (shift @ paint.T.to(shift.dtype)).to(dtype)[:, :, None, None])


class Synthesis(nn.Module):
    """Draws pictures ``(B, 3, P, P)`` of about [-1, 1], not clamped."""

    def __init__(self, config: EDTalkConfig) -> None:
        super().__init__()
        widths = config.widths[::-1]
        start = (1, widths[0], START_PIXELS, START_PIXELS)
        self.start = nn.Parameter(torch.zeros(start))
        self.first = ModulatedConv(widths[0], widths[0], config.style)
        count = len(widths) - 1
        pairs = enumerate(itertools.pairwise(widths), 1)
        self.levels = nn.ModuleList(_Level(a, b, config, last=i == count) for i, (a, b) in pairs)
        self.upsample = Upsample(_FLOW_CHANNELS)

    def each_level(self) -> list[_Level]:
        """Return the levels, coarse to fine."""
        return cast("list[_Level]", list(self.levels))

    def convolutions(self) -> list[ModulatedConv]:
        """Return the modulated convolutions in order."""
        return [
            self.first,
            *(conv for level in self.each_level() for conv in (level.up, level.same)),
        ]

    def prepare(self, maps: list[Tensor]) -> list[SourceMaps]:
        """Compute what the source contributes to every frame; ``maps`` coarse to fine."""
        return [
            level.express.prepare(features)
            for level, features in zip(self.each_level(), maps, strict=True)
        ]

    def forward(
        self,
        source: list[SourceMaps],
        latent: Tensor,
        expression: Tensor,
        energies: list[Tensor],
        grids: list[Tensor],
    ) -> Tensor:
        """Draw ``B`` pictures.

        Args:
            source: from :meth:`prepare`.
            latent: ``(B, S)``, modulates every convolution.
            expression: ``(B, S)``, changes the source's feature maps.
            energies: of the modulated convolutions, in order.
            grids: identity sampling grids of the levels.
        """
        scales = [
            conv.scales(latent, energy)
            for conv, energy in zip(self.convolutions(), energies, strict=True)
        ]
        x = self.first(self.start.expand(len(latent), -1, -1, -1), scales[0])
        flow: Tensor | None = None
        colour: Tensor | None = None
        for i, (level, maps, grid) in enumerate(zip(self.each_level(), source, grids, strict=True)):
            x = level.up(x, scales[1 + 2 * i])
            x = level.same(x, scales[2 + 2 * i])
            raw = level.flow(x, latent)
            flow = raw if flow is None else raw.add_(self.upsample(flow))
            points = torch.tanh(flow[:, :2]).permute(0, 2, 3, 1) + grid
            mask = torch.sigmoid(flow[:, 2:])
            warped, added = level.warped(maps, level.express.affine(expression), points, mask)
            added = added.to(flow.dtype)
            colour = added if colour is None else added.add_(self.upsample(colour))
            if warped is not None:
                x = torch.addcmul(warped, x, (1 - mask).to(x.dtype))
        assert colour is not None  # noqa: S101 - there is at least one level
        return colour


def identity_grid(side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Make a sampling grid ``(1, side, side, 2)``, x first, corner pixels at -1 and 1.

    Sampling places the edges of pixels at -1 and 1 instead; the published weights were trained
    with this mismatch.
    """
    line = torch.linspace(-1, 1, side, device=device, dtype=dtype)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], 2)[None]


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values[:, None, None].to(like.dtype)
