"""The EDTalk generator: motion of pictures, and a picture with other motion.

Motion is read as lip, pose and expression coefficients along orthonormal directions of a style
space (C-MET, arXiv 2604.07786, section 3). Nothing in the generator is trained here; what depends
on weights alone is computed once, when it is first needed.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.engines.edtalk.layers import Blur, Upsample, leaky
from mien.engines.edtalk.settings import START_PIXELS, EDTalkConfig
from mien.engines.edtalk.synthesis import SourceMaps, Synthesis, identity_grid

_OFFSET = 1e-8
"""Added to the directions before they are made orthonormal, as in the released code."""


class Coefficients(NamedTuple):
    """Motion of ``B`` pictures along the directions.

    At the published sizes ``lip (B, 20)``, ``pose (B, 6)``, ``expression (B, 10)``.
    """

    lip: Tensor
    pose: Tensor
    expression: Tensor

    def joined(self) -> Tensor:
        """Concatenate all coefficients ``(B, 36)`` in the order of the directions."""
        return torch.cat(self, 1)


class _ResidualBlock(nn.Module):
    """Halve the size: two convolutions beside a filtered shortcut, the sum divided by sqrt(2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.keep = nn.Conv2d(inputs, inputs, 3, padding=1)
        self.blur = Blur(inputs, 2)
        self.shrink = nn.Conv2d(inputs, outputs, 3, stride=2)
        self.skip_blur = Blur(inputs, 1, stride=2)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # The division and the gain of the second activation cancel: see checkpoints.py.
        main = leaky(self.shrink(self.blur(leaky(self.keep(x)))))
        return main.add_(self.skip(self.skip_blur(x)))


class Encoder(nn.Module):
    """Pictures ``(B, 3, P, P)`` in [-1, 1] to style ``(B, S)`` and feature maps, coarse to fine."""

    def __init__(self, config: EDTalkConfig) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, config.widths[0], 1)
        pairs = itertools.pairwise(config.widths)
        self.blocks = nn.ModuleList(_ResidualBlock(a, b) for a, b in pairs)
        self.last = nn.Conv2d(config.widths[-1], config.style, 4, bias=False)

    def forward(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Compute style and feature maps."""
        x = leaky(self.first(pictures))
        maps = [x]
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        # The synthesis does not use the 4 x 4 map.
        return self.last(x)[:, :, 0, 0], maps[-2::-1]


class MotionHeads(nn.Module):
    """Linear layers from style vectors to coefficients, without activations between them.

    They are applied as one matrix per head, which :meth:`folded` computes.
    """

    def __init__(self, config: EDTalkConfig) -> None:
        super().__init__()
        style = config.style
        self.shared = nn.ModuleList(nn.Linear(style, style) for _ in range(config.shared_layers))

        def head(outputs: int) -> nn.ModuleList:
            sizes = [style] * (config.head_layers - 1) + [outputs]
            return nn.ModuleList(nn.Linear(style, size) for size in sizes)

        self.lip, self.pose = head(config.lip), head(config.pose)
        self.expression = head(config.expression)

    @torch.no_grad()
    def folded(self) -> list[tuple[Tensor, Tensor]]:
        """Compute one matrix and bias each for lip, pose and expression, in float64."""
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


@dataclass(frozen=True, slots=True)
class Source:
    """An encoded picture, from which any number of frames are drawn.

    Attributes:
        style: ``(1, S)``.
        maps: what the synthesis needs of it, coarse to fine.
    """

    style: Tensor
    maps: list[SourceMaps]


@dataclass(frozen=True, slots=True)
class _Constants:
    """What depends on weights alone.

    ``directions`` are the columns of Q, ``(S, 36)``, with the signs of LAPACK's Householder QR.
    """

    directions: Tensor
    heads: list[tuple[Tensor, Tensor]]
    energies: list[Tensor]
    grids: list[Tensor]


class EDTalk(nn.Module):
    """Encoder, motion heads, directions and synthesis.

    Convolutions may run in lower precision than the rest: see :meth:`lighten`.
    """

    def __init__(self, config: EDTalkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.heads = MotionHeads(config)
        self.direction_lip_pose = nn.Parameter(torch.zeros(config.style, config.lip + config.pose))
        self.direction_expression = nn.Parameter(torch.zeros(config.style, config.expression))
        self.synthesis = Synthesis(config)
        self._constants: _Constants | None = None

    def constants(self) -> _Constants:
        """Return directions, folded heads, energies and grids; computed once."""
        if self._constants is None:
            self._constants = self._fold()
        return self._constants

    @torch.no_grad()
    def _fold(self) -> _Constants:
        raw = torch.cat([self.direction_lip_pose, self.direction_expression], 1) + _OFFSET
        # On the CPU: the published weights were trained with the signs that LAPACK gives.
        directions, _ = torch.linalg.qr(raw.cpu())
        levels = range(1, len(self.config.widths))
        return _Constants(
            directions.to(raw.device),
            self.heads.folded(),
            [conv.energy() for conv in self.synthesis.convolutions()],
            [identity_grid(START_PIXELS * 2**i, raw.device, raw.dtype) for i in levels],
        )

    def lighten(self, dtype: torch.dtype) -> EDTalk:
        """Run the large convolutions in ``dtype`` (bfloat16, float16).

        Motion, modulation and flow keep the precision of the weights: a flow field in bfloat16
        has steps of half a pixel.
        """
        self.constants()
        for part in (self.encoder, self.synthesis):
            for module in part.modules():
                if isinstance(module, nn.Linear | Upsample):
                    continue
                for name, value in (*module._parameters.items(), *module._buffers.items()):
                    if value is not None and not name.startswith("flow_"):
                        value.data = value.data.to(dtype)
        return self

    def encode(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Compute style ``(B, S)`` and feature maps of pictures ``(B, 3, P, P)`` in [-1, 1]."""
        pictures = pictures.to(self.encoder.first.weight.dtype)
        style, maps = self.encoder(pictures.contiguous(memory_format=torch.channels_last))
        return style.to(self.direction_lip_pose.dtype), maps

    def motion(self, pictures: Tensor) -> Coefficients:
        """Read the coefficients of pictures ``(B, 3, P, P)`` in [-1, 1]."""
        style, _ = self.encode(pictures)
        heads = self.constants().heads
        return Coefficients(*(F.linear(style, weight, bias) for weight, bias in heads))

    def source(self, picture: Tensor) -> Source:
        """Encode a source picture ``(1, 3, P, P)`` in [-1, 1], for any number of frames."""
        style, maps = self.encode(picture)
        return Source(style, self.synthesis.prepare(maps))

    def directions_of(self, coefficients: Coefficients) -> tuple[Tensor, Tensor]:
        """Compute the steps in style space of all motion and of the expression, ``(B, S)``."""
        directions = self.constants().directions
        along = coefficients.joined() @ directions.T
        own = directions[:, -self.config.expression :]
        return along, coefficients.expression @ own.T

    def draw(self, source: Source, coefficients: Coefficients) -> Tensor:
        """Draw the source with other motion: ``(B, 3, P, P)``, about [-1, 1], not clamped."""
        along, expression = self.directions_of(coefficients)
        fixed = self.constants()
        picture: Tensor = self.synthesis(
            source.maps, source.style + along, expression, fixed.energies, fixed.grids
        )
        return picture
