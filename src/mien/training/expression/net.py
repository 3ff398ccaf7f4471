"""The expression net: a picture and a shape to emotions, and its export to ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.face.expression import EXPRESSIONS, FACE_PIXELS
from mien.face.topology import MESH_POINTS, canonical_face
from mien.training.expression.data import BLENDSHAPES
from mien.training.onnx_export import write_onnx
from mien.training.trainer import read_net

_GROUPS: Final = 8
_GAIN: Final = 8.0
"""Brings shapes, eye distances, to about unit size."""


@dataclass(frozen=True, slots=True)
class ExpressionSpec:
    """Sizes of an expression net.

    Attributes:
        width: channels at a quarter of the picture's side; twice as many at each half of that.
        dropout: while training.
    """

    width: int = 24
    dropout: float = 0.3


class ExpressionNet(nn.Module):
    """Maps faces ``(N, 64, 64)`` in 0..1 and shapes ``(N, 468, 3)`` to emotions."""

    temperature: Tensor
    mirror: Tensor

    def __init__(self, spec: ExpressionSpec) -> None:
        super().__init__()
        self.spec = spec
        width = spec.width
        self.picture = nn.Sequential(
            nn.Conv2d(1, width, 6, 4, 1),
            nn.GroupNorm(_GROUPS, width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 1, 1),
            nn.GroupNorm(_GROUPS, 2 * width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(2 * width, 4 * width, 3, 1, 1),
            nn.GroupNorm(_GROUPS, 4 * width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(spec.dropout),
            nn.Linear(4 * width * (FACE_PIXELS // 16) ** 2, 128),
        )
        self.shape = nn.Sequential(
            nn.Flatten(), nn.Dropout(spec.dropout), nn.Linear(3 * MESH_POINTS, 128)
        )
        self.joint = nn.Sequential(
            nn.LayerNorm(256), nn.GELU(), nn.Dropout(spec.dropout), nn.Linear(256, 128), nn.GELU()
        )
        self.units = nn.Linear(128, BLENDSHAPES)
        self.scores = nn.Sequential(
            nn.Dropout(spec.dropout), nn.Linear(128 + BLENDSHAPES, len(EXPRESSIONS))
        )
        self.register_buffer("temperature", torch.ones(()))
        mirror = torch.tensor(canonical_face().mirror[:MESH_POINTS])
        self.register_buffer("mirror", mirror, persistent=False)

    def forward(self, faces: Tensor, shapes: Tensor) -> Tensor:
        """Return the probabilities of the emotions ``(N, 8)``, the same for a mirrored face."""
        both = torch.cat([faces, faces.flip(2)]), torch.cat([shapes, self.mirrored(shapes)])
        one, other = self.judge(*both)[0].chunk(2)
        return F.softmax((one + other) / 2 / self.temperature, 1)

    def mirrored(self, shapes: Tensor) -> Tensor:
        """Return the shapes of the mirrored faces."""
        return shapes[:, self.mirror] * shapes.new_tensor([-1, 1, 1])

    def judge(self, faces: Tensor, shapes: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores of the emotions ``(N, 8)`` and blendshapes ``(N, 52)``."""
        level = faces.mean((1, 2), keepdim=True)
        spread = (faces - level).pow(2).mean((1, 2), keepdim=True).sqrt() + 0.02
        seen = self.picture(((faces - level) / spread)[:, None])
        hidden = self.joint(torch.cat([seen, self.shape(_GAIN * shapes)], 1))
        units = torch.sigmoid(self.units(hidden))
        scores: Tensor = self.scores(torch.cat([hidden, 4 * units], 1))
        return scores, units


def load_net(path: Path) -> ExpressionNet:
    """Read the ``expression.pt`` of a training."""
    return read_net(path, lambda spec: ExpressionNet(ExpressionSpec(**spec)))


def export_expression(net: ExpressionNet, folder: Path) -> None:
    """Write ``expression.onnx``: ``faces`` and ``shapes`` to ``probabilities``."""
    example = torch.zeros(2, FACE_PIXELS, FACE_PIXELS), torch.zeros(2, MESH_POINTS, 3)
    names = (["faces", "shapes"], ["probabilities"])
    write_onnx(net.eval(), example, folder / "expression.onnx", *names, half=True)
