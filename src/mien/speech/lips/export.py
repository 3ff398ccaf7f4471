"""A trained articulator to the ONNX file that mien runs."""

from __future__ import annotations

from pathlib import Path

import torch

from mien.checkpoints import load_weights
from mien.media.output import whole_file
from mien.onnx_files import halve_weights, write_onnx
from mien.speech.features import FEATURES
from mien.speech.lips.net import ArticulatorNet, ArticulatorSpec


def load_net(path: Path) -> ArticulatorNet:
    """Read an ``articulator.pt``.

    Raises:
        InputError: when there is none.
    """
    spec, weights = load_weights(path)
    net = ArticulatorNet(ArticulatorSpec(**spec))
    net.load_state_dict(weights)
    return net.eval()


def export_articulator(net: ArticulatorNet, folder: Path) -> None:
    """Write ``articulator.onnx``: ``rows (1, R, 82)`` to codes ``(1, R / 2, 7)``."""
    example = (torch.zeros(1, 100, FEATURES),)
    with whole_file(folder / "articulator.onnx") as part:
        write_onnx(net, example, part, ["rows"], ["codes"], times=["rows", "codes"])
        halve_weights(part)
