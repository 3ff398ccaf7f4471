"""A RIFE-compatible flow network that interpolates frames."""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

_WIDTH: Final = 90
_SCALES: Final = (4, 2, 1)

MULTIPLE: Final = 16
"""Height and width must be multiples of this."""


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.PReLU(outputs))


def _head(outputs: int) -> nn.Sequential:
    half = _WIDTH // 2
    return nn.Sequential(
        nn.ConvTranspose2d(_WIDTH, half, 4, 2, 1),
        nn.PReLU(half),
        nn.ConvTranspose2d(half, outputs, 4, 2, 1),
    )


class _Block(nn.Module):
    """Refine flow and mask at one scale; attribute names are the published ones."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(_conv(11, _WIDTH // 2, 2), _conv(_WIDTH // 2, _WIDTH, 2))
        for i in range(4):
            block = nn.Sequential(_conv(_WIDTH, _WIDTH), _conv(_WIDTH, _WIDTH))
            self.add_module(f"convblock{i}", block)
        self.conv1 = _head(4)
        self.conv2 = _head(1)

    def forward(self, images: Tensor, flow: Tensor, scale: int) -> tuple[Tensor, Tensor]:
        """Compute the change of flow ``(B, 4, H, W)`` and of mask ``(B, 1, H, W)``."""
        small = F.interpolate(images, scale_factor=1 / scale, mode="bilinear")
        guess = F.interpolate(flow, scale_factor=1 / scale, mode="bilinear") / scale
        x = self.conv0(torch.cat([small, guess], 1))
        for i in range(4):
            x = self.get_submodule(f"convblock{i}")(x) + x
        change = F.interpolate(self.conv1(x), scale_factor=scale, mode="bilinear") * scale
        mask = F.interpolate(self.conv2(x), scale_factor=scale, mode="bilinear")
        return change, mask


class Interpolation(NamedTuple):
    """``flow (B, 4, H, W)`` in pixels, blend ``mask (B, 1, H, W)``, ``middle (B, 3, H, W)``."""

    flow: Tensor
    mask: Tensor
    middle: Tensor


class FlowNet(nn.Module):
    """Interpolate between two images."""

    def __init__(self) -> None:
        super().__init__()
        self.block0, self.block1, self.block2 = _Block(), _Block(), _Block()

    def forward(self, first: Tensor, second: Tensor) -> Interpolation:
        """Compute the middle of ``(B, 3, H, W)`` in 0..1; sides are multiples of 16.

        Every block runs in both directions; the two runs are one batch.
        """
        batch, _, height, width = first.shape
        flow = first.new_zeros(batch, 4, height, width)
        mask = first.new_zeros(batch, 1, height, width)
        a, b = first, second
        for block, scale in zip((self.block0, self.block1, self.block2), _SCALES, strict=True):
            forth, back = torch.cat([a, b, mask], 1), torch.cat([b, a, -mask], 1)
            reversed_flow = torch.cat([flow[:, 2:], flow[:, :2]], 1)
            change, more = block(torch.cat([forth, back]), torch.cat([flow, reversed_flow]), scale)
            reverse = change[batch:]
            flow = flow + (change[:batch] + torch.cat([reverse[:, 2:], reverse[:, :2]], 1)) / 2
            mask = mask + (more[:batch] - more[batch:]) / 2
            a, b = _warp(first, flow[:, :2]), _warp(second, flow[:, 2:])
        share = mask.sigmoid()
        return Interpolation(flow, share, a * share + b * (1 - share))


def _warp(image: Tensor, flow: Tensor) -> Tensor:
    """Sample ``image`` at every pixel plus ``flow (B, 2, H, W)`` in pixels, edges replicated."""
    height, width = image.shape[-2:]
    x = torch.linspace(-1, 1, width, dtype=image.dtype, device=image.device)
    y = torch.linspace(-1, 1, height, dtype=image.dtype, device=image.device)
    across = flow[:, 0] * (2 / (width - 1))
    down = flow[:, 1] * (2 / (height - 1))
    grid = torch.stack([x[None, None] + across, y[None, :, None] + down], 3)
    return F.grid_sample(image, grid, "bilinear", "border", align_corners=True)


def double_frame_rate(net: FlowNet, frames: Tensor) -> Tensor:
    """Insert a frame between all pairs of ``(N, 3, H, W)``: ``(2 N - 1, 3, H, W)``."""
    if len(frames) < 2:
        return frames
    middle = net(frames[:-1], frames[1:]).middle
    out = frames.new_empty((2 * len(frames) - 1, *frames.shape[1:]))
    out[::2], out[1::2] = frames, middle
    return out
