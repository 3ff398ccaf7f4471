"""A task while it is trained: net, averages and optimiser, their step and their checkpoint."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from mien.errors import InputError
from mien.media.frame import RGBImage
from mien.media.output import whole_file
from mien.training.config import TrainingConfig

if TYPE_CHECKING:
    from mien.training.trainer import Task

Net = TypeVar("Net", bound=nn.Module)
Batch = TypeVar("Batch")


class Run(Generic[Net]):
    """Net, averages and optimiser of a task; everything that a checkpoint holds."""

    def __init__(self, task: Task[Any, Net, Any], path: Path) -> None:
        self.task, self.path = task, path
        self.done = self._saved = 0
        self.backend = task.backend = task.make_backend()
        config = task.config
        torch.manual_seed(config.seed)
        self.net = task.build()
        self.helpers = task.helpers()
        for module in self.helpers.values():
            module.to(self.backend.device)
        self.model: Any
        self.model, self.optimiser = self.backend.prepare(
            self.net, lambda: task.optimiser(self.net)
        )
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
        for batch, last in _marked(batches):
            with nullcontext() if last else self.backend.accumulating(self.model):
                losses = task.losses(self.model, move(batch, self.backend.device), self.done)
                total = float(losses.total.detach())
                if not math.isfinite(total):
                    raise InputError(
                        f"The loss is {total} at step {self.done}; lower learning_rate."
                    )
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

    def measure(self) -> tuple[dict[str, float], Mapping[str, RGBImage]]:
        """Measure the averaged weights where there are any, and draw what they make.

        Training goes on with its own weights.
        """
        learned = {name: v.clone() for name, v in self._learned().items() if self.average}
        with torch.no_grad():
            net = self.finished()
            scores = self.task.measure(net)
            pictures = self.task.pictures(net)
        self._restore(learned)
        return scores, pictures

    def finished(self) -> Net:
        """Put the averaged weights into the net."""
        self._restore(self.average)
        return self.net.eval()

    def _restore(self, values: Mapping[str, Tensor]) -> None:
        self.net.load_state_dict(values, strict=False)

    def save(self) -> None:
        """Write the checkpoint, whole or not at all; older ones are kept as the settings say.

        Every process must call it; the main one writes.
        """
        state = {
            "config": _plain(self.task.config),
            "done": self.done,
            "net": self._learned(),
            "average": self.average,
            "helpers": {name: module.state_dict() for name, module in self.helpers.items()},
            "optimiser": self.optimiser.state_dict(),
            "backend": self.backend.state(),
        }
        state = self.backend.gathered(state)
        if not self.backend.is_main:
            return
        older = self.path.with_name(f"{self.path.stem}-{self._saved:08}{self.path.suffix}")
        kept = self.task.config.checkpoints - 1
        with whole_file(self.path) as part:
            write_state(state, part)
            if kept and self._saved < self.done and self.path.exists():
                self.path.replace(older)
        self._saved = self.done
        numbered = sorted(self.path.parent.glob(f"{self.path.stem}-*{self.path.suffix}"))
        for path in numbered[: max(0, len(numbered) - kept)]:
            path.unlink()

    def load(self) -> None:
        """Continue from the checkpoint."""
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            before, now = state["config"], _plain(self.task.config)
        except (OSError, KeyError, RuntimeError, ValueError, UnpicklingError) as error:
            raise InputError(
                f"The checkpoint {self.path} is damaged. Older ones beside it can take its name; "
                "--overwrite starts anew."
            ) from error
        other = [
            f"{name} ({before.get(name)}, now {now.get(name)})"
            for name in sorted(before.keys() | now.keys())
            if name not in self.task.config.harmless and before.get(name) != now.get(name)
        ]
        if other:
            raise InputError(
                f"The checkpoint {self.path} was made with other settings: {', '.join(other)}. "
                "Resume with the same ones, or train in another folder."
            )
        learned = self._learned()
        wrong = [
            name
            for name, value in learned.items()
            if name not in state["net"] or state["net"][name].shape != value.shape
        ]
        if wrong or len(state["net"]) != len(learned):
            raise InputError(
                f"The checkpoint {self.path} is of a net of other sizes ({wrong[0]} and others)."
                if wrong
                else f"The checkpoint {self.path} is of a net with other parts."
            )
        part = self.backend.own_part
        self._restore({name: part(state["net"][name], value) for name, value in learned.items()})
        for name, value in self.average.items():
            value.copy_(part(state["average"][name], value))
        for name, module in self.helpers.items():
            module.load_state_dict(state["helpers"][name])
        weights = [weight for group in self.optimiser.param_groups for weight in group["params"]]
        for number, values in state["optimiser"]["state"].items():
            for name, value in values.items():
                if value.shape == weights[number].shape:
                    values[name] = part(value, weights[number])
        self.optimiser.load_state_dict(state["optimiser"])
        self.backend.restore(state["backend"])
        self.done = self._saved = state["done"]


def write_state(state: Any, path: Path) -> None:  # noqa: ANN401 - whatever PyTorch writes
    """Write with ``torch.save``.

    Raises:
        OSError: when the disk is full; PyTorch alone reports a wrong position.
    """
    with path.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def _marked(batches: Iterable[Batch]) -> Iterator[tuple[Batch, bool]]:
    """Yield batches, and whether each is the last one."""
    before: list[Batch] = []
    for batch in batches:
        if before:
            yield before.pop(), False
        before.append(batch)
    for batch in before:
        yield batch, True


def _plain(config: TrainingConfig) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    return plain


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
