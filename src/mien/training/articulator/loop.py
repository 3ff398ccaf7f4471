"""Train the articulator: seeded, resumable, logged; measured on people it has not heard."""

from __future__ import annotations

import copy
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.errors import InputError
from mien.training.articulator.config import ArticulatorConfig
from mien.training.articulator.material import Array, TalkingClip, read_clips
from mien.training.articulator.measure import Measures, Predict, measure
from mien.training.articulator.net import ArticulatorNet, ArticulatorSpec
from mien.training.articulator.phones_loop import learn_phones
from mien.training.articulator.sampling import TalkSampler
from mien.training.checkpoint import average_into, load_checkpoint, save_checkpoint, save_weights
from mien.training.schedule import warmed_cosine
from mien.utils.device import training_device

_WARM_UP: Final = 50
_PEOPLE: Final = ("obama", "andrew", "feifeili", "reagan", "kristinoem", "alexandria", "may_")
"""People of whom several clips are there."""


def train_articulator(
    config: ArticulatorConfig,
    folder: Path,
    *,
    resume: bool = False,
    say: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    clips: list[TalkingClip] | None = None,
) -> dict[str, float]:
    """Train, writing ``checkpoint.pt`` and ``articulator.pt`` (averaged weights).

    With ``folds`` nothing but ``scores.json`` is written: every part of the real clips is measured
    by a net that has not seen its people.

    Returns:
        Mean measures on people held out.

    Raises:
        InputError: for settings or data that cannot be used.
    """
    say = say or (lambda _: None)
    folder.mkdir(parents=True, exist_ok=True)
    if clips is None:
        clips = read_clips(Path(config.manifest), Path(config.labels), config.late, config.left_out)
    parts = _parts(clips, config)
    start = None
    if config.phones:
        start = learn_phones(config, folder / "phones", say=say, progress=progress)
    found: dict[str, tuple[Measures, Measures]] = {}
    for number, (train, test) in enumerate(parts):
        run = _Run(config, train, start)
        if resume and config.folds == 0:
            run.done = load_checkpoint(folder, config, run.state(), run.device)
        losses: dict[str, float] = defaultdict(float)
        while run.done < config.steps:
            for name, value in run.step().items():
                losses[name] += value / config.measure_every
            if progress is not None:
                progress(number * config.steps + run.done, len(parts) * config.steps)
            if run.done % config.measure_every == 0 or run.done == config.steps:
                scores = summary({c.name: both(run.predict, c) for c in test})
                lines = (", ".join(f"{k} {v:.3f}" for k, v in d.items()) for d in (losses, scores))
                say(f"step {run.done}: {' | '.join(lines)}")
                losses.clear()
                if config.folds == 0:
                    save_checkpoint(folder, config, run.done, run.state())
        found |= {c.name: both(run.predict, c) for c in test}
        if config.folds == 0:
            save_weights(folder / "articulator.pt", run.average)
    scores = summary(found)
    table = {name: {"raw": raw._asdict(), **mine._asdict()} for name, (raw, mine) in found.items()}
    text = json.dumps({"mean": scores, "clips": table}, indent=1)
    (folder / "scores.json").write_text(text, encoding="utf-8")
    return scores


def both(predict: Predict, clip: TalkingClip) -> tuple[Measures, Measures]:
    """Measures without and with the clip's sound moved by its lag."""
    return measure(predict, clip, corrected=False), measure(predict, clip)


def summary(found: dict[str, tuple[Measures, Measures]]) -> dict[str, float]:
    """Means over clips."""
    if not found:
        return {}
    raw, mine = zip(*found.values(), strict=True)
    closed = [m.closures for m in mine if not math.isnan(m.closures)]
    return {
        "opening": float(np.mean([m.opening for m in mine])),
        "width": float(np.mean([m.width for m in mine])),
        "protrusion": float(np.mean([m.protrusion for m in mine])),
        "closures": float(np.mean(closed)) if closed else float("nan"),
        "lag within a frame": float(np.mean([abs(m.lag) <= 2 for m in mine])),
        "opening, uncorrected": float(np.mean([m.opening for m in raw])),
        "width, uncorrected": float(np.mean([m.width for m in raw])),
    }


def _parts(
    clips: list[TalkingClip], config: ArticulatorConfig
) -> list[tuple[list[TalkingClip], list[TalkingClip]]]:
    """(train, test) of every fold, or of the table's own split; people are on one side only."""
    real = [c for c in clips if c.kind == "real"]
    if config.folds == 0:
        train = [c for c in clips if c.split == "train"]
        return [(train, [c for c in real if c.split != "train"])]
    people = sorted({person(c.name) for c in real})
    np.random.default_rng(config.seed).shuffle(people)
    out = []
    for fold in range(config.folds):
        held = set(people[fold :: config.folds])
        test = [c for c in real if person(c.name) in held]
        out.append(([c for c in clips if person(c.name) not in held], test))
    return out


def person(name: str) -> str:
    """Who speaks in a clip, as far as its name tells."""
    lower = name.lower()
    for known in _PEOPLE:
        if known in lower:
            return known
    return re.sub(r"_(clip|crop)?\d*$", "", lower)


class _Run:
    """Net and optimiser. Randomness depends on seed and step alone: resuming is exact."""

    def __init__(
        self, config: ArticulatorConfig, clips: list[TalkingClip], start: ArticulatorNet | None
    ) -> None:
        if not clips:
            raise InputError("There is no clip to train on.")
        self.config = config
        torch.manual_seed(config.seed)
        self.device = training_device(config.device)
        self.net = ArticulatorNet(ArticulatorSpec(config.width, config.dropout))
        if start is not None:
            self.net.load_state_dict(start.state_dict())
        real = [c for c in clips if c.kind == "real"] or clips
        spread = np.median([c.spread for c in real], 0)
        mean = np.median([c.code.mean(0) for c in real], 0)
        self.net.spread.copy_(torch.from_numpy(spread.astype(np.float32)))
        self.net.mean.copy_(torch.from_numpy(mean.astype(np.float32)))
        self.net.to(self.device)
        self.average = copy.deepcopy(self.net)
        # What has learned phones already changes less than what has not.
        body = [p for name, p in self.net.named_parameters() if not name.startswith("last.")]
        groups = [
            {"params": list(self.net.last.parameters()), "share": 1.0},
            {"params": body, "share": 1.0 if start is None else config.body},
        ]
        self.optimiser = torch.optim.AdamW(
            groups, lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.sampler = TalkSampler(clips, config.batch, config.seconds, config.generated)
        self.done = 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"net": self.net, "average": self.average, "optimiser": self.optimiser}

    def step(self) -> dict[str, float]:
        """One update; the losses."""
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + self.done)
        rate = warmed_cosine(self.done, config.steps, _WARM_UP)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * rate * group["share"]
        drawn = self.sampler.draw(np.random.default_rng([config.seed, self.done]))
        batch = {name: values.to(self.device) for name, values in drawn.items()}
        self.net.train()
        losses = articulation_losses(self.net.standard(batch["rows"]), batch)
        total = (
            losses["plain"]
            + config.velocity * losses["velocity"]
            + config.correlation * losses["correlation"]
            + config.closure * losses["closure"]
        )
        self.optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.done += 1
        keep = min(config.average, self.done / (self.done + 10))
        average_into(self.average, self.net, keep)
        return {name: float(value.detach()) for name, value in losses.items()}

    def predict(self, rows: Array) -> Array:
        """Codes of the averaged net."""
        self.average.eval()
        with torch.no_grad():
            out: Array = self.average(torch.from_numpy(rows)[None].to(self.device))[0].cpu().numpy()
        return out


def articulation_losses(said: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Losses of standard codes ``(B, T, 7)``.

    ``plain`` and ``velocity`` are smooth L1; ``correlation`` is one minus the mean correlation of
    opening and width within the windows; ``closure`` is how far the opening of closed lips is above
    the true one.
    """
    true, weight = batch["code"], batch["weight"]
    total = weight.sum() * said.shape[2]
    plain = (F.smooth_l1_loss(said, true, reduction="none", beta=0.5) * weight[..., None]).sum()
    faster, wanted = (values[:, 1:] - values[:, :-1] for values in (said, true))
    both = torch.minimum(weight[:, 1:], weight[:, :-1])
    moving = F.smooth_l1_loss(faster, wanted, reduction="none", beta=0.2) * both[..., None]
    shut = batch["closed"] * weight
    above = F.relu(said[..., 0] - true[..., 0]) * shut
    return {
        "plain": plain / total,
        "velocity": moving.sum() / total,
        "correlation": 1 - _correlation(said[..., :2], true[..., :2], weight),
        "closure": above.sum() / (shut.sum() + 1) * shut.sum() / weight.sum(),
    }


def _correlation(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    share = (weight / weight.sum(1, keepdim=True).clamp(min=1e-6))[..., None]
    a, b = (v - (v * share).sum(1, keepdim=True) for v in (a, b))
    both = (a * b * share).sum(1)
    size = ((a * a * share).sum(1) * (b * b * share).sum(1) + 1e-4).sqrt()
    each = (both / size).mean(1)
    clips = weight.amax(1)
    return (each * clips).sum() / clips.sum()
