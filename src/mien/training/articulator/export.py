"""A trained articulator to the ONNX file that mien runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mien.media.output import whole_file
from mien.speech.features import FEATURES
from mien.training.articulator.net import ArticulatorNet, ArticulatorSpec
from mien.training.checkpoint import load_weights
from mien.training.onnx_export import halve_weights, write_onnx


def load_net(path: Path) -> ArticulatorNet:
    """Read an ``articulator.pt``.

    Raises:
        InputError: when there is none.
    """
    spec, weights = load_weights(path)
    net = ArticulatorNet(ArticulatorSpec(**spec))
    net.load_state_dict(weights)
    return net.eval()


class _Mean(nn.Module):
    """What several nets say, averaged."""

    def __init__(self, nets: Sequence[ArticulatorNet]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, rows: Tensor) -> Tensor:
        return torch.stack([net(rows) for net in self.nets]).mean(0)


def export_articulator(nets: Sequence[ArticulatorNet], folder: Path) -> None:
    """Write ``articulator.onnx``: ``rows (1, R, 82)`` to the nets' mean codes ``(1, R / 2, 7)``."""
    example = (torch.zeros(1, 100, FEATURES),)
    with whole_file(folder / "articulator.onnx") as part:
        write_onnx(_Mean(nets).eval(), example, part, ["rows"], ["codes"], times=["rows", "codes"])
        halve_weights(part)
