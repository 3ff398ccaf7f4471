"""The listener as a task of the trainer: batches, losses and measures on held-out voices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mien.speech.listener import LEARNED_EMOTIONS
from mien.training.listener import ListenerConfig
from mien.training.listener.data import SpeechData, load_data
from mien.training.listener.net import (
    ListenerNet,
    ListenerSpec,
    SpeakerAdversary,
    Targets,
    objective,
)
from mien.training.listener.sampling import Excerpts, Sampler, augment, stack
from mien.training.trainer import Losses, Task, Trainer, warmed_cosine

_MEASURE_BATCH: Final = 64
_MEASURE_ROWS: Final = 1000
_NEUTRAL_DRAWS: Final = 4
"""Neutral recordings tried per voice, one at a time."""


def train_listener(config: ListenerConfig, trainer: Trainer) -> dict[str, float]:
    """Train a listener and write ``listener.pt``, its averaged weights.

    Features are computed once and kept in the run's folder ``features``.
    """
    data = load_data(config, trainer.folder / "features", trainer.progress)
    for path in data.missing:
        trainer.log(f"left out, missing or damaged: {path}")
    return trainer.fit(ListenerTask(config, data))[1]


class Batch(NamedTuple):
    """Varied excerpts ``float32 (B, T, FEATURES)``, their lengths, and what is known of them.

    ``neutral`` is the position in the batch of the speaker's neutral recording, 0 for none.
    """

    rows: Tensor
    lengths: Tensor
    neutral: Tensor
    targets: Targets


class ListenerTask(Task[ListenerConfig, ListenerNet, Batch]):
    """Trains a listener on recordings of several corpora."""

    clip_norm = 5.0
    average = 0.998
    average_warm_up = 20
    average_buffers = False
    warm_up = 100
    workers = 1
    weights_file = "listener.pt"

    def __init__(self, config: ListenerConfig, data: SpeechData) -> None:
        super().__init__(config)
        self._data = data
        self._sampler = Sampler(
            data.utterances, data.train, config.corpora, groups=config.groups, group=config.group
        )
        self._excerpts = Excerpts(data.cache)

    def build(self) -> ListenerNet:
        """Create the net and its adversary."""
        config = self.config
        spec = ListenerSpec(config.stem, config.width, config.embedding)
        net = ListenerNet(spec, config.dropout)
        self._adversary = SpeakerAdversary(config.embedding, self._data.speakers)
        self._teacher_mean = torch.from_numpy(self._data.teacher_mean).to(self.device)
        return net

    def helpers(self) -> dict[str, nn.Module]:
        """Return the adversary."""
        return {"adversary": self._adversary}

    def rate(self, step: int) -> float:
        """Return a warmed cosine that ends at a hundredth."""
        return warmed_cosine(step, self.steps, self.warm_up, 0.01)

    def batch(self, step: int) -> Batch:
        """Draw groups of recordings; one group is one voice in one room and varies alike."""
        rng = self.rng(step)
        index, neutral, voice = self._sampler.draw(rng)
        pieces = [self._excerpts.varied(int(i), self.config.rows, rng) for i in index]
        rows, lengths = (torch.from_numpy(values) for values in stack(pieces))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        varied = augment(rows, lengths, torch.from_numpy(voice), generator)
        first = torch.from_numpy(np.maximum(neutral, 0))
        return Batch(varied, lengths, first, self._data.targets(index, neutral >= 0))

    def losses(self, net: ListenerNet, batch: Batch, step: int) -> Losses:
        """Compute the objective; on a GPU the embedding in half precision, the rest in single."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type != "cpu"):
            embedding = net.embedding(batch.rows, batch.lengths)
        output = net.classify(embedding, embedding[batch.neutral])
        more = (self._adversary, self._teacher_mean, self.config.loss, self.config.every_label)
        return Losses(*objective(output, batch.targets, *more))

    def measure(self, net: ListenerNet) -> dict[str, float]:
        """Return the scores of :func:`measure`."""
        return measure(net, self._data)


@dataclass(frozen=True)
class Predictions:
    """Outputs for the recordings in ``index``.

    ``embedding (N, E)``, ``logits (N, len(LEARNED_EMOTIONS))``, ``teacher (N, 1024)``.
    """

    index: npt.NDArray[np.int64]
    embedding: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]
    teacher: npt.NDArray[np.float32]


@torch.no_grad()
def predict(net: ListenerNet, data: SpeechData, chosen: Sequence[int]) -> Predictions:
    """Run a net over whole recordings, sorted by length."""
    net.eval()
    device = next(net.parameters()).device
    excerpts = Excerpts(data.cache)
    order = sorted(chosen, key=lambda i: len(excerpts.get(i)))
    parts = []
    for start in range(0, len(order), _MEASURE_BATCH):
        some = order[start : start + _MEASURE_BATCH]
        rows, lengths = stack([excerpts.get(i)[:_MEASURE_ROWS] for i in some])
        output = net(*(torch.from_numpy(values).to(device) for values in (rows, lengths)))
        needed = (output.embedding, output.emotion, output.teacher)
        parts.append([values.float().cpu().numpy() for values in needed])
    embedding, logits, teacher = (np.concatenate(p) for p in zip(*parts, strict=True))
    return Predictions(np.array(order), embedding, logits, teacher)


def recall(guess: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> float:
    """Return the unweighted accuracy: the mean over classes of the share that was recognised."""
    return float(np.mean([(guess[truth == c] == c).mean() for c in np.unique(truth)]))


@torch.no_grad()
def measure(net: ListenerNet, data: SpeechData, seed: int = 0) -> dict[str, float]:
    """Score a net on the held-out recordings.

    Returns:
        Unweighted accuracy per corpus among the labels it has, alone and beside a neutral voice,
        and cosines to the teacher's features (raw and without their mean).
    """
    found = predict(net, data, data.held_out)
    rng = np.random.default_rng(seed)
    truth = data.emotion[found.index]
    corpus = np.array([data.utterances[i].corpus for i in found.index])
    taught = np.abs(data.teacher[found.index]).sum(1) > 0
    out: dict[str, float] = {}
    for name in sorted(set(corpus[~taught].tolist())):
        here = np.flatnonzero((corpus == name) & ~taught & (truth >= 0))
        bias = np.full(len(LEARNED_EMOTIONS), -1e9, np.float32)
        bias[np.unique(truth[here])] = 0
        out[name] = recall((found.logits[here] + bias).argmax(1), truth[here])
        beside = [_relative(net, data, found, here, bias, rng) for _ in range(_NEUTRAL_DRAWS)]
        if None not in beside:
            out[f"{name} beside neutral"] = float(np.mean([b for b in beside if b is not None]))
    if taught.any():
        guess, real = found.teacher[taught], data.teacher[found.index][taught]
        mean = data.teacher_mean
        out["teacher cosine"] = _cosine(guess, real)
        out["teacher cosine, centred"] = _cosine(guess - mean, real - mean)
        out["teacher cosine of the mean"] = _cosine(np.broadcast_to(mean, real.shape), real)
    return out


def _relative(
    net: ListenerNet,
    data: SpeechData,
    found: Predictions,
    here: npt.NDArray[np.int64],
    bias: npt.NDArray[np.float32],
    rng: np.random.Generator,
) -> float | None:
    """Unweighted accuracy with one random neutral recording per voice; None without any."""
    truth = data.emotion[found.index]
    speaker = data.speaker[found.index]
    neutral = []
    for i in here:
        candidates = np.flatnonzero((speaker == speaker[i]) & (truth == 0))
        candidates = candidates[candidates != i] if len(candidates) > 1 else candidates
        if not len(candidates):
            return None
        neutral.append(rng.choice(candidates))
    device = next(net.parameters()).device
    both = (torch.from_numpy(found.embedding[some]).to(device) for some in (here, neutral))
    output = net.classify(*both)
    return recall((output.relative.cpu().numpy() + bias).argmax(1), truth[here])


def _cosine(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(1) / np.maximum(size, 1e-9)).mean())
