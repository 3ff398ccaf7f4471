"""Train a connector: seeded, resumable, logged."""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from mien.cmet.connector import Connector, ConnectorSpec
from mien.face.readers import OPENFACE_UNITS
from mien.training.checkpoint import average_into, load_checkpoint, save_checkpoint, save_weights
from mien.training.connector.config import ConnectorConfig
from mien.training.connector.data import Pairs, PairSampler
from mien.training.connector.measure import FaceSpace, cases, measure, predictor, rank, typical_of
from mien.training.connector.objective import Losses, both_ways
from mien.training.connector.ridge import draw_line
from mien.training.connector.voices import load_pairs
from mien.utils.device import training_device

_WARM_UP: Final = 50
_LONGEST_GRADIENT: Final = 1.0
_SEVERAL: Final = 4
"""Clips of an emotion that are averaged in the second measure, as the paper does."""


def train_connector(
    config: ConnectorConfig,
    folder: Path,
    *,
    resume: bool = False,
    say: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    pairs: Pairs | None = None,
) -> dict[str, float]:
    """Train, writing ``checkpoint.pt``, ``connector.pt`` (averaged weights) and TensorBoard logs.

    Args:
        config: settings.
        folder: where everything goes; what the listener heard is kept there for the next run.
        resume: go on from ``checkpoint.pt``; continues as if never interrupted.
        say: gets lines worth reading.
        progress: called with (steps done, steps).
        pairs: data at hand, instead of what the settings name.

    Returns:
        Measures on held-out people at the end.

    Raises:
        InputError: for settings or data that cannot be used.
    """
    from torch.utils.tensorboard import SummaryWriter

    say = say or (lambda _: None)
    folder.mkdir(parents=True, exist_ok=True)
    if pairs is None:
        pairs, missing = load_pairs(config, folder, progress)
        for path in missing:
            say(f"left out, missing or damaged: {path}")
    run = _Run(config, pairs, folder)
    if resume:
        run.load()
    writer = SummaryWriter(str(folder / "log"))
    parts: dict[str, float] = defaultdict(float)
    scores: dict[str, float] = {}
    while run.done < config.steps:
        for name, value in run.step()._asdict().items():
            parts[name] += float(value.detach()) / config.measure_every
        if progress is not None:
            progress(run.done, config.steps)
        if run.done % config.measure_every == 0 or run.done == config.steps:
            scores = score(run.average, pairs, config)
            for name, value in (*parts.items(), *scores.items()):
                writer.add_scalar(name, value, run.done)
            lines = (", ".join(f"{k} {v:.3f}" for k, v in d.items()) for d in (parts, scores))
            say(f"step {run.done}: {' | '.join(lines)}")
            parts.clear()
            run.save()
    writer.close()
    run.save_net()
    (folder / "scores.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")
    return scores


def score(net: Connector, pairs: Pairs, config: ConnectorConfig) -> dict[str, float]:
    """Correlations on held-out people, and the rank of a held-out emotion where there is one."""
    predict = predictor(net)
    out: dict[str, float] = {}
    single = cases(pairs)
    if not single:
        return out
    out["per unit"], out["per clip"] = measure(predict, single)
    several = cases(pairs, _SEVERAL)
    if several:
        out["per unit, several"], out["per clip, several"] = measure(predict, several)
    held_out = config.held_out_emotion
    if held_out is not None:
        typical = typical_of(single)
        own = [case for case in single if case.emotion == held_out]
        faces = np.stack([predict(case.vector, case.neutral) for case in own])
        space = FaceSpace.of(pairs, held_out)
        out["rank of the mean"] = float(rank(faces.mean(0), held_out, typical, space))
        first_two = [rank(face, held_out, typical, space) <= 2 for face in faces]
        out["clips of rank 1 or 2"] = float(np.mean(first_two))
    return out


class _Run:
    """Net and optimiser of a run. Randomness depends on seed and step alone: resuming is exact."""

    def __init__(self, config: ConnectorConfig, pairs: Pairs, folder: Path) -> None:
        torch.manual_seed(config.seed)
        self.config, self.folder = config, folder
        spec = ConnectorSpec(
            expression=len(OPENFACE_UNITS),
            speech=pairs.voices.shape[2],
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            feed_forward=config.feed_forward,
            dropout=config.dropout,
            direct=config.direct,
        )
        self.net = Connector(spec)
        if config.direct:
            draw_line(self.net, pairs, config)
        self.device = training_device(config.device)
        self.net.to(self.device)
        self.average = copy.deepcopy(self.net)
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.sampler = PairSampler(pairs, config)
        self.done = 0

    def step(self) -> Losses:
        """One update."""
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + self.done)
        rate = min(1, (self.done + 1) / _WARM_UP) * (1 - self.done / config.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * rate
        self.net.train()
        drawn = self.sampler.draw(np.random.default_rng([config.seed, self.done]))
        batch = {name: values.to(self.device) for name, values in drawn.items()}
        if config.direct:
            # The line is a start from neutral; backwards the pair's residual is the opposite one.
            with torch.no_grad():
                line = self.net.direct_path(batch["speech"], batch["first"])
            batch["target"] = batch["target"] - line
            batch["reference"] = torch.where(batch["reference"] == 0, 0, batch["reference"] - line)
        losses = both_ways(
            self.net.published,
            **batch,
            weights=config.loss,
            published_pairing=config.published_pairing,
        )
        self.optimiser.zero_grad()
        losses.total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), _LONGEST_GRADIENT)
        self.optimiser.step()
        self.done += 1
        average_into(self.average, self.net, min(config.average, self.done / (self.done + 10)))
        return losses

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {name: getattr(self, name) for name in ("net", "average", "optimiser")}

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        save_checkpoint(self.folder, self.config, self.done, self.parts())

    def save_net(self) -> None:
        """Write the averaged weights with the sizes of the net."""
        save_weights(self.folder / "connector.pt", self.average)

    def load(self) -> None:
        """Go on from the checkpoint.

        Raises:
            InputError: when there is none, or it belongs to other settings.
        """
        self.done = load_checkpoint(self.folder, self.config, self.parts(), self.device)
