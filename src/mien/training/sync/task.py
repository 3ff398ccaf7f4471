"""The sync net as a task of the trainer: which of 31 offsets is right; measures per clip."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.errors import InputError
from mien.speech.features import MELS
from mien.speech.lip_sync import ROWS_PER_FRAME, SHIFTS, Sync, agreement, surrounded
from mien.training.sync import SyncConfig
from mien.training.sync.data import SyncClip, SyncSampler, middle
from mien.training.sync.net import SyncNet, SyncSpec
from mien.training.trainer import Losses, Task

_NEAR: Final = 0.6
"""Spread of the wanted offsets, frames: the neighbours of the right one are not quite wrong."""

_SPANS: Final = (8, 20)
"""Codes whose likeness is averaged before an offset is chosen, beside single ones and all."""

_PIECE: Final = 75
"""Frames of the pieces that held-out clips are measured in."""


class SyncTask(Task[SyncConfig, SyncNet, dict[str, Tensor]]):
    """Trains the offset of windows."""

    weights_file = "sync.pt"
    workers = 1

    def __init__(self, config: SyncConfig, clips: list[SyncClip]) -> None:
        super().__init__(config)
        held = [any(part in clip.name for part in config.held_out) for clip in clips]
        self._test = [clip for clip, out in zip(clips, held, strict=True) if out and clip.real]
        train = [clip for clip, out in zip(clips, held, strict=True) if not out]
        if not train:
            raise InputError("There is no clip to train on.")
        self._sampler = SyncSampler(train, config)
        self.average = config.average

    def build(self) -> SyncNet:
        """Create a net."""
        return SyncNet(SyncSpec(**self.config.sizes(SyncSpec)))

    def batch(self, step: int) -> dict[str, Tensor]:
        """Draw windows."""
        return self._sampler.draw(self.rng(step))

    def losses(self, net: SyncNet, batch: dict[str, Tensor], step: int) -> Losses:
        """Compute the losses of single codes and of spans of codes."""
        parts = offset_losses(net.likeness(*net(batch["mouths"], batch["rows"])), net.sharpness)
        return Losses(torch.stack(list(parts.values())).sum(), parts)

    def measure(self, net: SyncNet) -> dict[str, float]:
        """Return the shares of held-out clips and pieces whose offset is within a frame."""
        return summary(compare(net, self._test))


def offset_losses(likeness: Tensor, sharpness: Tensor) -> dict[str, Tensor]:
    """Compute the cross entropy of the offsets.

    Args:
        likeness: of lips and sound at every offset ``(B, T, 31)``, the right one in the middle.
        sharpness: logarithms of what likeness is multiplied by, of single codes and of spans.
    """
    offsets = torch.arange(-SHIFTS, SHIFTS + 1, device=likeness.device)
    wanted = torch.softmax(-0.5 * (offsets / _NEAR) ** 2, 0)
    single, joint = sharpness.clamp(max=4.5).exp()

    def entropy(values: Tensor) -> Tensor:
        return -(F.log_softmax(values, -1) * wanted).sum(-1).mean()

    spans = [likeness.mean(1)]
    for span in _SPANS:
        spans.append(F.avg_pool1d(likeness.transpose(1, 2), span, 1).transpose(1, 2))
    return {
        "codes": entropy(single * likeness),
        "spans": torch.stack([entropy(joint * values) for values in spans]).mean(),
    }


class Found(NamedTuple):
    """What a net finds in one clip: all of it, its pieces of three seconds, and the true offset."""

    whole: Sync
    pieces: tuple[Sync, ...]
    offset: int


def compare(net: SyncNet, clips: list[SyncClip]) -> dict[str, Found]:
    """Measure a net on clips, by name."""
    return {clip.name: _found(net, clip) for clip in clips}


@torch.no_grad()
def _found(net: SyncNet, clip: SyncClip) -> Found:
    device = next(net.parameters()).device
    mouths = torch.from_numpy(middle(clip.mouths).astype(np.float32) / 255)[None]
    lips, heard = (
        codes[0].cpu().numpy()
        for codes in net(mouths.to(device), torch.from_numpy(clip.rows[None, :, :MELS]).to(device))
    )
    sound = surrounded(heard, len(lips))
    starts = range(0, max(1, len(lips) - _PIECE // 2), _PIECE)
    pieces = [agreement(lips[s : s + _PIECE], sound[s : s + _PIECE + 2 * SHIFTS]) for s in starts]
    return Found(agreement(lips, sound), tuple(pieces), -round(clip.lag / ROWS_PER_FRAME))


def summary(found: dict[str, Found]) -> dict[str, float]:
    """Return shares and means over clips and pieces."""
    if not found:
        return {}
    clips = list(found.values())
    pieces = [(piece, clip.offset) for clip in clips for piece in clip.pieces]
    return {
        "clips within a frame": float(
            np.mean([abs(c.whole.offset - c.offset) <= 1 for c in clips])
        ),
        "pieces within a frame": float(np.mean([abs(p.offset - o) <= 1 for p, o in pieces])),
        "distance": float(np.mean([c.whole.distance for c in clips])),
        "confidence": float(np.mean([c.whole.confidence for c in clips])),
    }
