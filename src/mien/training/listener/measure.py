"""How well a listener hears held-out voices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from mien.speech.labels import HEARD
from mien.training.listener.data import SpeechData
from mien.training.listener.net import ListenerNet
from mien.training.listener.sampling import Excerpts, stack

_BATCH: Final = 64
_LONGEST: Final = 1000
_DRAWS: Final = 4
"""Neutral recordings tried per voice, one at a time."""


@dataclass(frozen=True)
class HeldOut:
    """What a net says of the held-out recordings, in the order of ``index``.

    ``embedding (N, E)``, ``logits (N, len(HEARD))``, ``teacher (N, 1024)``.
    """

    index: npt.NDArray[np.int64]
    embedding: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]
    teacher: npt.NDArray[np.float32]


@torch.no_grad()
def listen_to(net: ListenerNet, data: SpeechData, chosen: Sequence[int]) -> HeldOut:
    """Run a net over whole recordings."""
    net.eval()
    device = next(net.parameters()).device
    excerpts = Excerpts(data.cache)
    order = sorted(chosen, key=lambda i: len(excerpts.get(i)))
    parts = []
    for start in range(0, len(order), _BATCH):
        some = order[start : start + _BATCH]
        rows, lengths = stack([excerpts.get(i)[:_LONGEST] for i in some])
        said = net(*(torch.from_numpy(values).to(device) for values in (rows, lengths)))
        heard = (said.embedding, said.emotion, said.teacher)
        parts.append([values.float().cpu().numpy() for values in heard])
    embedding, logits, teacher = (np.concatenate(p) for p in zip(*parts, strict=True))
    return HeldOut(np.array(order), embedding, logits, teacher)


def recall(guess: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> float:
    """Unweighted accuracy: mean over the classes of the share that was recognised."""
    return float(np.mean([(guess[truth == c] == c).mean() for c in np.unique(truth)]))


@torch.no_grad()
def measure(net: ListenerNet, data: SpeechData, seed: int = 0) -> dict[str, float]:
    """Score a net on the held-out recordings.

    Unweighted accuracy per corpus among the labels it has, alone and beside a neutral voice, and
    cosines to the teacher's features (raw and without their mean).
    """
    heard = listen_to(net, data, data.held_out)
    rng = np.random.default_rng(seed)
    truth = data.emotion[heard.index]
    corpus = np.array([data.utterances[i].corpus for i in heard.index])
    taught = np.abs(data.teacher[heard.index]).sum(1) > 0
    out: dict[str, float] = {}
    for name in sorted(set(corpus[~taught].tolist())):
        here = np.flatnonzero((corpus == name) & ~taught & (truth >= 0))
        bias = np.full(len(HEARD), -1e9, np.float32)
        bias[np.unique(truth[here])] = 0
        out[name] = recall((heard.logits[here] + bias).argmax(1), truth[here])
        beside = [_relative(net, data, heard, here, bias, rng) for _ in range(_DRAWS)]
        if None not in beside:
            out[f"{name} beside neutral"] = float(np.mean([b for b in beside if b is not None]))
    if taught.any():
        said, real = heard.teacher[taught], data.teacher[heard.index][taught]
        out["teacher cosine"] = _cosine(said, real)
        out["teacher cosine, centred"] = _cosine(said - data.teacher_mean, real - data.teacher_mean)
        mean = np.broadcast_to(data.teacher_mean, real.shape)
        out["teacher cosine of the mean"] = _cosine(mean, real)
    return out


def _relative(
    net: ListenerNet,
    data: SpeechData,
    heard: HeldOut,
    here: npt.NDArray[np.int64],
    bias: npt.NDArray[np.float32],
    rng: np.random.Generator,
) -> float | None:
    """Unweighted accuracy with one random neutral recording per voice; None without any."""
    truth = data.emotion[heard.index]
    speaker = data.speaker[heard.index]
    neutral = []
    for i in here:
        plain = np.flatnonzero((speaker == speaker[i]) & (truth == 0))
        plain = plain[plain != i] if len(plain) > 1 else plain
        if not len(plain):
            return None
        neutral.append(rng.choice(plain))
    device = next(net.parameters()).device
    both = (torch.from_numpy(heard.embedding[some]).to(device) for some in (here, neutral))
    said = net.say(*both)
    return recall((said.relative.cpu().numpy() + bias).argmax(1), truth[here])


def _cosine(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(1) / np.maximum(size, 1e-9)).mean())
