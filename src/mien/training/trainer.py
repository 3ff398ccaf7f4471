"""The one training loop, and the interface of what it trains. Needs the extra ``train``."""

from __future__ import annotations

import json
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mien.errors import InputError
from mien.media.output import whole_file
from mien.training.config import TrainingConfig
from mien.utils.device import training_device

CHECKPOINT: Final = "checkpoint.pt"

Net = TypeVar("Net", bound=nn.Module)
Batch = TypeVar("Batch")
Config = TypeVar("Config", bound=TrainingConfig)


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

    def prepare(
        self, net: nn.Module, optimiser: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return the module to call during training, and the optimiser to step."""
        return net, optimiser

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

    def after_step(self) -> None:
        """Change what gradients do not reach, after the optimiser's step."""

    def make_backend(self) -> Backend:
        """Open the device that the settings name."""
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
            set, or when there is none to resume from.
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
        folder.mkdir(parents=True, exist_ok=True)
        for path in found if overwrite else ():
            path.unlink()
        self.folder, self._resume = folder, resume
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
        run = _Run(task, folder / CHECKPOINT)
        if keep and self._resume and run.path.is_file():
            run.load()
        keep = keep and task.backend.is_main
        log = self.log if task.backend.is_main else (lambda _: None)
        title = f"{stage} step" if stage else "step"
        if task.measure_first and run.done == 0:
            log(f"before: {_line(run.measure())}")
        scores: dict[str, float] | None = None
        losses: dict[str, float] = defaultdict(float)
        since = run.done
        config = task.config
        with _tensorboard(folder / "log" if keep else None, run.done) as write:
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
                scores = run.measure()
                means = {name: value / (done - since) for name, value in losses.items()}
                write(means | scores, done)
                log(f"{title} {done}: {_line(means)} | {_line(scores)}".removesuffix(" | "))
                losses.clear()
                since = done
        net = run.finished()
        if scores is None:  # resumed after the last step
            scores = run.measure()
        if keep:
            task.export(net, folder)
            text = json.dumps(scores, indent=1)
            (folder / "scores.json").write_text(text, encoding="utf-8")
        return net, scores


class _Run(Generic[Net]):
    """Net, averages and optimiser of a task; everything that a checkpoint holds."""

    def __init__(self, task: Task[Any, Net, Any], path: Path) -> None:
        self.task, self.path, self.done = task, path, 0
        self.backend = task.backend = task.make_backend()
        config = task.config
        torch.manual_seed(config.seed)
        self.net = task.build().to(self.backend.device)
        self.helpers = task.helpers()
        for module in self.helpers.values():
            module.to(self.backend.device)
        optimiser = torch.optim.AdamW(
            task.parameter_groups(self.net),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        self.model: Any
        self.model, self.optimiser = self.backend.prepare(self.net, optimiser)
        self.average: dict[str, Tensor] = {}
        if task.average is not None:
            self.average = {name: value.clone() for name, value in self._learned().items()}

    def _learned(self) -> dict[str, Tensor]:
        """Weights that learn, and buffers; what is frozen is not part of the state."""
        frozen = {name for name, p in self.net.named_parameters() if not p.requires_grad}
        return {name: v for name, v in self.net.state_dict().items() if name not in frozen}

    def step(self, batches: Iterable[Any]) -> dict[str, float]:
        """Update the weights once; the mean losses of the batches."""
        task, config = self.task, self.task.config
        self.backend.seed(config.seed * 1_000_003 + self.done)
        rate = config.learning_rate * task.rate(self.done)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        self.model.train()
        self.optimiser.zero_grad()
        sums: dict[str, float] = defaultdict(float)
        count = 0
        for batch in batches:
            losses = task.losses(self.model, move(batch, self.backend.device), self.done)
            total = float(losses.total.detach())
            if not math.isfinite(total):
                raise InputError(f"The loss is {total} at step {self.done}; lower learning_rate.")
            self.backend.backward(losses.total)
            for name, value in losses.parts.items():
                sums[name] += float(value.detach())
            count += 1
        if task.clip_norm is not None:
            self.backend.clip(self.net.parameters(), task.clip_norm)
        self.optimiser.step()
        task.after_step()
        self.done += 1
        self._update_average()
        return {name: value / count for name, value in sums.items()}

    @torch.no_grad()
    def _update_average(self) -> None:
        task = self.task
        if task.average is None:
            return
        keep = min(task.average, self.done / (self.done + task.average_warm_up))
        weights = {name for name, _ in self.net.named_parameters()}
        for name, value in self._learned().items():
            averaged = name in weights or (task.average_buffers and value.is_floating_point())
            if averaged:
                self.average[name].lerp_(value, 1 - keep)
            else:
                self.average[name].copy_(value)

    def measure(self) -> dict[str, float]:
        """Measure the averaged weights where there are any; training goes on with its own."""
        learned = {name: v.clone() for name, v in self._learned().items() if self.average}
        with torch.no_grad():
            scores = self.task.measure(self.finished())
        self._restore(learned)
        return scores

    def finished(self) -> Net:
        """Put the averaged weights into the net."""
        self._restore(self.average)
        return self.net.eval()

    def _restore(self, values: Mapping[str, Tensor]) -> None:
        self.net.load_state_dict(values, strict=False)

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "config": _plain(self.task.config),
            "done": self.done,
            "net": self._learned(),
            "average": self.average,
            "helpers": {name: module.state_dict() for name, module in self.helpers.items()},
            "optimiser": self.optimiser.state_dict(),
        }
        with whole_file(self.path) as part:
            torch.save(state, part)

    def load(self) -> None:
        """Continue from the checkpoint."""
        state = torch.load(self.path, map_location=self.backend.device, weights_only=True)
        now = _plain(self.task.config)
        other = [name for name in now if state["config"].get(name) != now[name]]
        if other or len(now) != len(state["config"]):
            raise InputError(
                f"The checkpoint {self.path} was made with other settings: {', '.join(other)}."
            )
        self._restore(state["net"])
        self.average = state["average"]
        for name, module in self.helpers.items():
            module.load_state_dict(state["helpers"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.done = state["done"]


def warmed_cosine(done: int, steps: int, warm_up: float, floor: float = 0.0) -> float:
    """Return a share of the learning rate: it rises in ``warm_up`` steps and falls to ``floor``."""
    return min(1.0, (done + 1) / warm_up) * (0.5 * (1 + math.cos(math.pi * done / steps)) + floor)


def save_weights(path: Path, net: Any) -> None:  # noqa: ANN401 - has a spec
    """Write a net's weights with the sizes that rebuild it, its ``spec``."""
    state = {"spec": asdict(net.spec), "weights": net.state_dict()}
    with whole_file(path) as part:
        torch.save(state, part)


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


def _plain(config: TrainingConfig) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    return plain


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


def move(value: Any, device: torch.device) -> Any:  # noqa: ANN401 - a batch of any shape
    """The value with every tensor in it on the device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: move(entry, device) for key, entry in value.items()}
    if isinstance(value, tuple):
        entries = [move(entry, device) for entry in value]
        return type(value)(*entries) if hasattr(value, "_fields") else tuple(entries)
    if is_dataclass(value) and not isinstance(value, type):
        moved = {item.name: move(getattr(value, item.name), device) for item in fields(value)}
        return replace(value, **moved)
    return value


@contextmanager
def _tensorboard(
    folder: Path | None, step: int
) -> Iterator[Callable[[Mapping[str, float], int], None]]:
    """Give a function that logs values at a step; it does nothing where TensorBoard is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        folder = None
    if folder is None:
        yield lambda _values, _step: None
        return
    writer: Any = SummaryWriter(str(folder), purge_step=step or None)

    def write(values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    try:
        yield write
    finally:
        writer.close()
