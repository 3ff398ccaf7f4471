"""A backbone on a page: faces as weighted sums of pictures, as Turk & Pentland (1991) did.

It is here to show what C-MET needs of a backbone (``docs/backbones.md``), and it really reads and
draws: the code is the projection of a crop onto a few pictures, and a drawn face is the source
moved along them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mien.datasets.mead import find_files
from mien.engines.edtalk.framing import training_crop
from mien.face.pose import Motion
from mien.face.tracker import FaceTracker
from mien.media.read import VideoReader
from mien.weights.convert import (
    CheckpointFormat,
    Config,
    Expected,
    configured,
    convert,
    load_net,
)

Array = np.ndarray


@dataclass(frozen=True)
class EigenfaceSpec:
    """Side of the crops, and numbers of the code."""

    pixels: int = 96
    expression: int = 6


class EigenfaceNet(nn.Module):
    """A mean picture, and pictures of length one along which faces move."""

    def __init__(self, spec: EigenfaceSpec) -> None:
        super().__init__()
        self.spec = spec
        size = spec.pixels**2 * 3
        self.mean = nn.Parameter(torch.zeros(size))
        self.basis = nn.Parameter(torch.zeros(spec.expression, size))


class Eigenfaces:
    """Reads and draws crops: what :class:`mien.engines.backbone.Backbone` asks for."""

    name = "eigenfaces"

    def __init__(self, net: EigenfaceNet) -> None:
        self._net = net.requires_grad_(False)
        self.pixels, self.expression_dim = net.spec.pixels, net.spec.expression

    def motion(self, crops: Array) -> list[Motion]:
        """Project crops onto the basis; lips and pose are not told apart."""
        codes = self._codes(crops).numpy()
        nothing = np.zeros(0, np.float32)
        return [Motion(nothing, nothing, code) for code in codes]

    def source(self, crop: Array) -> tuple[Tensor, Tensor]:
        """Keep a crop and its code."""
        return _flat(crop[None])[0], self._codes(crop[None])[0]

    def draw(self, source: tuple[Tensor, Tensor], motion: list[Motion]) -> list[Array]:
        """Move the source along the basis."""
        picture, start = source
        codes = torch.from_numpy(np.stack([m.expression for m in motion])).float()
        drawn = picture + (codes - start) @ self._net.basis
        side = self.pixels
        bright = (drawn.clamp(0, 1) * 255).round().to(torch.uint8).reshape(-1, side, side, 3)
        return list(bright.numpy())

    def _codes(self, crops: Array) -> Tensor:
        return (_flat(crops) - self._net.mean) @ self._net.basis.T


def _flat(crops: Array) -> Tensor:
    return torch.from_numpy(crops.reshape(len(crops), -1).astype(np.float32) / 255)


def _expect(sizes: Config, tensors: Mapping[str, Any]) -> Expected:
    spec = configured(EigenfaceSpec, sizes)
    size = spec.pixels**2 * 3
    return Expected(asdict(spec), {"mean": (size,), "basis": (spec.expression, size)})


FORMAT = CheckpointFormat("a set of eigenfaces", _expect, ("eigenfaces",))
"""The converter: how a checkpoint is laid out, and what must be in it."""


def open_eigenfaces(checkpoint: Path, folder: Path) -> Eigenfaces:
    """Convert a checkpoint and load it, as `mien weights convert` and an engine do."""
    converted = folder / "eigenfaces.safetensors"
    convert(checkpoint, converted, FORMAT, {"licence": "Apache-2.0"})
    return Eigenfaces(load_net(converted, EigenfaceNet, EigenfaceSpec))


def crops_of(film: Path, side: int) -> Iterator[Array]:
    """The face of every frame in the training crop."""
    with VideoReader(film) as reader, closing(FaceTracker(max_faces=1)) as tracker:
        for frame in reader:
            for face in tracker(frame.picture)[:1]:
                yield training_crop(face).cut(frame.picture, side, replicate_edges=True)


def train_eigenfaces(root: Path, people: tuple[str, ...], path: Path) -> Path:
    """Write a checkpoint: the directions in which these people's own faces change most."""
    spec, own, means = EigenfaceSpec(), [], []
    for person in people:
        films = [file.path for file in find_files(root, (".mp4",)) if file.person == person]
        faces = _flat(np.stack([crop for film in films for crop in crops_of(film, spec.pixels)]))
        means.append(faces.mean(0))
        own.append(faces - means[-1])
    _, _, basis = torch.linalg.svd(torch.cat(own), full_matrices=False)
    net = {"mean": torch.stack(means).mean(0), "basis": basis[: spec.expression].clone()}
    torch.save({"eigenfaces": net, "mien": {"config": asdict(spec)}}, path)
    return path
