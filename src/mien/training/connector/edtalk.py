"""Train the connector as published: on MEAD's EDTalk coefficients and emotion2vec embeddings."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from mien.cmet.connector import Connector, ConnectorSpec
from mien.cmet.losses import LossWeights
from mien.datasets.mead import TEST_PEOPLE, TRAIN_PEOPLE
from mien.datasets.mead_features import MeadSampler, read_features
from mien.errors import InputError
from mien.media.output import whole_file
from mien.training.checkpoint import load_checkpoint, save_checkpoint
from mien.training.config import part_of, read_settings
from mien.training.connector.objective import Losses, both_ways
from mien.utils.device import training_device


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
        torch.save({"state_dict": run.net.state_dict(), "global_step": run.done}, part)
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
