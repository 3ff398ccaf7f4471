"""Building blocks of the generator, with everything that depends on weights alone done beforehand.

The published layers are *equalised*: a stored weight is used divided by the root of its fan-in.
Here weights are stored as they are used (see ``keys.py``). The gain of sqrt(2) after the leaky ReLU
commutes with it (it is positive), so it too sits in weights and biases.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

GAIN: Final = math.sqrt(2)
SLOPE: Final = 0.2
_EPSILON: Final = 1e-8
_TAPS: Final = (1.0, 3.0, 3.0, 1.0)


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU, in place: what comes in is always a fresh result of a convolution."""
    return F.leaky_relu_(x, SLOPE)


class Blur(nn.Module):
    """Depthwise 4 x 4 filter ``outer([1,3,3,1], [1,3,3,1]) / 64 * gain``.

    Args:
        channels: of the pictures it filters.
        padding: zeros at every side.
        gain: factor; 4 keeps the brightness of pictures between whose pixels zeros were put.
        stride: every how many-th value is wanted.
        bias: whether a learned value per channel is added.
    """

    kernel: Tensor

    def __init__(
        self,
        channels: int,
        padding: int,
        *,
        gain: float = 1.0,
        stride: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        taps = torch.tensor(_TAPS)
        kernel = (torch.outer(taps, taps) / 64 * gain).expand(channels, 1, 4, 4).contiguous()
        self.register_buffer("kernel", kernel, persistent=False)
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None
        self.padding, self.stride, self.gain = padding, stride, gain

    def forward(self, x: Tensor) -> Tensor:
        """Filter ``(B, C, h, w)``."""
        return F.conv2d(
            x, self.kernel, self.bias, self.stride, self.padding, groups=self.kernel.shape[0]
        )


class Upsample(nn.Module):
    """Twice the size for pictures of few channels: zeros in between, then the filter."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        taps = torch.tensor(_TAPS)
        kernel = (torch.outer(taps, taps) / 16).expand(channels, 1, 4, 4).contiguous()
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, h, w)`` to ``(B, C, 2h, 2w)``."""
        # The filter is symmetric: a transposed convolution with it inserts the zeros as well.
        groups = self.kernel.shape[0]
        return F.conv_transpose2d(x, self.kernel, stride=2, padding=1, groups=groups)


class ModulatedConv(nn.Module):
    """Convolution whose weights the latent scales per input channel (Karras et al. 2020).

    ``conv(x, W s d) = d conv(s x, W)`` with ``d = rsqrt(s^2 @ sum_k W^2 + 1e-8)``: scales go where
    there are fewer numbers, into the weights for one large picture and to the pictures otherwise.
    The output is biased and activated.

    Args:
        inputs, outputs: channels.
        style: size of the latent.
        up: twice the size: transposed convolution, then the filter.
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
        """Squared weights summed over the kernel, ``(in, out)``, in the modulation's precision."""
        weight = self.weight.to(self.modulation.weight.dtype)
        energy = weight.square().sum((2, 3))
        return energy if self.up else energy.T

    def scales(self, latent: Tensor, energy: Tensor) -> tuple[Tensor, Tensor]:
        """Scales of input ``(B, in)`` and output channels ``(B, out)``, gain included."""
        s = self.modulation(latent)
        return s, GAIN * torch.rsqrt(s.square() @ energy + _EPSILON)

    def forward(self, x: Tensor, scales: tuple[Tensor, Tensor]) -> Tensor:
        """The next picture ``(B, out, h, w)`` from ``x (B or 1, in, h, w)``."""
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
        weight = self.weight
        if self.blur is None:
            y = F.conv2d(x, weight, padding=1)
        else:
            y = self.blur(F.conv_transpose2d(x, weight, stride=2))
        return leaky(torch.addcmul(self.bias[:, None, None], y, d[:, :, None, None].to(y.dtype)))
