"""The listener's network, its training objective, and its export to ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from mien.dicetalk.embedder import reverse
from mien.speech.features import FEATURES, MELS
from mien.speech.listener import LEARNED_EMOTIONS, TRACT_INPUTS, VOCAL_TRACTS, vocal_tracts
from mien.training.listener import LossWeights
from mien.training.onnx_export import write_onnx
from mien.training.trainer import read_net

_SCALE: Final = 12.0
"""The heads get embeddings of this length, so that their weights stay of ordinary size."""

_STRIDE: Final = 4
"""Rows of the features per step of the layers over time."""

_SMOOTHING: Final = 0.1
_TEMPERATURE: Final = 0.1
_IMPOSSIBLE: Final = 1e4
_EXAMPLE_ROWS: Final = 120


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


class Output(NamedTuple):
    """Outputs for a batch of ``B`` voices.

    ``embedding (B, E)`` of unit length, ``emotion (B, labels)`` logits, ``relative``:
    the same logits given the speaker's neutral voice, ``intensity (B,)`` 1..3,
    ``teacher (B, teacher)``: the teacher's features.
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
    """Dilated convolution over time with squeeze-and-excitation (Hu et al. 2018)."""

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
    """2-D convolutions over bands, dilated ones over time, attentive pooling, one embedding.

    Input: features ``(B, T, 82)``, 100 rows a second, and their lengths ``(B,)``. The layers over
    time run at 25 Hz.
    """

    def __init__(self, spec: ListenerSpec, dropout: float = 0.1) -> None:
        super().__init__()
        self.spec = spec
        c, w = spec.stem, spec.width
        halving = (_Block2d(1, c, time_stride=2), _Block2d(c, 2 * c, time_stride=2))
        self.bands = nn.Sequential(*halving, _Block2d(2 * c, 2 * c))
        joined = 2 * c * (MELS // 8) + _STRIDE * (FEATURES - MELS)
        self.join = nn.Conv1d(joined, w, 1, bias=False)
        self.norm_join = nn.BatchNorm1d(w)
        self.time = nn.ModuleList(_BlockTime(w, d, dropout) for d in (1, 2, 4, 8))
        self.score = nn.Sequential(nn.Conv1d(w, w // 2, 1), nn.Tanh(), nn.Conv1d(w // 2, w, 1))
        self.norm_pool = nn.BatchNorm1d(2 * w)
        self.dropout = nn.Dropout(2 * dropout)
        self.embed = nn.Linear(2 * w, spec.embedding)
        self.emotion = nn.Linear(spec.embedding, len(LEARNED_EMOTIONS))
        self.relative = nn.Sequential(
            nn.Linear(2 * spec.embedding, spec.embedding),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(spec.embedding, len(LEARNED_EMOTIONS)),
        )
        self.intensity = nn.Linear(spec.embedding, 1)
        self.teacher = nn.Linear(spec.embedding, spec.teacher)

    def forward(self, x: Tensor, lengths: Tensor) -> Output:
        """Return the outputs for voices without a neutral one: ``relative`` means nothing."""
        embedding = self.embedding(x, lengths)
        return self.classify(embedding, embedding)

    def embedding(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return unit embeddings ``(B, E)`` of features ``(B, T, 82)``."""
        bands = x[..., :MELS].transpose(1, 2)[:, None]
        y = self.bands(bands.contiguous(memory_format=torch.channels_last))
        pitch = x[..., MELS:]
        pitch = F.pad(pitch, (0, 0, 0, -pitch.shape[1] % _STRIDE))
        pitch = pitch.reshape(pitch.shape[0], -1, _STRIDE * pitch.shape[2]).transpose(1, 2)
        y = torch.cat([y.flatten(1, 2), pitch], 1)
        ends = (lengths + _STRIDE - 1) // _STRIDE
        mask = (torch.arange(y.shape[2], device=x.device) < ends[:, None])[:, None].to(y.dtype)
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

    def classify(self, embedding: Tensor, neutral: Tensor) -> Output:
        """Return the outputs for embeddings, given those of the speakers' neutral voices."""
        scaled = embedding * _SCALE
        both = torch.cat([scaled, scaled - neutral * _SCALE], 1)
        return Output(
            embedding,
            self.emotion(scaled),
            self.relative(both),
            self.intensity(scaled)[:, 0],
            self.teacher(scaled),
        )


class Targets(NamedTuple):
    """Labels of a batch of ``B`` voices.

    Attributes:
        emotion: ``int64 (B,)``, index into ``LEARNED_EMOTIONS``; -1 for another label.
        relative: ``bool (B,)``: the speaker's neutral voice is in the batch.
        intensity: ``float32 (B,)``, 1..3; 0 where unknown.
        teacher: ``float32 (B, 1024)``; zeros where unknown.
        speaker: ``int64 (B,)``.
        possible: ``bool (B, labels)``: the labels that the voice's corpus has.
    """

    emotion: Tensor
    relative: Tensor
    intensity: Tensor
    teacher: Tensor
    speaker: Tensor
    possible: Tensor


class SpeakerAdversary(nn.Module):
    """Recognises the speaker from an embedding; its reversed gradient makes that impossible."""

    def __init__(self, embedding: int, speakers: int) -> None:
        super().__init__()
        self.guess = nn.Sequential(
            nn.Linear(embedding, embedding), nn.ReLU(), nn.Linear(embedding, speakers)
        )

    def forward(self, embedding: Tensor) -> Tensor:
        """Return logits ``(B, speakers)``; the gradient into ``embedding`` is reversed."""
        out: Tensor = self.guess(reverse(embedding * _SCALE, 1.0))
        return out


def contrast(embedding: Tensor, label: Tensor) -> Tensor:
    """Return the supervised contrast (Khosla et al. 2020) of unit embeddings ``(B, E)``.

    Batches hold several emotions of one speaker, often in the same words, and the same emotion of
    other speakers. Voices labelled -1 only serve as negatives.
    """
    itself = torch.eye(len(embedding), dtype=torch.bool, device=embedding.device)
    similar = (embedding @ embedding.T / _TEMPERATURE).masked_fill(itself, -1e4)
    known = label >= 0
    same = (label[:, None] == label[None]) & ~itself & known[:, None] & known[None]
    log_share = similar - similar.logsumexp(1, keepdim=True)
    count = same.sum(1)
    each = (log_share * same).sum(1) / count.clamp_min(1)
    return -each[count > 0].mean() if bool((count > 0).any()) else embedding.sum() * 0


def _smoothed(truth: Tensor, possible: Tensor) -> Tensor:
    """Return targets ``(B, labels)``: the label, smoothed over those that are ``possible``."""
    share = possible.float() / possible.sum(1, keepdim=True)
    return _SMOOTHING * share + (1 - _SMOOTHING) * F.one_hot(truth, possible.shape[1])


def distil(output: Tensor, teacher: Tensor, mean: Tensor) -> Tensor:
    """Return one minus the cosine to the teacher's features, raw plus without their mean."""
    known = teacher.abs().sum(1) > 0
    if not bool(known.any()):
        return output.sum() * 0
    output, teacher = output[known], teacher[known]
    raw = F.cosine_similarity(output, teacher, dim=1)
    centred = F.cosine_similarity(output - mean, teacher - mean, dim=1)
    return (2 - raw - centred).mean()


def objective(
    output: Output,
    targets: Targets,
    adversary: SpeakerAdversary,
    teacher_mean: Tensor,
    weights: LossWeights,
    every_label: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted sum of the losses, and its parts by name, not weighted.

    ``every_label`` is that of :class:`mien.training.listener.ListenerConfig`.
    """
    known = targets.emotion >= 0
    beside = known & targets.relative
    rated = targets.intensity > 0
    nothing = output.embedding.sum() * 0

    def cross_entropy(logits: Tensor, where: Tensor) -> Tensor:
        if not bool(where.any()):
            return nothing
        logits, truth = logits[where], targets.emotion[where]
        every = F.cross_entropy(logits, truth, label_smoothing=_SMOOTHING)
        among = logits.masked_fill(~targets.possible[where], -_IMPOSSIBLE)
        own = F.cross_entropy(among, _smoothed(truth, targets.possible[where]))
        return every_label * every + (1 - every_label) * own

    intensity = nothing
    if bool(rated.any()):
        intensity = F.mse_loss(output.intensity[rated], targets.intensity[rated])
    parts = {
        "emotion": cross_entropy(output.emotion, known),
        "relative": cross_entropy(output.relative, beside),
        "teacher": distil(output.teacher, targets.teacher, teacher_mean),
        "intensity": intensity,
        "contrast": contrast(output.embedding, targets.emotion),
        "speaker": F.cross_entropy(adversary(output.embedding), targets.speaker),
    }
    total = sum((getattr(weights, name) * part for name, part in parts.items()), nothing)
    return total, parts


class _Embed(nn.Module):
    """Averages the embeddings of voices as of several vocal tracts.

    Those of several nets are concatenated to one of unit length.
    """

    def __init__(self, nets: Sequence[ListenerNet]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, rows: Tensor, lengths: Tensor, moves: Tensor, octaves: Tensor) -> Tensor:
        bands = torch.matmul(rows[None, ..., :MELS], moves[:, None])
        pitch = rows[None, ..., MELS : MELS + 1]
        pitch = pitch + octaves[:, None, None, None] * (pitch != 0)
        tracts = octaves.shape[0]
        rest = rows[None, ..., MELS + 1 :].expand(tracts, -1, -1, -1)
        moved = torch.cat([bands, pitch, rest], 3).flatten(0, 1)
        repeated = lengths.repeat(tracts)
        parts = [
            net.embedding(moved, repeated).unflatten(0, (tracts, -1)).mean(0)  # type: ignore[operator]
            for net in self.nets
        ]
        return torch.cat([F.normalize(part, dim=1) for part in parts], 1) / len(parts) ** 0.5


class _Classify(nn.Module):
    """Averages the outputs of several nets for their parts of the embedding."""

    def __init__(self, nets: Sequence[ListenerNet]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, embedding: Tensor, neutral: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count = len(self.nets)
        scale = count**0.5
        parts = zip(self.nets, embedding.chunk(count, 1), neutral.chunk(count, 1), strict=True)
        outputs = [net.classify(own * scale, plain * scale) for net, own, plain in parts]  # type: ignore[operator]
        emotion, relative, intensity = (
            torch.stack([getattr(output, name) for output in outputs]).mean(0)
            for name in ("emotion", "relative", "intensity")
        )
        return emotion, relative, intensity


def load_net(path: Path) -> ListenerNet:
    """Read the ``listener.pt`` of a training."""
    return read_net(path, lambda spec: ListenerNet(ListenerSpec(**spec)))


def export_listener(nets: Sequence[ListenerNet], folder: Path) -> None:
    """Write ``listener.onnx`` and ``listener_says.onnx``; several nets become one."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = torch.zeros(2, _EXAMPLE_ROWS, FEATURES)
    lengths = torch.tensor([_EXAMPLE_ROWS, 80])
    size = sum(net.spec.embedding for net in nets)
    both = F.normalize(torch.randn(2, size), dim=1)
    tracts = vocal_tracts(np.array(VOCAL_TRACTS, np.float32))
    example = (rows, lengths, *map(torch.from_numpy, tracts))
    names = (["rows", "lengths", *TRACT_INPUTS], ["embedding"])
    path, net = folder / "listener.onnx", _Embed(nets).eval()
    write_onnx(net, example, path, *names, times=["rows"], half=True)
    names = (["embedding", "neutral"], ["emotion", "relative", "intensity"])
    says = folder / "listener_says.onnx"
    write_onnx(_Classify(nets).eval(), (both, both), says, *names, half=True)
