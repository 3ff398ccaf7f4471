"""Train the connector as published: on MEAD's EDTalk coefficients and emotion2vec embeddings."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor

from mien.cmet.connector import Connector, ConnectorSpec
from mien.cmet.losses import LossWeights
from mien.cmet.semantic import WINDOW
from mien.datasets.edtalk_features import Array, Recording, read_features
from mien.datasets.mead import EMOTIONS, NEUTRAL, TEST_PEOPLE, TRAIN_PEOPLE
from mien.errors import InputError
from mien.media.output import whole_file
from mien.training.checkpoint import load_checkpoint, save_checkpoint
from mien.training.config import part_of, read_settings
from mien.training.connector.objective import Losses, both_ways
from mien.utils.device import training_device

_AVERAGED: Final = 10
"""Recordings of an emotion that are averaged, voices and faces alike."""

_SECOND_STRIDE: Final = 7


@dataclass(frozen=True, slots=True)
class PublishedConfig:
    """Everything that decides a training run; the defaults are the published ones.

    Attributes:
        features: folder that ``mien features`` wrote.
        train, test: people; those of the paper by default.
        width, layers, heads, feed_forward, dropout: of the net.
        no_reference: share of pairs without the differences before the window; about 0.5 teaches
            what inference starts with.
        published_pairing: the released code's sign of the contrastive pairs.
        batch, steps, learning_rate, weight_decay: AdamW at a constant rate.
        measure_every: steps between measures and checkpoints.
        loss: weights of the three losses.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: makes runs repeatable.
    """

    features: str
    train: tuple[str, ...] = TRAIN_PEOPLE
    test: tuple[str, ...] = TEST_PEOPLE
    width: int = 1024
    layers: int = 4
    heads: int = 4
    feed_forward: int = 1024
    dropout: float = 0.1
    no_reference: float = 0.0
    published_pairing: bool = True
    batch: int = 128
    steps: int = 200_000
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    measure_every: int = 5000
    loss: LossWeights = field(default_factory=LossWeights)
    device: str = "auto"
    seed: int = 42

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a TOML file; paths in it are relative to it.

        Raises:
            InputError: for a missing file, unknown settings or values that cannot be used.
        """
        path = Path(path)
        data = read_settings(path, cls, needed=("features",), paths=("features",))
        for name in ("train", "test"):
            if name in data:
                data[name] = tuple(data[name])
        part_of(path, data, "loss", LossWeights)
        return cls(**data)


def train_published(
    config: PublishedConfig,
    folder: Path,
    *,
    resume: bool = False,
    say: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Train, writing ``checkpoint.pt``, ``connector.pth`` (published form) and TensorBoard logs.

    ``mien weights convert edtalk/connector FOLDER/connector.pth`` puts the result to use.

    Returns:
        Measures on the people held out.

    Raises:
        InputError: for settings or features that cannot be used.
    """
    from torch.utils.tensorboard import SummaryWriter

    say = say or (lambda _: None)
    run = _Run(config)
    folder.mkdir(parents=True, exist_ok=True)
    if resume:
        run.done = load_checkpoint(folder, config, run.parts(), run.device)
    writer = SummaryWriter(str(folder / "log"))
    parts: dict[str, float] = defaultdict(float)
    count, scores = 0, dict[str, float]()
    while run.done < config.steps:
        for name, value in run.step()._asdict().items():
            parts[name] += float(value.detach())
        count += 1
        if progress is not None:
            progress(run.done, config.steps)
        if run.done % config.measure_every == 0 or run.done == config.steps:
            means = {name: total / count for name, total in parts.items()}
            scores = run.measure()
            for name, value in (*means.items(), *scores.items()):
                writer.add_scalar(name, value, run.done)
            lines = (", ".join(f"{k} {v:.4f}" for k, v in d.items()) for d in (means, scores))
            say(f"step {run.done}: {' | '.join(lines)}")
            parts.clear()
            count = 0
            save_checkpoint(folder, config, run.done, run.parts())
    writer.close()
    with whole_file(folder / "connector.pth") as part:
        torch.save(
            {
                "state_dict": run.net.state_dict(),
                "global_step": run.done,
                "mien": {"config": run.net.spec.to_dict()},
            },
            part,
        )
    (folder / "scores.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")
    return scores


class _Run:
    """Net and optimiser. Randomness depends on seed and step alone: resuming is exact."""

    def __init__(self, config: PublishedConfig) -> None:
        recordings = read_features(Path(config.features), (*config.train, *config.test))
        mine = [one for one in recordings if one.person in config.train]
        if not mine:
            raise InputError(f"None of {', '.join(config.train[:5])} … is in {config.features}.")
        self.config = config
        self.sampler = MeadSampler(mine, config.batch, config.no_reference)
        others = [one for one in recordings if one.person in config.test]
        self.test = MeadSampler(others, config.batch, 1.0) if others else None
        torch.manual_seed(config.seed)
        self.device = training_device(config.device)
        self.net = Connector(
            ConnectorSpec(
                expression=mine[0].expression.shape[1],
                speech=len(mine[0].voice),
                width=config.width,
                layers=config.layers,
                heads=config.heads,
                feed_forward=config.feed_forward,
                dropout=config.dropout,
            )
        ).to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.done = 0

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"net": self.net, "optimiser": self.optimiser}

    def step(self) -> Losses:
        """One update."""
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + self.done)
        drawn = self.sampler.draw(np.random.default_rng([config.seed, self.done]))
        self.net.train()
        losses = both_ways(
            self.net,
            **{name: values.to(self.device) for name, values in drawn.items()},
            weights=config.loss,
            published_pairing=config.published_pairing,
        )
        self.optimiser.zero_grad()
        losses.total.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.done += 1
        return losses

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Cosine and error of the predicted direction on people held out, without a reference."""
        if self.test is None:
            return {}
        drawn = self.test.draw(np.random.default_rng(self.config.seed))
        batch = {name: values.to(self.device) for name, values in drawn.items()}
        self.net.eval()
        found = self.net(batch["reference"], batch["speech"], batch["first"]).delta.mean(1)
        wanted = batch["target"].mean(1)
        alike = torch.nn.functional.cosine_similarity(found, wanted, dim=1).mean()
        error = (found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()
        return {"cosine": float(alike), "relative error": float(error)}


def _starts(emotion: str, sentence: int) -> bool:
    """Whether a video is in the published list of items."""
    last = range(31, 41) if emotion == NEUTRAL else range(21, 31)
    return sentence in range(1, 4) or sentence in last


def _averaged(emotion: str, sentence: int) -> bool:
    """Whether a video's face may be averaged."""
    last = range(31, 41) if emotion == NEUTRAL else range(21, 31)
    return sentence in range(1, 11) or sentence in last


@dataclass(slots=True)
class MeadSampler:
    """Draws pairs of two emotions of one person.

    Attributes:
        recordings: of the people to train on.
        batch: pairs at once.
        no_reference: share of pairs whose reference is zero. The published training always gives
            it, and from the sixth frame on it equals the target: copying is enough.
    """

    recordings: list[Recording]
    batch: int
    no_reference: float = 0.0
    _items: list[Recording] = field(default_factory=list)
    _voices: dict[tuple[str, int], Array] = field(default_factory=dict)
    _faces: dict[tuple[str, str, int], list[Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._items = [r for r in self.recordings if _starts(r.emotion, r.sentence)]
        voices, faces = defaultdict(list), defaultdict(list)
        for one in self.recordings:
            voices[one.emotion, one.level].append(one.voice)
            if _averaged(one.emotion, one.sentence):
                faces[one.person, one.emotion, one.level].append(one.expression)
        self._voices = {key: np.stack(values) for key, values in voices.items()}
        self._faces = dict(faces)
        self._items = [item for item in self._items if self._others(item)]
        if not self._items:
            raise InputError("Nobody in the features shows two emotions at one level.")

    def draw(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """A batch for :func:`mien.training.connector.objective.both_ways`."""
        pairs = [self._pair(int(i), rng) for i in rng.integers(len(self._items), size=self.batch)]
        speech, first, second, direction, reference, label = zip(*pairs, strict=True)
        return {
            "reference": torch.from_numpy(np.stack(reference)),
            "speech": torch.from_numpy(np.stack(speech)[:, None]),
            "first": torch.from_numpy(np.stack(first)),
            "second": torch.from_numpy(np.stack(second)),
            "target": torch.from_numpy(np.stack(direction)),
            "label": torch.tensor(label),
        }

    def _others(self, item: Recording) -> list[tuple[str, int]]:
        """Emotions (with their level) that the person of an item shows besides the item's own."""
        out = []
        for emotion in EMOTIONS:
            level = 1 if emotion == NEUTRAL else item.level
            if emotion != item.emotion and (item.person, emotion, level) in self._faces:
                out.append((emotion, level))
        return out

    def _pair(
        self, i: int, rng: np.random.Generator
    ) -> tuple[Array, Array, Array, Array, Array, int]:
        item = self._items[i]
        others = self._others(item)
        emotion, level = others[rng.integers(len(others))]
        speech = self._voice(emotion, level, i, _SECOND_STRIDE)
        speech = speech - self._voice(item.emotion, item.level, i, 1)
        one = self._face(item.person, item.emotion, item.level, rng)
        two = self._face(item.person, emotion, level, rng)
        length = min(len(one), len(two))
        one, two = one[:length], two[:length]
        direction = (two - one).mean(0)
        start = int(rng.integers(max(1, length - WINDOW + 1)))
        before = np.arange(start - WINDOW, start) >= 0
        if rng.random() < self.no_reference:
            before[:] = False
        reference = before[:, None] * direction
        window = np.minimum(np.arange(start, start + WINDOW), length - 1)
        target = np.repeat(direction[None], WINDOW, 0)
        return (
            speech,
            one[window],
            two[window],
            target,
            reference.astype(np.float32),
            EMOTIONS.index(emotion),
        )

    def _voice(self, emotion: str, level: int, i: int, stride: int) -> Array:
        pool = self._voices[emotion, level]
        mean: Array = pool[(i + stride * np.arange(_AVERAGED)) % len(pool)].mean(0)
        return mean

    def _face(self, person: str, emotion: str, level: int, rng: np.random.Generator) -> Array:
        clips = self._faces[person, emotion, level]
        chosen = [clips[j] for j in rng.permutation(len(clips))[:_AVERAGED]]
        longest = max(map(len, chosen))
        tiled = [np.resize(clip, (longest, clip.shape[1])) for clip in chosen]
        mean: Array = np.mean(tiled, 0).astype(np.float32)
        return mean
