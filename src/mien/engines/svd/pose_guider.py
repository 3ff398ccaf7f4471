"""Where the face is: a mask to a feature that is added to the UNet's first one."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

_WIDTHS: Final = (16, 16, 32, 32, 96, 96, 256)


class PoseGuider(nn.Module):
    """``(B, 3, H, W)`` in 0..1 to ``(B, channels, H / 8, W / 8)``; nothing before training.

    Args:
        channels: of the UNet's first feature.
    """

    def __init__(self, channels: int = 320) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, _WIDTHS[0], 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, stride=1 + i % 2)
            for i, (a, b) in enumerate(pairwise(_WIDTHS))
        )
        self.conv_out = nn.Conv2d(_WIDTHS[-1], channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, mask: Tensor) -> Tensor:
        """The feature of a mask."""
        x = F.silu(self.conv_in(mask))
        for conv in self.blocks:
            x = F.silu(conv(x))
        out: Tensor = self.conv_out(x)
        return out
