"""What the UNet is told while it runs: one object that all attention layers share.

Tokens lie in a table, a row per distinct entry; windows and branches say which rows they use. What
depends on the table alone is projected once (dicetalk.md sections 4 and 10).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

STREAMS: Final = ("audio", "emotion")
"""Order of the adapters' streams in the published weights."""


@dataclass(slots=True)
class Stream:
    """Tokens of one stream.

    Attributes:
        table: every distinct entry ``(K, T, C)``; it does not change while a clip is made.
        rows: which entry each branch and frame of the current call uses, ``int64 (B, F)``.
        scale: of the stream's attention.
    """

    table: Tensor
    rows: Tensor
    scale: float = 1.0

    def tokens(self) -> Tensor:
        """``(B, F, T, C)``."""
        return self.table[self.rows]

    def mean(self) -> Tensor:
        """Mean over the frames of the call, ``(B, T, C)``."""
        return self.tokens().mean(1)


@dataclass(slots=True)
class Conditioning:
    """The state of a call of the UNet.

    Attributes:
        streams: audio and emotion.
        mask: face mask ``(1, 1, H, W)`` at the picture's size; None lets the streams reach the
            whole picture.
        pose: the pose guider's feature ``(1 or B * F, C, h, w)``, added after ``conv_in``.
        caching: whether keys and values of a table are kept by the layers.
        clamp: keep the mask in 0..1 on every grid; the published resampling leaves it.
        serial: of the clip; what layers kept for another one is forgotten.
    """

    streams: tuple[Stream, ...] = ()
    mask: Tensor | None = None
    pose: Tensor | None = None
    caching: bool = True
    clamp: bool = False
    serial: int = 0
    _masks: dict[tuple[int, torch.dtype], Tensor] = field(default_factory=dict)

    def start(self, streams: tuple[Stream, ...], mask: Tensor | None, pose: Tensor | None) -> None:
        """Begin another clip."""
        self.streams, self.mask, self.pose = streams, mask, pose
        self.serial += 1
        self._masks.clear()

    def mask_for(self, count: int, dtype: torch.dtype) -> Tensor | None:
        """The mask on a layer's grid of ``count`` pixels, ``(1, count, 1)``."""
        if self.mask is None:
            return None
        if not self.caching:
            return _on_grid(self.mask, count, clamp=self.clamp).to(dtype)
        if (count, dtype) not in self._masks:
            self._masks[count, dtype] = _on_grid(self.mask, count, clamp=self.clamp).to(dtype)
        return self._masks[count, dtype]


def grid_of(count: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of a layer's grid of ``count`` pixels for a ``height x width`` picture."""
    rows = int((count / (width / height)) ** 0.5)
    rows += int(count % rows != 0)
    return rows, count // rows


def _on_grid(mask: Tensor, count: int, *, clamp: bool) -> Tensor:
    size = grid_of(count, mask.shape[-2], mask.shape[-1])
    small = F.interpolate(mask[:, :1], size=size, mode="bicubic", align_corners=False)
    return (small.clamp(0, 1) if clamp else small).flatten(1)[..., None]
