"""The listener's network: from features of a voice to one embedding and what it says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from mien.speech.features import FEATURES, MELS
from mien.speech.labels import HEARD


@dataclass(frozen=True, slots=True)
class ListenerSpec:
    """Sizes of a listener.

    Attributes:
        stem: channels of the two-dimensional layers.
        width: channels of the layers over time.
        embedding: size of the embedding.
        teacher: size of the features it is distilled from.
    """

    stem: int = 16
    width: int = 256
    embedding: int = 256
    teacher: int = 1024

    def to_dict(self) -> dict[str, int]:
        """The sizes in plain values."""
        return asdict(self)


class Said(NamedTuple):
    """What a listener says of a batch of ``B`` voices.

    ``embedding (B, E)`` of unit length, ``emotion (B, len(HEARD))`` logits, ``relative``: the same
    logits when the speaker's neutral voice is known, ``intensity (B,)`` 1..3 in training units,
    ``teacher (B, teacher)``.
    """

    embedding: Tensor
    emotion: Tensor
    relative: Tensor
    intensity: Tensor
    teacher: Tensor


class _Block2d(nn.Module):
    """Two 3x3 convolutions with a residual; the first halves the bands."""

    def __init__(self, inputs: int, outputs: int, time_stride: int = 1) -> None:
        super().__init__()
        self.down = nn.Conv2d(inputs, outputs, 3, (2, time_stride), 1, bias=False)
        self.norm_down = nn.BatchNorm2d(outputs)
        self.conv = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm_down(self.down(x)))
        return F.relu(x + self.norm(self.conv(x)))


class _BlockTime(nn.Module):
    """Dilated convolution over time, then channels weighted by what the whole voice shows."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.mix = nn.Conv1d(width, width, 1, bias=False)
        self.norm_mix = nn.BatchNorm1d(width)
        self.squeeze = nn.Linear(width, width // 4)
        self.excite = nn.Linear(width // 4, width)
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = F.relu(self.norm(self.conv(x)))
        y = self.norm_mix(self.mix(y))
        mean = (y * mask).sum(2) / mask.sum(2)
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))
        return F.relu(x + self.dropout(y * gate[..., None])) * mask


class ListenerNet(nn.Module):
    """Bands by 2-D convolutions, time by dilated ones, attention over time, one embedding.

    Input: features ``(B, T, 82)`` and their lengths ``(B,)``. Half the rate inside: 50 Hz.
    """

    def __init__(self, spec: ListenerSpec, dropout: float = 0.1) -> None:
        super().__init__()
        self.spec = spec
        c, w = spec.stem, spec.width
        bands = (_Block2d(1, c, time_stride=2), _Block2d(c, 2 * c), _Block2d(2 * c, 2 * c))
        self.bands = nn.Sequential(*bands)
        self.join = nn.Conv1d(2 * c * (MELS // 8) + 2 * (FEATURES - MELS), w, 1, bias=False)
        self.norm_join = nn.BatchNorm1d(w)
        self.time = nn.ModuleList(_BlockTime(w, d, dropout) for d in (1, 2, 4, 8))
        self.score = nn.Sequential(nn.Conv1d(w, w // 2, 1), nn.Tanh(), nn.Conv1d(w // 2, w, 1))
        self.norm_pool = nn.BatchNorm1d(2 * w)
        self.dropout = nn.Dropout(2 * dropout)
        self.embed = nn.Linear(2 * w, spec.embedding)
        self.emotion = nn.Linear(spec.embedding, len(HEARD))
        self.relative = nn.Sequential(
            nn.Linear(2 * spec.embedding, spec.embedding),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(spec.embedding, len(HEARD)),
        )
        self.intensity = nn.Linear(spec.embedding, 1)
        self.teacher = nn.Linear(spec.embedding, spec.teacher)

    def forward(self, x: Tensor, lengths: Tensor, neutral: Tensor | None = None) -> Said:
        """Say what is heard; ``neutral`` are embeddings ``(B, E)`` of the speakers' plain voices.

        Without ``neutral`` the ``relative`` logits are those of a speaker who differs from
        neutral by nothing and mean nothing.
        """
        e = self.embedding(x, lengths)
        return self.say(e, e if neutral is None else neutral)

    def embedding(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Unit embeddings ``(B, E)`` of features ``(B, T, 82)``."""
        bands = x[..., :MELS].transpose(1, 2)[:, None]
        y = self.bands(bands.contiguous(memory_format=torch.channels_last))
        pitch = x[..., MELS:]
        pitch = F.pad(pitch, (0, 0, 0, pitch.shape[1] % 2))
        pitch = pitch.reshape(pitch.shape[0], -1, 2 * pitch.shape[2]).transpose(1, 2)
        y = torch.cat([y.flatten(1, 2), pitch], 1)
        halves = (lengths + 1) // 2
        mask = (torch.arange(y.shape[2], device=x.device) < halves[:, None])[:, None].to(y.dtype)
        y = F.relu(self.norm_join(self.join(y))) * mask
        for block in self.time:
            y = block(y, mask)
        logits = self.score(y).float().masked_fill(mask < 0.5, -1e4)
        share = torch.softmax(logits, 2)
        y = y.float()
        mean = (share * y).sum(2)
        spread = ((share * y**2).sum(2) - mean**2).clamp_min(1e-5).sqrt()
        pooled = self.dropout(self.norm_pool(torch.cat([mean, spread], 1)))
        return F.normalize(self.embed(pooled).float(), dim=1)

    def say(self, embedding: Tensor, neutral: Tensor) -> Said:
        """What embeddings mean, beside those of the speakers' neutral voices."""
        scaled = embedding * SCALE
        both = torch.cat([scaled, scaled - neutral * SCALE], 1)
        return Said(
            embedding,
            self.emotion(scaled),
            self.relative(both),
            self.intensity(scaled)[:, 0],
            self.teacher(scaled),
        )


SCALE = 12.0
"""Heads see embeddings of this length, so that their weights stay of ordinary size."""
