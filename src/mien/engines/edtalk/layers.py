"""Layers of the generator, with everything that depends on weights alone computed beforehand.

The published layers are *equalised*: they divide their stored weights by the root of the fan-in.
Here weights are stored as they are used (see ``checkpoints.py``). The gain of sqrt(2) after the
leaky ReLU is positive and commutes with it, so it is part of weights and biases too.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

GAIN: Final = math.sqrt(2)
_SLOPE: Final = 0.2
_EPSILON: Final = 1e-8


def leaky(x: Tensor) -> Tensor:
    """Apply leaky ReLU in place; ``x`` must be a fresh result that nothing else uses."""
    return F.leaky_relu_(x, _SLOPE)


def _kernel(channels: int, scale: float) -> Tensor:
    """``outer([1, 3, 3, 1], [1, 3, 3, 1]) * scale`` per channel, also inside ``device("meta")``."""
    taps = torch.tensor((1.0, 3.0, 3.0, 1.0), device="cpu")
    return (torch.outer(taps, taps) * scale).expand(channels, 1, 4, 4).contiguous()


class Blur(nn.Module):
    """Depthwise 4 x 4 filter ``outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64 * gain``.

    Args:
        channels: of the pictures.
        padding: zeros at every side.
        gain: factor; 4 keeps the brightness of pictures with zeros between their pixels.
        stride: step between the filtered pixels.
    """

    kernel: Tensor

    def __init__(self, channels: int, padding: int, *, gain: float = 1.0, stride: int = 1) -> None:
        super().__init__()
        self.register_buffer("kernel", _kernel(channels, gain / 64), persistent=False)
        self.padding, self.stride = padding, stride

    def forward(self, x: Tensor) -> Tensor:
        """Filter ``(B, C, h, w)``."""
        groups = self.kernel.shape[0]
        return F.conv2d(x, self.kernel, None, self.stride, self.padding, groups=groups)


class Upsample(nn.Module):
    """Double the size of pictures of few channels: zeros in between, then the filter."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("kernel", _kernel(channels, 1 / 16), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, h, w)`` to ``(B, C, 2h, 2w)``."""
        # The filter is symmetric: a transposed convolution with it inserts the zeros as well.
        groups = self.kernel.shape[0]
        return F.conv_transpose2d(x, self.kernel, stride=2, padding=1, groups=groups)


class ModulatedConv(nn.Module):
    """Convolution whose weights the latent scales per input channel (Karras et al. 2020).

    ``conv(x, W s d) = d conv(s x, W)`` with ``d = rsqrt(s^2 @ sum_k W^2 + 1e-8)``. Scales are
    applied where there are fewer numbers: to the weights for one large picture, else to the
    pictures. The output is biased and activated.

    Args:
        inputs: channels.
        outputs: channels.
        style: size of the latent.
        up: double the size: transposed convolution, then the filter.
    """

    def __init__(self, inputs: int, outputs: int, style: int, *, up: bool = False) -> None:
        super().__init__()
        shape = (inputs, outputs) if up else (outputs, inputs)
        self.weight = nn.Parameter(torch.zeros(*shape, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.modulation = nn.Linear(style, inputs)
        self.up = up
        self.blur = Blur(outputs, 1, gain=4.0) if up else None

    @torch.no_grad()
    def energy(self) -> Tensor:
        """Sum squared weights over the kernel, ``(in, out)``, in the modulation's precision."""
        weight = self.weight.to(self.modulation.weight.dtype)
        energy = weight.square().sum((2, 3))
        return energy if self.up else energy.T

    def scales(self, latent: Tensor, energy: Tensor) -> tuple[Tensor, Tensor]:
        """Compute scales of input ``(B, in)`` and output channels ``(B, out)``, gain included."""
        s = self.modulation(latent)
        return s, GAIN * torch.rsqrt(s.square() @ energy + _EPSILON)

    def forward(self, x: Tensor, scales: tuple[Tensor, Tensor]) -> Tensor:
        """Compute the next feature map ``(B, out, h, w)`` from ``x (B or 1, in, h, w)``."""
        s, d = scales
        if len(s) == 1 and self.weight.numel() < x.numel():
            over_out = d[0, None, :, None, None] if self.up else d[0, :, None, None, None]
            over_in = s[0, :, None, None, None] if self.up else s[0, None, :, None, None]
            weight = (self.weight * (over_in * over_out)).to(x.dtype)
            if self.blur is None:
                return leaky(F.conv2d(x, weight, self.bias, padding=1))
            y = self.blur(F.conv_transpose2d(x, weight, stride=2))
            return leaky(y.add_(self.bias[:, None, None]))
        x = x * s[:, :, None, None].to(x.dtype)
        if self.blur is None:
            y = F.conv2d(x, self.weight, padding=1)
        else:
            y = self.blur(F.conv_transpose2d(x, self.weight, stride=2))
        return leaky(torch.addcmul(self.bias[:, None, None], y, d[:, :, None, None].to(y.dtype)))


def warp(maps: Tensor, points: Tensor, mask: Tensor) -> Tensor:
    """Sample feature maps at the points of a flow field and multiply by a mask; zeros outside.

    Edges of pixels are at -1 and 1 (``align_corners=False``).

    Args:
        maps: ``(B, C, h, w)``, channels last.
        points: ``(B, h, w, 2)``, x first, -1 .. 1.
        mask: factors ``(B, 1, h, w)``.

    Returns:
        ``(B, C, h, w)``, channels last, in the precision of ``maps``.
    """
    if maps.device.type != "cpu":
        return F.grid_sample(maps, points.to(maps.dtype), align_corners=False) * mask.to(maps.dtype)
    # On the CPU a weighted sum of four rows per pixel is an embedding bag: the same numbers some
    # twenty times as fast, channels stay last, and the mask costs nothing.
    batch, channels, height, width = maps.shape
    rows, weights = _taps(points, height, width)
    first = torch.arange(batch, dtype=torch.int32)[:, None, None] * (height * width)
    weights = weights * mask.reshape(batch, -1, 1)
    out = F.embedding_bag(
        (rows + first).reshape(-1, 4),
        maps.permute(0, 2, 3, 1).reshape(-1, channels),
        per_sample_weights=weights.reshape(-1, 4).to(maps.dtype),
        mode="sum",
    )
    return out.reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def _taps(points: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Find the four pixels around every point, ``int32 (B, h w, 4)``, and their weights."""
    x = (points[..., 0].flatten(1) + 1) * (width / 2) - 0.5
    y = (points[..., 1].flatten(1) + 1) * (height / 2) - 0.5
    left, top = x.floor(), y.floor()
    right_share, low_share = x - left, y - top
    rows, weights = [], []
    for down, share_y in ((0, 1 - low_share), (1, low_share)):
        for across, share_x in ((0, 1 - right_share), (1, right_share)):
            column, row = left + across, top + down
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            weights.append(share_x * share_y * inside)
            pixel = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            rows.append(pixel.to(torch.int32))
    return torch.stack(rows, -1), torch.stack(weights, -1)
