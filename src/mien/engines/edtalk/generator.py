"""The EDTalk generator: pictures to motion and back (section 2 of the specification).

Reads motion off pictures as lip, pose and expression coefficients along orthonormal directions, and
draws a source picture with any coefficients. Nothing in it is trained here; what depends on weights
alone is computed once, at the first use.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mien.engines.edtalk.encoder import Coefficients, Encoder, MotionHeads
from mien.engines.edtalk.layers import Upsample
from mien.engines.edtalk.spec import PIXELS_AT_START, EDTalkSpec
from mien.engines.edtalk.synthesis import SourceMaps, Synthesis, identity_grid

_NOT_ZERO = 1e-8
"""Added to the directions before they are made orthonormal, as published."""


@dataclass(frozen=True, slots=True)
class Source:
    """A picture to be moved, seen once.

    Attributes:
        style: ``(1, S)``.
        maps: what the synthesis needs of it, coarse to fine.
        motion: its own coefficients.
    """

    style: Tensor
    maps: list[SourceMaps]
    motion: Coefficients


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

    Convolutions may run in less precision than the rest: see :meth:`lighten`.
    """

    def __init__(self, spec: EDTalkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = Encoder(spec)
        self.heads = MotionHeads(spec)
        self.direction_lip_pose = nn.Parameter(torch.zeros(spec.style, spec.lip + spec.pose))
        self.direction_expression = nn.Parameter(torch.zeros(spec.style, spec.expression))
        self.synthesis = Synthesis(spec)
        self._constants: _Constants | None = None

    @property
    def working_dtype(self) -> torch.dtype:
        """Precision of the large convolutions."""
        return self.encoder.first.weight.dtype

    def constants(self) -> _Constants:
        """Directions, folded heads, energies and grids; made once."""
        if self._constants is None:
            self._constants = self._fold()
        return self._constants

    @torch.no_grad()
    def _fold(self) -> _Constants:
        raw = torch.cat([self.direction_lip_pose, self.direction_expression], 1) + _NOT_ZERO
        # On the CPU: LAPACK's signs are the ones the published weights were trained with.
        directions, _ = torch.linalg.qr(raw.cpu())
        convolutions = self.synthesis.convolutions()
        count = len(convolutions) // 2
        sides = [PIXELS_AT_START * 2**i for i in range(1, count + 1)]
        return _Constants(
            directions.to(raw.device),
            self.heads.folded(),
            [conv.energy() for conv in convolutions],
            [identity_grid(side, raw.device, raw.dtype) for side in sides],
        )

    def lighten(self, dtype: torch.dtype) -> EDTalk:
        """Run the large convolutions in ``dtype`` (bfloat16, float16); small things stay exact.

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
        """Style ``(B, S)`` and feature maps of pictures ``(B, 3, P, P)`` in [-1, 1]."""
        pictures = pictures.to(self.working_dtype)
        style, maps = self.encoder(pictures.contiguous(memory_format=torch.channels_last))
        return style.to(self.direction_lip_pose.dtype), maps

    def motion(self, pictures: Tensor) -> Coefficients:
        """Coefficients of pictures ``(B, 3, P, P)`` in [-1, 1]."""
        style, _ = self.encode(pictures)
        coefficients: Coefficients = self.heads(style, self.constants().heads)
        return coefficients

    def source(self, picture: Tensor) -> Source:
        """See a source picture ``(1, 3, P, P)`` in [-1, 1]; once for any number of frames."""
        style, maps = self.encode(picture)
        motion = self.heads(style, self.constants().heads)
        return Source(style, self.synthesis.prepare(maps), motion)

    def directions_of(self, coefficients: Coefficients) -> tuple[Tensor, Tensor]:
        """Where motion leads in style space: all of it, and the expression alone, ``(B, S)``."""
        directions = self.constants().directions
        along = coefficients.joined() @ directions.T
        own = directions[:, -self.spec.expression :]
        return along, coefficients.expression @ own.T

    def draw(self, source: Source, coefficients: Coefficients) -> Tensor:
        """The source with other motion: ``(B, 3, P, P)``, about [-1, 1], not clamped."""
        along, expression = self.directions_of(coefficients)
        fixed = self.constants()
        picture: Tensor = self.synthesis(
            source.maps, source.style + along, expression, fixed.energies, fixed.grids
        )
        return picture
