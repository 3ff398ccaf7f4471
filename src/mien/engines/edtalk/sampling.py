"""Bilinear sampling of feature maps at a flow field, as the warp of the synthesis needs it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def sample(maps: Tensor, where: Tensor, mask: Tensor) -> Tensor:
    """Feature maps seen through a flow field and a mask; zeros outside.

    Edges of pixels count as -1 and 1 (``align_corners=False``).

    Args:
        maps: ``(B, C, h, w)``, channels last.
        where: points ``(B, h, w, 2)``, x first, -1 .. 1.
        mask: factors ``(B, 1, h, w)``.

    Returns:
        ``(B, C, h, w)``, channels last, in the precision of ``maps``.
    """
    if maps.device.type != "cpu":
        return F.grid_sample(maps, where.to(maps.dtype), align_corners=False) * mask.to(maps.dtype)
    # On the CPU a weighted sum of four rows per pixel is an embedding bag: the same numbers some
    # twenty times as fast, channels stay last, and the mask costs nothing.
    batch, channels, height, width = maps.shape
    rows, weights = _taps(where, height, width)
    first = torch.arange(batch, dtype=torch.int32)[:, None, None] * (height * width)
    weights = weights * mask.reshape(batch, -1, 1)
    out = F.embedding_bag(
        (rows + first).reshape(-1, 4),
        maps.permute(0, 2, 3, 1).reshape(-1, channels),
        per_sample_weights=weights.reshape(-1, 4).to(maps.dtype),
        mode="sum",
    )
    return out.reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def _taps(where: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The four pixels around every point, ``int32 (B, h w, 4)``, and their weights."""
    x = (where[..., 0].flatten(1) + 1) * (width / 2) - 0.5
    y = (where[..., 1].flatten(1) + 1) * (height / 2) - 0.5
    left, top = x.floor(), y.floor()
    right_share, low_share = x - left, y - top
    rows, weights = [], []
    for down, share_y in ((0, 1 - low_share), (1, low_share)):
        for across, share_x in ((0, 1 - right_share), (1, right_share)):
            column, row = left + across, top + down
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            weights.append(share_x * share_y * inside)
            place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            rows.append(place.to(torch.int32))
    return torch.stack(rows, -1), torch.stack(weights, -1)
