"""Tiny metric nets."""

from __future__ import annotations

from pathlib import Path

import torch

from mien.training.onnx_export import write_onnx


class Mean(torch.nn.Module):
    """Mean colour of pictures, or of their parts."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.mean(self.axes)


class Distance(torch.nn.Module):
    """Mean difference of two pictures."""

    def forward(self, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        return (one - two).abs().mean((1, 2, 3))


class Loudness(torch.nn.Module):
    """Log energy of the sound beside five frames, on the scale of the test's pictures."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return (values[:, 0, :1].mean(2) - 12) * 1.5


class Brightness(torch.nn.Module):
    """Brightness of five frames."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.mean((1, 2, 3, 4))[:, None] / 10


def write_net(path: Path, module: torch.nn.Module, *shapes: tuple[int, ...]) -> Path:
    inputs = tuple(torch.zeros(shape) for shape in shapes)
    names = [f"values{number}" for number in range(len(shapes))]
    write_onnx(module.eval(), inputs, path, names, ["out"])
    return path


def write_all(folder: Path) -> list[str]:
    """Write a net for every slot; return the options that fill them."""
    picture, clip = (1, 3, 32, 32), (1, 3, 16, 32, 32)
    files = {
        "inception": write_net(folder / "i.onnx", Mean((2, 3)), picture),
        "i3d": write_net(folder / "v.onnx", Mean((2, 3, 4)), clip),
        "emotion": write_net(folder / "e.onnx", Mean((2, 3)), picture),
        "identity": write_net(folder / "a.onnx", Mean((2,)), (1, 3, 112, 112)),
        "expression": write_net(folder / "x.onnx", Mean((2, 3)), picture),
        "lpips": write_net(folder / "l.onnx", Distance(), picture, picture),
        "syncnet_video": write_net(folder / "sv.onnx", Brightness(), (1, 3, 5, 16, 16)),
        "syncnet_audio": write_net(folder / "sa.onnx", Loudness(), (1, 1, 13, 20)),
    }
    return [f"{slot}={file}" for slot, file in files.items()]
