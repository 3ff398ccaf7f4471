"""Trained listeners to the two ONNX files that mien runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from mien.media.output import whole_file
from mien.speech.features import FEATURES
from mien.training.checkpoint import load_weights
from mien.training.listener.net import ListenerNet, ListenerSpec
from mien.training.onnx_export import halve_weights, write_onnx

_EXAMPLE_ROWS: Final = 120


class _Embed(nn.Module):
    """Embeddings of several nets side by side, of unit length together."""

    def __init__(self, nets: Sequence[ListenerNet]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        parts = [net.embedding(rows, lengths) for net in self.nets]  # type: ignore[operator]
        return torch.cat(parts, 1) / len(parts) ** 0.5


class _Say(nn.Module):
    """Mean of what several nets say of their parts of the embedding."""

    def __init__(self, nets: Sequence[ListenerNet]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, embedding: Tensor, neutral: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count = len(self.nets)
        scale = count**0.5
        parts = zip(self.nets, embedding.chunk(count, 1), neutral.chunk(count, 1), strict=True)
        said = [net.say(own * scale, plain * scale) for net, own, plain in parts]  # type: ignore[operator]
        alone, beside, intensity = (
            torch.stack([getattr(s, name) for s in said]).mean(0)
            for name in ("emotion", "relative", "intensity")
        )
        return alone, beside, intensity


def load_net(path: Path) -> ListenerNet:
    """Read a ``listener.pt`` that training wrote.

    Raises:
        InputError: when it is none.
    """
    spec, weights = load_weights(path)
    net = ListenerNet(ListenerSpec(**spec))
    net.load_state_dict(weights)
    return net.eval()


def export_listener(nets: Sequence[ListenerNet], folder: Path) -> None:
    """Write ``listener.onnx`` and ``listener_says.onnx``, weights in half precision.

    Args:
        nets: one or several trained nets, heard together.
        folder: where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = torch.zeros(2, _EXAMPLE_ROWS, FEATURES)
    lengths = torch.tensor([_EXAMPLE_ROWS, 80])
    size = sum(net.spec.embedding for net in nets)
    both = torch.nn.functional.normalize(torch.randn(2, size), dim=1)
    graphs = (
        ("listener.onnx", _Embed(nets), (rows, lengths), ["rows", "lengths"], ["embedding"]),
        (
            "listener_says.onnx",
            _Say(nets),
            (both, both),
            ["embedding", "neutral"],
            ["emotion", "relative", "intensity"],
        ),
    )
    for name, module, example, inputs, outputs in graphs:
        with whole_file(folder / name) as part:
            write_onnx(module.eval(), example, part, inputs, outputs, times=("rows",))
            halve_weights(part)
