"""The tracker's nets: plain residual convolutions, which run fastest where there is no GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

_SQUEEZED: Final = 32
"""Channels of the map that the hidden layer sees."""

ANCHORS: Final = 96
"""Places in the picture that a landmark net settles on."""


@dataclass(frozen=True, slots=True)
class NetSpec:
    """Sizes of a net.

    Attributes:
        net: ``detector``, ``face``, ``mouth`` or ``eye``.
        pixels: side of the input.
        widths: channels after each halving.
        blocks: residual blocks after each halving but the first.
        hidden: width of the layer before the last (not in the detector).
        points: landmarks it finds (not the detector).
    """

    net: str
    pixels: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    hidden: int = 0
    points: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return asdict(self)


class _Conv(nn.Sequential):
    """Convolution, batch norm and, unless ``plain``, a rectifier."""

    def __init__(
        self, inputs: int, outputs: int, size: int = 3, stride: int = 1, *, plain: bool = False
    ) -> None:
        parts: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        super().__init__(*parts, *([] if plain else [nn.ReLU()]))


class _Block(nn.Module):
    """Two convolutions and what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_Conv(width, width), _Conv(width, width, plain=True))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


class _Trunk(nn.ModuleList):
    """Stages, each of half the size of the one before."""

    def __init__(self, widths: Sequence[int], blocks: Sequence[int]) -> None:
        stages: list[nn.Module] = [_Conv(3, widths[0], 3, 2)]
        for before, width, count in zip(widths[:-1], widths[1:], blocks, strict=True):
            stages.append(
                nn.Sequential(_Conv(before, width, 3, 2), *(_Block(width) for _ in range(count)))
            )
        super().__init__(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        out = []
        for stage in self:
            x = stage(x)
            out.append(x)
        return out


class _Anchors(nn.Module):
    """Places in the picture that the net settles on: mean positions under soft maps.

    (Integral regression, Sun et al., ECCV 2018.) They move with the picture by construction, which
    a fully connected layer has to learn; landmarks are then linear in them.
    """

    grid: Tensor

    def __init__(self, widths: Sequence[int], cells: int) -> None:
        super().__init__()
        width = widths[-3]
        self.sides = nn.ModuleList(_Conv(w, width, 1) for w in widths[-2:])
        self.merge = _Conv(width, width)
        self.maps = nn.Conv2d(width, ANCHORS, 1)
        place = (torch.arange(cells) + 0.5) / cells - 0.5
        self.register_buffer("grid", torch.cartesian_prod(place, place).flip(1), persistent=False)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        fine, middle, coarse = stages[-3:]
        x = nn.functional.interpolate(self.sides[1](coarse), scale_factor=2.0)
        x = nn.functional.interpolate(x + self.sides[0](middle), scale_factor=2.0)
        maps = self.maps(self.merge(x + fine))
        with torch.autocast(maps.device.type, enabled=False):
            share = maps.float().flatten(2).softmax(2)
            return (share @ self.grid).flatten(1)


class LandmarkNet(nn.Module):
    """Landmarks of an upright crop, as coordinates: linear in anchors and in a hidden layer.

    Input: ``uint8 (N, S, S, 3)`` RGB. Output: points ``float32 (N, P, 3)`` in sides of the crop,
    middle 0; and a logit ``float32 (N,)`` of there being a face.
    """

    mean: Tensor

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.trunk = _Trunk(spec.widths, spec.blocks)
        grid = spec.pixels >> len(spec.widths)
        self.squeeze = _Conv(spec.widths[-1], _SQUEEZED, 1)
        self.hidden = nn.Linear(_SQUEEZED * grid * grid, spec.hidden)
        self.anchors = _Anchors(spec.widths, 4 * grid)
        self.points = nn.Linear(spec.hidden + 2 * ANCHORS, spec.points * 3)
        self.present = nn.Linear(spec.hidden, 1)
        self.register_buffer("mean", torch.zeros(spec.points, 3))
        nn.init.normal_(self.points.weight, std=0.01)
        nn.init.zeros_(self.points.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Points and presence."""
        stages = self.trunk(_prepared(images))
        features, anchors = self.squeeze(stages[-1]), self.anchors(stages)
        # Half precision has steps of a third of a pixel: the coordinates are computed in single.
        with torch.autocast(features.device.type, enabled=False):
            hidden = torch.relu(self.hidden(features.float().flatten(1)))
            points = self.points(torch.cat([hidden, anchors], 1)).unflatten(1, (-1, 3)) + self.mean
            return points, self.present(hidden).flatten()


class DetectorNet(nn.Module):
    """Faces of a picture of any size: a map, an eighth of its size, of face middles.

    Input: ``uint8 (N, H, W, 3)`` RGB, sides multiples of 32. Output ``float32 (N, 14, h, w)``:
    logit of a face's middle, its offset (x, y) and log size, and five key points (x, y) from it;
    all but the logit in cells of the map (the size: natural logarithm of cells).
    """

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.trunk = _Trunk(spec.widths, spec.blocks)
        width = spec.widths[2]
        self.sides = nn.ModuleList(_Conv(w, width, 1) for w in spec.widths[3:])
        self.merged = nn.ModuleList(_Block(width) for _ in spec.widths[3:])
        self.head = nn.Sequential(_Conv(width, width), nn.Conv2d(width, 14, 1))
        nn.init.constant_(self.head[1].bias[:1], -4.0)  # type: ignore[index]

    def forward(self, images: Tensor) -> Tensor:
        """The map."""
        stages = self.trunk(_prepared(images))
        maps = [stages[2], *(s(f) for s, f in zip(self.sides, stages[3:], strict=True))]
        x = maps.pop()
        for block in self.merged:
            x = block(nn.functional.interpolate(x, scale_factor=2.0) + maps.pop())
        features = self.head[0](x)
        with torch.autocast(features.device.type, enabled=False):
            out: Tensor = self.head[1](features.float())
            return out


def _prepared(images: Tensor) -> Tensor:
    """``uint8 (N, H, W, 3)`` to ``float32 (N, 3, H, W)`` within -1 .. 1."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def build_net(spec: NetSpec) -> LandmarkNet | DetectorNet:
    """The net of a specification."""
    return DetectorNet(spec) if spec.net == "detector" else LandmarkNet(spec)
