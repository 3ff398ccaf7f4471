"""Which labels the listener's objective compares, and what is exported of several nets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mien.speech.features import FEATURES, MELS, features
from mien.speech.listener import LEARNED_EMOTIONS, Listener
from mien.training.listener import LossWeights
from mien.training.listener.net import (
    ListenerNet,
    ListenerSpec,
    SpeakerAdversary,
    Targets,
    export_listener,
    objective,
)

from .voices import buzz

ONLY_EMOTION = LossWeights(
    emotion=1.0, relative=0.0, teacher=0.0, intensity=0.0, contrast=0.0, speaker=0.0
)


def voices() -> tuple[torch.Tensor, torch.Tensor]:
    """Return two voices of different lengths, padded, and their lengths."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2, 60, FEATURES)).astype(np.float32)
    rows[..., MELS + 1] = rng.random((2, 60)) > 0.4
    rows[..., MELS] *= rows[..., MELS + 1]
    return torch.from_numpy(rows), torch.tensor([60, 41])


def test_labels_that_a_corpus_lacks_are_hardly_pushed_down() -> None:
    torch.manual_seed(0)
    count = len(LEARNED_EMOTIONS)
    net = ListenerNet(ListenerSpec(stem=2, width=8, embedding=8), dropout=0.0)
    rows, lengths = voices()

    def push(possible: torch.Tensor, every_label: float = 0.3) -> torch.Tensor:
        targets = Targets(
            emotion=torch.tensor([1, 3]),
            relative=torch.tensor([False, False]),
            intensity=torch.zeros(2),
            teacher=torch.zeros(2, 1024),
            speaker=torch.tensor([0, 1]),
            possible=possible,
        )
        output = net(rows, lengths)
        more = (SpeakerAdversary(8, 2), torch.zeros(1024), ONLY_EMOTION, every_label)
        total, _ = objective(output, targets, *more)
        (gradient,) = torch.autograd.grad(total, net.emotion.bias)
        return gradient

    every = torch.ones(2, count, dtype=torch.bool)
    some = every.clone()
    some[:, 5] = False
    assert push(every)[5] > 0
    assert 0 < push(some)[5] < 0.5 * push(every)[5]
    assert push(some, every_label=0.0)[5] == 0
    assert torch.allclose(push(some, every_label=1.0), push(every))


def test_nets_are_exported_together(tmp_path: Path) -> None:
    torch.manual_seed(0)
    nets = [ListenerNet(ListenerSpec(stem=4, width=16, embedding=8)).eval() for _ in range(2)]
    export_listener(nets, tmp_path)
    listener = Listener(tmp_path)
    rows = features(buzz(1.0))
    found = listener.embed([rows], (0.0,))[0]
    assert listener.size == len(found) == 16
    with torch.no_grad():
        each = [
            net.embedding(torch.from_numpy(rows)[None], torch.tensor([len(rows)])) for net in nets
        ]
    assert np.allclose(found * 2**0.5, torch.cat(each, 1)[0].numpy(), atol=0.02)
    assert not np.allclose(found, listener.embed([rows])[0], atol=1e-3), "three vocal tracts differ"
