"""Train a listener: seeded, resumable, logged."""

from __future__ import annotations

import copy
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from mien.errors import InputError
from mien.training.checkpoint import average_into, load_checkpoint, save_checkpoint, save_weights
from mien.training.listener.augment import augment
from mien.training.listener.cache import SPEEDS
from mien.training.listener.config import ListenerConfig
from mien.training.listener.data import SpeechData, load_data
from mien.training.listener.losses import SpeakerAdversary, objective
from mien.training.listener.measure import measure
from mien.training.listener.net import ListenerNet, ListenerSpec
from mien.training.listener.sampling import Batch, Excerpts, Sampler, stack
from mien.training.schedule import warmed_cosine
from mien.utils.device import training_device

_WARM_UP: Final = 100
_LONGEST_GRADIENT: Final = 5.0
_MEMORY: Final = 0.998
"""Share of the averaged weights kept per step."""

Say = Callable[[str], None]


def train_listener(
    config: ListenerConfig,
    folder: Path,
    *,
    resume: bool = False,
    say: Say | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Train, writing ``checkpoint.pt``, ``listener.pt`` (averaged weights) and TensorBoard logs.

    Args:
        config: settings.
        folder: where everything goes; features are kept there for the next run.
        resume: go on from ``checkpoint.pt``; continues as if never interrupted.
        say: gets lines worth reading.
        progress: called with (steps done, steps).

    Returns:
        What :func:`mien.training.listener.measure.measure` says at the end.

    Raises:
        InputError: for settings or data that cannot be used.
    """
    say = say or (lambda _: None)
    folder.mkdir(parents=True, exist_ok=True)
    data = load_data(config, folder / "features", progress)
    for path in data.missing:
        say(f"left out, missing or damaged: {path}")
    run = _Run(config, data, folder)
    if resume:
        run.load()
    writer = _writer(folder)
    scores: dict[str, float] = {}
    parts: dict[str, float] = defaultdict(float)
    for batch, rows in run.batches():
        for name, value in run.step(batch, rows).items():
            parts[name] += value / config.measure_every
        done = run.done
        if progress is not None:
            progress(done, config.steps)
        if done % config.measure_every == 0 or done == config.steps:
            scores = measure(run.average, data)
            for name, value in (*parts.items(), *scores.items()):
                writer.add_scalar(name, value, done)
            say(f"step {done}: {_line(parts)} | {_line(scores)}")
            parts.clear()
        if done % config.save_every == 0 or done == config.steps:
            run.save()
    writer.close()
    run.save_net()
    (folder / "scores.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")
    return scores


def _line(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())


def _writer(folder: Path) -> Any:  # noqa: ANN401 - TensorBoard is untyped
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "log"))


class _Run:
    """Nets and optimiser of a run. Randomness depends on seed and step alone: resuming is exact."""

    def __init__(self, config: ListenerConfig, data: SpeechData, folder: Path) -> None:
        torch.manual_seed(config.seed)
        self.config, self.data, self.folder = config, data, folder
        spec = ListenerSpec(config.stem, config.width, config.embedding)
        self.net = ListenerNet(spec, config.dropout)
        self.average = copy.deepcopy(self.net)
        self.adversary = SpeakerAdversary(config.embedding, data.speakers)
        self.device = training_device(config.device)
        for module in (self.net, self.average, self.adversary):
            module.to(self.device)
        parameters = [*self.net.parameters(), *self.adversary.parameters()]
        self.optimiser = torch.optim.AdamW(
            parameters, lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.sampler = Sampler(
            data.utterances, data.train, config.corpora, groups=config.groups, group=config.group
        )
        self.excerpts = Excerpts(data.cache)
        self.teacher_mean = torch.from_numpy(data.teacher_mean).to(self.device)
        self.done = 0

    def batches(self) -> Iterator[tuple[Batch, Tensor]]:
        """Batches of the steps to come; the next one is prepared while one is used."""
        with ThreadPoolExecutor(1) as pool:
            ready = pool.submit(self._prepare, self.done)
            for step in range(self.done, self.config.steps):
                now = ready.result()
                if step + 1 < self.config.steps:
                    ready = pool.submit(self._prepare, step + 1)
                yield now

    def _prepare(self, step: int) -> tuple[Batch, Tensor]:
        rng = np.random.default_rng([self.config.seed, step])
        index, neutral, voice = self.sampler.draw(rng)
        speed = rng.integers(len(SPEEDS), size=self.config.groups)
        rows, lengths = stack(
            [
                self.excerpts.varied(i, int(speed[v]), self.config.rows, rng)
                for i, v in zip(index, voice, strict=True)
            ]
        )
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        groups = np.array(voice, np.int64)
        tensors = [torch.from_numpy(v) for v in (rows, lengths, groups)]
        varied = augment(tensors[0], tensors[1], tensors[2], generator)
        whole = (np.array(index, np.int64), np.array(neutral, np.int64), groups)
        return Batch(rows, lengths, *whole), varied

    def step(self, batch: Batch, rows: Tensor) -> dict[str, float]:
        """One update; the parts of the objective by name."""
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + self.done)  # dropout
        self.net.train()
        self._set_rate()
        with torch.autocast(self.device.type, torch.bfloat16):
            lengths = torch.from_numpy(batch.lengths).to(self.device)
            embedding = self.net.embedding(rows.to(self.device), lengths)
        plain = embedding[torch.from_numpy(np.maximum(batch.neutral, 0))]
        said = self.net.say(embedding, plain)
        loss, parts = objective(
            said,
            self.data.targets(batch, self.device),
            self.adversary,
            self.teacher_mean,
            config.loss,
        )
        if not math.isfinite(float(loss.detach())):
            raise InputError(f"The loss is {float(loss)} at step {self.done}; lower learning_rate.")
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), _LONGEST_GRADIENT)
        self.optimiser.step()
        self.done += 1
        keep = min(_MEMORY, self.done / (self.done + 20))
        average_into(self.average, self.net, keep, buffers=False)
        return parts

    def _set_rate(self) -> None:
        done, config = self.done, self.config
        rate = config.learning_rate * warmed_cosine(done, config.steps, _WARM_UP, 0.01)
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {name: getattr(self, name) for name in ("net", "average", "adversary", "optimiser")}

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        save_checkpoint(self.folder, self.config, self.done, self.parts())

    def save_net(self) -> None:
        """Write the averaged weights with the sizes of the net."""
        save_weights(self.folder / "listener.pt", self.average)

    def load(self) -> None:
        """Go on from the checkpoint.

        Raises:
            InputError: when there is none, or it belongs to other settings.
        """
        self.done = load_checkpoint(self.folder, self.config, self.parts(), self.device)
