"""The one training loop, and the interface of what it trains. Needs the extra ``train``."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mien.errors import InputError
from mien.media.frame import RGBImage
from mien.media.output import whole_file
from mien.training.config import TrainingConfig
from mien.training.logs import only_run, open_log
from mien.training.run import Run, write_state
from mien.utils.device import training_device

CHECKPOINT: Final = "checkpoint.pt"
_ALL_CHECKPOINTS: Final = "checkpoint*.pt"

Net = TypeVar("Net", bound=nn.Module)
Batch = TypeVar("Batch")
Config = TypeVar("Config", bound=TrainingConfig)
State = TypeVar("State", bound=Mapping[Any, Any])


class Losses(NamedTuple):
    """The loss to minimise, and its parts by name for the log."""

    total: Tensor
    parts: Mapping[str, Tensor]

    @classmethod
    def weighted(cls, parts: Mapping[str, Tensor], weights: object) -> Losses:
        """Add to the first part the others, times the attributes of ``weights`` of their names."""
        first, *others = parts
        total = parts[first]
        for name in others:
            total = total + getattr(weights, name) * parts[name]
        return cls(total, parts)


class Backend:
    """Where a task is trained: one device, one process, single precision.

    Another backend may spread the work over several processes or use mixed precision.
    """

    is_main = True
    """Whether this process writes files and logs."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def accumulating(self, model: nn.Module) -> AbstractContextManager[None]:
        """Return the context of gradients that are not the last of their step."""
        return nullcontext()

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the means over all processes."""
        return dict(values)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold of the backend."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state` returned."""

    def prepare(
        self, net: nn.Module, optimiser: Callable[[], torch.optim.Optimizer]
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Put the net where it is trained.

        Returns:
            The module to call during training, and the optimiser to step.
        """
        return net.to(self.device), optimiser()

    def gathered(self, state: State) -> State:
        """Return a state with whole tensors, which the main process alone has to have."""
        return state

    def own_part(self, value: Tensor, weight: Tensor) -> Tensor:
        """Return what this process keeps of ``value``, which is whole and belongs to a weight."""
        return value

    def whole(self, module: nn.Module) -> AbstractContextManager[None]:
        """Return the context in which every learned weight is whole and may be written to."""
        return nullcontext()

    def seed(self, seed: int) -> None:
        """Seed PyTorch's generators, those of accelerators only where one is used.

        Without an accelerator, ``torch.manual_seed`` keeps a stack trace of every call.
        """
        seed_all = torch.default_generator if self.device.type == "cpu" else torch
        seed_all.manual_seed(seed)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``."""
        loss.backward()  # type: ignore[no-untyped-call]

    def clip(self, parameters: Iterable[nn.Parameter], norm: float) -> None:
        """Limit the norm of the gradients."""
        torch.nn.utils.clip_grad_norm_(parameters, norm)


class Task(Generic[Config, Net, Batch]):
    """What is special about one training; :class:`Trainer` does the rest.

    A complete task, which fits a straight line::

        class LineTask(Task[TrainingConfig, nn.Linear, Tensor]):
            def build(self) -> nn.Linear:
                return nn.Linear(1, 1)

            def batch(self, step: int) -> Tensor:
                return torch.from_numpy(self.rng(step).normal(size=(8, 1)).astype(np.float32))

            def losses(self, net: nn.Module, batch: Tensor, step: int) -> Losses:
                error = F.mse_loss(net(batch), 2 * batch)
                return Losses(error, {"error": error})

            def measure(self, net: nn.Linear) -> dict[str, float]:
                return {"slope": float(net.weight.detach())}

            def export(self, net: nn.Linear, folder: Path) -> None:
                torch.save(net.state_dict(), folder / "line.pt")

        scores = Trainer(folder).fit(LineTask(config))

    The seed and the step alone must decide a batch and its losses: then a resumed run is equal to
    one that was never interrupted. PyTorch's global generator is seeded before every step.

    Attributes:
        config: settings of the run.
        steps: updates; the settings' by default.
        clip_norm: largest norm of the net's gradients; None for any.
        average: share of the averaged weights that each step keeps at most; None for no averages.
            Where there are averages, they are measured and exported.
        average_warm_up: the share that is kept after ``n`` steps is at most ``n / (n + warm_up)``.
        average_buffers: whether running statistics are averaged too, instead of copied.
        warm_up: steps in which the learning rate rises.
        workers: threads that prepare batches ahead of their use; 0 to prepare each when it is used.
        measure_first: measure and log before the first step, too.
        weights_file: name of the file that :meth:`export` writes by default, for :func:`read_net`.
        backend: where the task is trained, set by the trainer before :meth:`build`.
    """

    clip_norm: float | None = 1.0
    average: float | None = None
    average_warm_up: int = 10
    average_buffers: bool = True
    warm_up: float = 50
    workers: int = 0
    measure_first: bool = False
    weights_file: str = ""
    backend: Backend

    def __init__(self, config: Config, steps: int | None = None) -> None:
        self.config = config
        self.steps = config.steps if steps is None else steps

    def build(self) -> Net:
        """Create the net, on the CPU; called once, with PyTorch's generator seeded."""
        raise NotImplementedError

    def batch(self, step: int) -> Batch:
        """Draw the batch of a step, on the CPU; tensors in it are moved to the device.

        With ``workers`` it is called from other threads and must not use global random numbers.
        """
        raise NotImplementedError

    def losses(self, net: Net, batch: Batch, step: int) -> Losses:
        """Compute the losses of a batch.

        A backend may wrap the net; then only calling it is safe.
        """
        raise NotImplementedError

    def measure(self, net: Net) -> dict[str, float]:
        """Measure the net, in evaluation mode and without gradients, on held-out data."""
        raise NotImplementedError

    def export(self, net: Net, folder: Path) -> None:
        """Write the trained net, which is in evaluation mode."""
        if self.weights_file:
            save_weights(folder / self.weights_file, net)

    def micro_batches(self, step: int) -> Iterable[Batch]:
        """Return the batches whose gradients are added up in one step; one by default."""
        return (self.batch(step),)

    def helpers(self) -> Mapping[str, nn.Module]:
        """Return other modules that learn or hold state, by name; neither averaged nor clipped."""
        return {}

    def parameter_groups(self, net: Net) -> list[dict[str, Any]]:
        """Return what AdamW changes; a group's ``share`` scales its learning rate."""
        modules: list[nn.Module] = [net, *self.helpers().values()]
        return [{"params": [p for m in modules for p in m.parameters() if p.requires_grad]}]

    def rate(self, step: int) -> float:
        """Return the share of the full learning rate at a step; a warmed cosine by default."""
        return warmed_cosine(step, self.steps, self.warm_up)

    def optimiser(self, net: Net) -> torch.optim.Optimizer:
        """Create the optimiser; AdamW by default."""
        config = self.config
        return torch.optim.AdamW(
            self.parameter_groups(net), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def pictures(self, net: Net) -> Mapping[str, RGBImage]:
        """Draw what the net makes, in evaluation mode and without gradients; none by default.

        Each becomes a file in ``samples``, and a picture in TensorBoard.
        """
        return {}

    def after_step(self) -> None:
        """Change what gradients do not reach, after the optimiser's step."""

    def make_backend(self) -> Backend:
        """Open the device that the settings name.

        Raises:
            InputError: when several processes were launched.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise InputError(
                "This training runs in one process; start it without accelerate launch."
            )
        return Backend(training_device(self.config.device))

    def rng(self, step: int, *stream: int) -> np.random.Generator:
        """Return the random numbers of a step; other ``stream`` numbers give others."""
        return np.random.default_rng([self.config.seed, step, *stream])

    @property
    def device(self) -> torch.device:
        """The device of the backend."""
        return self.backend.device


class Trainer:
    """Trains tasks in a folder: seeded, resumable, logged.

    Args:
        folder: where checkpoints, logs, scores and exported nets go.
        resume: continue from the checkpoints in the folder, as if the run had never stopped (bit by
            bit on a CPU).
        overwrite: remove the checkpoints in the folder and start anew.
        log: receives lines worth reading.
        progress: called with (steps done, steps).

    Raises:
        InputError: when the folder has a checkpoint and neither ``resume`` nor ``overwrite`` is
            set, when there is none to resume from, or when the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        *,
        resume: bool = False,
        overwrite: bool = False,
        log: Callable[[str], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        found = [*folder.glob(CHECKPOINT), *folder.glob(f"*/{CHECKPOINT}")]
        if resume and overwrite:
            raise InputError("--resume and --overwrite exclude each other.")
        if resume and not found:
            raise InputError(f"There is no checkpoint in {folder} to resume from.")
        if found and not (resume or overwrite):
            raise InputError(
                f"{folder} holds a checkpoint; use --resume to continue or --overwrite to start "
                "anew."
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"The folder {folder} cannot be made ({error.strerror}).") from error
        self.folder, self._resume = folder, resume
        self._replaced = [path.parent for path in found] if overwrite else []
        self.log = log or (lambda _: None)
        self.progress = progress or (lambda _done, _steps: None)

    def fit(
        self, task: Task[Any, Net, Any], stage: str = "", *, keep: bool = True
    ) -> tuple[Net, dict[str, float]]:
        """Train a task.

        Args:
            task: what to train.
            stage: name of a part of the run, which has a subfolder of its own.
            keep: write checkpoints, the exported net and ``scores.json``.

        Returns:
            The net, with averaged weights where the task has them and in evaluation mode, and its
            last measures.

        Raises:
            InputError: when the loss is not finite, or the checkpoint has other settings.
        """
        folder = self.folder / stage
        folder.mkdir(exist_ok=True)
        run = Run(task, folder / CHECKPOINT)
        main = task.backend.is_main
        with only_run(self.folder) if keep and main else nullcontext():
            while self._replaced and keep and main:
                for path in self._replaced.pop().glob(_ALL_CHECKPOINTS):
                    path.unlink()
            if keep and self._resume and run.path.is_file():
                run.load()
            return self._fit(run, stage, keep=keep)

    def _fit(self, run: Run[Net], stage: str, *, keep: bool) -> tuple[Net, dict[str, float]]:
        task, config, folder = run.task, run.task.config, run.path.parent
        main = task.backend.is_main
        log = self.log if main else (lambda _: None)
        title = f"{stage} step" if stage else "step"
        if task.measure_first and run.done == 0:
            log(f"before: {_line(run.measure()[0])}")
        scores: dict[str, float] | None = None
        losses: dict[str, float] = defaultdict(float)
        since = run.done
        with open_log(folder if keep and main else None, run.done) as written:
            for batches in _batches(task, run.done):
                for name, value in run.step(batches).items():
                    losses[name] += value
                done = run.done
                self.progress(done, task.steps)
                measured = done % config.measure_every == 0 or done == task.steps
                if keep and (measured or (config.save_every and done % config.save_every == 0)):
                    run.save()
                if not measured:
                    continue
                scores, pictures = run.measure()
                means = {name: value / (done - since) for name, value in losses.items()}
                means = task.backend.mean(means)
                written.values(means | scores, done)
                written.pictures(pictures, done)
                log(f"{title} {done}: {_line(means)} | {_line(scores)}".removesuffix(" | "))
                losses.clear()
                since = done
        net = run.finished()
        if scores is None:  # resumed after the last step
            scores = run.measure()[0]
        with task.backend.whole(net):
            if keep and main:
                task.export(net, folder)
                text = json.dumps(scores, indent=1)
                with whole_file(folder / "scores.json") as part:
                    part.write_text(text, encoding="utf-8")
        return net, scores


def warmed_cosine(done: int, steps: int, warm_up: float, floor: float = 0.0) -> float:
    """Return a share of the learning rate: it rises in ``warm_up`` steps and falls to ``floor``."""
    return min(1.0, (done + 1) / warm_up) * (0.5 * (1 + math.cos(math.pi * done / steps)) + floor)


def save_weights(path: Path, net: Any) -> None:  # noqa: ANN401 - has a spec
    """Write a net's weights with the sizes that rebuild it, its ``spec``."""
    state = {"spec": asdict(net.spec), "weights": net.state_dict()}
    with whole_file(path) as part:
        write_state(state, part)


def read_net(path: Path, build: Callable[[dict[str, Any]], Net]) -> Net:
    """Read a net that :func:`save_weights` wrote; ``build`` creates it from its sizes.

    Raises:
        InputError: when there is no such file.
    """
    if not path.is_file():
        raise InputError(f"There is no trained net {path}.")
    state = torch.load(path, map_location="cpu", weights_only=True)
    net = build(state["spec"])
    net.load_state_dict(state["weights"])
    return net.eval()


def _line(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in values.items())


def _batches(task: Task[Any, Any, Batch], start: int) -> Iterator[Iterable[Batch]]:
    """The batches of every step from ``start``; workers prepare some steps ahead."""
    steps = iter(range(start, task.steps))
    if not task.workers:
        for step in steps:
            yield task.micro_batches(step)
        return
    with ThreadPoolExecutor(task.workers) as pool:
        ready: deque[Any] = deque()
        for step in steps:
            ready.append(pool.submit(lambda at: tuple(task.micro_batches(at)), step))
            if len(ready) > task.workers:
                yield ready.popleft().result()
        while ready:
            yield ready.popleft().result()
