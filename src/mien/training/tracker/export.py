"""Trained nets to the ONNX files that mien runs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from mien.media.output import whole_file
from mien.training.checkpoint import load_weights
from mien.training.onnx_export import halve_weights, write_onnx
from mien.training.tracker.config import DETECTOR
from mien.training.tracker.nets import DetectorNet, LandmarkNet, NetSpec, build_net


def load_face_net(path: Path) -> LandmarkNet | DetectorNet:
    """Read a ``net.pt`` that training wrote.

    Raises:
        InputError: when there is none.
    """
    spec, weights = load_weights(path)
    net = build_net(NetSpec(**spec))
    net.load_state_dict(weights)
    return net.eval()


def export_face_net(net: LandmarkNet | DetectorNet, folder: Path) -> Path:
    """Write ``tracker_NET.onnx``, weights in half precision; the path."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = net.spec
    path = folder / f"tracker_{spec.net}.onnx"
    images = torch.zeros(1, spec.pixels, spec.pixels, 3, dtype=torch.uint8)
    finds = spec.net == DETECTOR
    module: nn.Module = net if finds else _Points(net, presence=spec.net == "face")
    outputs = ["map"] if finds else ["points", "presence"][: 1 + (spec.net == "face")]
    with whole_file(path) as part:
        write_onnx(
            module.eval(),
            (images,),
            part,
            ["images"],
            outputs,
            free={"images": (1, 2), "map": (2, 3)} if finds else {},
        )
        halve_weights(part)
    return path


class _Points(nn.Module):
    """A landmark net; only the face's says whether there is one."""

    def __init__(self, net: nn.Module, *, presence: bool) -> None:
        super().__init__()
        self.net, self.presence = net, presence

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        points, present = self.net(images)
        return (points, present) if self.presence else points
