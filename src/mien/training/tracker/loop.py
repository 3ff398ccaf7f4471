"""Train one of the tracker's nets: seeded, resumable, logged."""

from __future__ import annotations

import copy
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from mien.errors import InputError
from mien.training.checkpoint import average_into, load_checkpoint, save_checkpoint, save_weights
from mien.training.schedule import warmed_cosine
from mien.training.tracker.config import DETECTOR, FaceNetConfig
from mien.training.tracker.detection import DetectorTask
from mien.training.tracker.export import load_face_net
from mien.training.tracker.landmarks import Batch, LandmarkTask
from mien.training.tracker.material import load_material
from mien.utils.device import training_device

_WARM_UP: Final = 100
"""Steps, or a tenth of a short run."""

_LONGEST_GRADIENT: Final = 2.0
_MEMORY: Final = 0.998
"""Share of the averaged weights kept per step."""

Say = Callable[[str], None]


class Task(Protocol):
    """What is taught."""

    def net(self) -> nn.Module:
        """A new net."""

    def prepare(self, rng: np.random.Generator) -> Batch:
        """One batch."""

    def loss(self, net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Parts of the objective."""

    def measure(self, net: nn.Module) -> dict[str, float]:
        """How good the net is on what it was not trained on."""


def train_face_net(
    config: FaceNetConfig,
    folder: Path,
    *,
    resume: bool = False,
    say: Say | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Train, writing ``checkpoint.pt``, ``net.pt`` (averaged weights) and TensorBoard logs.

    Args:
        config: settings.
        folder: where everything goes.
        resume: go on from ``checkpoint.pt``; continues as if never interrupted.
        say: gets lines worth reading.
        progress: called with (steps done, steps).

    Returns:
        What the task measures at the end.

    Raises:
        InputError: for settings or data that cannot be used.
    """
    from torch.utils.tensorboard import SummaryWriter

    say = say or (lambda _: None)
    folder.mkdir(parents=True, exist_ok=True)
    material = load_material(config)
    task: Task = (DetectorTask if config.net == DETECTOR else LandmarkTask)(config, material)
    run = _Run(config, task, folder)
    if resume:
        run.load()
    writer: Any = SummaryWriter(str(folder / "log"))
    scores: dict[str, float] = {}
    parts: dict[str, float] = defaultdict(float)
    for batch in run.batches():
        for name, value in run.step(batch).items():
            parts[name] += value / config.measure_every
        done = run.done
        if progress is not None:
            progress(done, config.steps)
        if done % config.measure_every == 0 or done == config.steps:
            scores = task.measure(run.average.eval())
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
    return ", ".join(f"{name} {value:.4f}" for name, value in values.items())


class _Run:
    """Net and optimiser of a run. Randomness depends on seed and step alone: resuming is exact."""

    def __init__(self, config: FaceNetConfig, task: Task, folder: Path) -> None:
        torch.manual_seed(config.seed)
        self.config, self.task, self.folder = config, task, folder
        self.device = training_device(config.device)
        self.net = self._begin().to(self.device)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.net)
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.done = 0

    def _begin(self) -> nn.Module:
        """A new net, or a copy of the one to start from."""
        net = self.task.net()
        if self.config.start:
            earlier: Any = load_face_net(Path(self.config.start))
            if earlier.spec != net.spec:
                raise InputError(f"{self.config.start} is a net of other sizes.")
            net.load_state_dict(earlier.state_dict())
        return net

    def batches(self) -> Iterator[Batch]:
        """Batches of the steps to come; the next ones are prepared while one is used."""
        ahead = 3
        cv2.setNumThreads(1)  # several pictures are prepared side by side
        with ThreadPoolExecutor(2) as pool:
            steps = range(self.done, self.config.steps)
            ready = [pool.submit(self._prepare, step) for step in steps[:ahead]]
            for step in steps:
                now = ready.pop(0).result()
                if step + ahead < self.config.steps:
                    ready.append(pool.submit(self._prepare, step + ahead))
                yield now

    def _prepare(self, step: int) -> Batch:
        return self.task.prepare(np.random.default_rng([self.config.seed, step]))

    def step(self, batch: Batch) -> dict[str, float]:
        """One update; the parts of the objective by name."""
        self.net.train()
        self._set_rate()
        tensors = {name: torch.from_numpy(v).to(self.device) for name, v in batch.items()}
        with torch.autocast(self.device.type, torch.bfloat16):
            parts = self.task.loss(self.net, tensors)
        loss = torch.stack(list(parts.values())).sum()
        if not math.isfinite(float(loss.detach())):
            raise InputError(f"The loss is {float(loss)} at step {self.done}; lower learning_rate.")
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), _LONGEST_GRADIENT)
        self.optimiser.step()
        self.done += 1
        average_into(self.average, self.net, min(_MEMORY, self.done / (self.done + 20)))
        return {name: float(value.detach()) for name, value in parts.items()}

    def _set_rate(self) -> None:
        done, config = self.done, self.config
        warm_up = min(_WARM_UP, config.steps / 10)
        rate = config.learning_rate * warmed_cosine(done, config.steps, warm_up, 0.005)
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {name: getattr(self, name) for name in ("net", "average", "optimiser")}

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        save_checkpoint(self.folder, self.config, self.done, self.parts())

    def save_net(self) -> None:
        """Write the averaged weights with the sizes of the net."""
        save_weights(self.folder / "net.pt", self.average)

    def load(self) -> None:
        """Go on from the checkpoint.

        Raises:
            InputError: when there is none, or it belongs to other settings.
        """
        self.done = load_checkpoint(self.folder, self.config, self.parts(), self.device)
