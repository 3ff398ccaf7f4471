"""The articulator as tasks of the trainer: phone pretraining, then lips; measures per clip."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.errors import InputError
from mien.speech.articulation import NAMES
from mien.training.articulator import ArticulatorConfig
from mien.training.articulator.data import Array, PhoneSampler, TalkingClip, TalkSampler, read_clips
from mien.training.articulator.net import ArticulatorNet, ArticulatorSpec
from mien.training.trainer import Losses, Task, Trainer
from mien.utils.numeric import correlation

_PHONE_DROPOUT: Final = 0.2
_PHONE_STREAM: Final = 1
"""Separates the random numbers of pretraining from those of the lips."""

_LAGS: Final = 15
_CLOSED: Final = 0.02
"""Opening, eye distances beyond rest, below which lips touch."""

_NEAR: Final = 3
"""Codes (60 ms) around a closure in which the prediction may close."""

_SHUT: Final = 0.35
"""Share of its mean opening below which a predicted mouth counts as closing."""


def train_articulator(
    config: ArticulatorConfig, trainer: Trainer, clips: list[TalkingClip] | None = None
) -> dict[str, float]:
    """Train an articulator and write ``articulator.pt``, its averaged weights.

    With ``folds`` only ``scores.json`` is written: each part of the real clips is measured with a
    net that was not trained on its people. ``clips`` are used instead of what the settings name.
    """
    parts = _splits(read_clips(config) if clips is None else clips, config)
    start = trainer.fit(PhoneTask(config), "phones")[0] if config.phones else None
    found: dict[str, Comparison] = {}
    for train, test in parts:
        net, _ = trainer.fit(ArticulatorTask(config, train, test, start), keep=config.folds == 0)
        found |= compare(net, test)
    scores = summary(found)
    table = {
        name: {"raw": raw._asdict(), **corrected._asdict()}
        for name, (raw, corrected) in found.items()
    }
    text = json.dumps({"mean": scores, "clips": table}, indent=1)
    (trainer.folder / "scores.json").write_text(text, encoding="utf-8")
    return scores


def _splits(
    clips: list[TalkingClip], config: ArticulatorConfig
) -> list[tuple[list[TalkingClip], list[TalkingClip]]]:
    """(train, test) of every fold, or of the table's own split; people are on one side only."""
    real = [c for c in clips if c.kind == "real"]
    if config.folds == 0:
        out = [([c for c in clips if c.split == "train"], [c for c in real if c.split != "train"])]
    else:
        people = sorted({person(c.name, config.people) for c in real})
        np.random.default_rng(config.seed).shuffle(people)
        out = []
        for fold in range(config.folds):
            held = set(people[fold :: config.folds])
            test = [c for c in real if person(c.name, config.people) in held]
            train = [c for c in clips if person(c.name, config.people) not in held]
            out.append((train, test))
    if not all(train for train, _ in out):
        raise InputError("There is no clip to train on.")
    return out


def person(name: str, people: tuple[str, ...] = ()) -> str:
    """Return who speaks in a clip: the first of ``people`` in its name, or the name's stem."""
    lower = name.lower()
    for known in people:
        if known in lower:
            return known
    return re.sub(r"_(clip|crop)?\d*$", "", lower)


class PhoneTask(Task[ArticulatorConfig, ArticulatorNet, tuple[Tensor, Tensor]]):
    """Pretrains the net on phone classes."""

    warm_up = 100

    def __init__(self, config: ArticulatorConfig) -> None:
        super().__init__(config, config.phone_steps)
        assert config.phones is not None  # noqa: S101 - the caller's condition
        self._sampler = PhoneSampler(config.phones, config.batch, config.seconds)

    def build(self) -> ArticulatorNet:
        """Create a net."""
        return ArticulatorNet(ArticulatorSpec(self.config.width, _PHONE_DROPOUT))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Draw rows and classes."""
        return self._sampler.draw(self.rng(step, _PHONE_STREAM))

    def losses(self, net: ArticulatorNet, batch: tuple[Tensor, Tensor], step: int) -> Losses:
        """Compute a smoothed cross entropy: automatic labels contain errors."""
        rows, phones = batch
        scores = net.phones(rows)
        loss = F.cross_entropy(scores.flatten(0, 1), phones.flatten(), label_smoothing=0.1)
        return Losses(loss, {"loss": loss, "right": (scores.argmax(2) == phones).float().mean()})

    def measure(self, net: ArticulatorNet) -> dict[str, float]:
        """Measure nothing: pretraining has no held-out data."""
        return {}


class ArticulatorTask(Task[ArticulatorConfig, ArticulatorNet, dict[str, Tensor]]):
    """Trains the articulation code of talking clips, from a net pretrained on phones if any."""

    weights_file = "articulator.pt"

    def __init__(
        self,
        config: ArticulatorConfig,
        train: list[TalkingClip],
        test: list[TalkingClip],
        start: ArticulatorNet | None,
    ) -> None:
        super().__init__(config)
        self._train, self._test, self._start = train, test, start
        self._sampler = TalkSampler(train, config)
        self.average = config.average

    def build(self) -> ArticulatorNet:
        """Create a net with the typical mean and spread of real clips."""
        config = self.config
        net = ArticulatorNet(ArticulatorSpec(config.width, config.dropout))
        if self._start is not None:
            net.load_state_dict(self._start.state_dict())
        real = [c for c in self._train if c.kind == "real"] or self._train
        spread = np.median([c.spread for c in real], 0)
        mean = np.median([c.code.mean(0) for c in real], 0)
        net.spread.copy_(torch.from_numpy(spread.astype(np.float32)))
        net.mean.copy_(torch.from_numpy(mean.astype(np.float32)))
        return net

    def parameter_groups(self, net: ArticulatorNet) -> list[dict[str, Any]]:
        """Return the last layer and the rest, which changes less when it is pretrained."""
        body = [p for name, p in net.named_parameters() if not name.startswith("last.")]
        share = 1.0 if self._start is None else self.config.body_rate
        return [
            {"params": list(net.last.parameters()), "share": 1.0},
            {"params": body, "share": share},
        ]

    def batch(self, step: int) -> dict[str, Tensor]:
        """Draw windows."""
        return self._sampler.draw(self.rng(step))

    def losses(self, net: ArticulatorNet, batch: dict[str, Tensor], step: int) -> Losses:
        """Compute :func:`articulation_losses` and their weighted sum."""
        parts = articulation_losses(net.standard(batch["rows"]), batch)
        return Losses.weighted(parts, self.config)

    def measure(self, net: ArticulatorNet) -> dict[str, float]:
        """Return means over the test clips."""
        return summary(compare(net, self._test))


def articulation_losses(output: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Compute the losses of standard codes ``(B, T, 7)``.

    Returns:
        ``code`` and ``velocity``: smooth L1 of the codes and of their differences over time;
        ``correlation``: one minus the mean correlation of opening and width within the windows;
        ``closure``: how far the opening of closed lips is above the true one.
    """
    true, weight = batch["code"], batch["weight"]
    total = weight.sum() * output.shape[2]
    code = (F.smooth_l1_loss(output, true, reduction="none", beta=0.5) * weight[..., None]).sum()
    velocity, wanted = (values[:, 1:] - values[:, :-1] for values in (output, true))
    both = torch.minimum(weight[:, 1:], weight[:, :-1])
    moving = F.smooth_l1_loss(velocity, wanted, reduction="none", beta=0.2) * both[..., None]
    shut = batch["closed"] * weight
    above = F.relu(output[..., 0] - true[..., 0]) * shut
    return {
        "code": code / total,
        "velocity": moving.sum() / total,
        "correlation": 1 - _correlation(output[..., :2], true[..., :2], weight),
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


class Measures(NamedTuple):
    """How well a predicted mouth follows one clip.

    Correlations of ``opening``, ``width`` and ``protrusion``; ``closures``: share of closures of
    the lips that the prediction makes too (NaN without any); ``lag``: shift of the prediction, in
    codes, that correlates best; ``best``: that correlation.
    """

    opening: float
    width: float
    protrusion: float
    closures: float
    lag: int
    best: float


Comparison = tuple[Measures, Measures]
"""Measures without and with the clip's sound moved by its lag."""


def compare(net: ArticulatorNet, clips: list[TalkingClip]) -> dict[str, Comparison]:
    """Measure a net on clips, by name."""
    device = next(net.parameters()).device

    @torch.no_grad()
    def predict(rows: Array) -> Array:
        out: Array = net(torch.from_numpy(rows)[None].to(device))[0].cpu().numpy()
        return out

    return {c.name: (measure(predict, c, corrected=False), measure(predict, c)) for c in clips}


def summary(found: dict[str, Comparison]) -> dict[str, float]:
    """Return means over clips."""
    if not found:
        return {}
    raw, corrected = zip(*found.values(), strict=True)
    closed = [m.closures for m in corrected if not math.isnan(m.closures)]
    return {
        "opening": float(np.mean([m.opening for m in corrected])),
        "width": float(np.mean([m.width for m in corrected])),
        "protrusion": float(np.mean([m.protrusion for m in corrected])),
        "closures": float(np.mean(closed)) if closed else float("nan"),
        "lag within a frame": float(np.mean([abs(m.lag) <= 2 for m in corrected])),
        "opening, uncorrected": float(np.mean([m.opening for m in raw])),
        "width, uncorrected": float(np.mean([m.width for m in raw])),
    }


def measure(
    predict: Callable[[Array], Array], clip: TalkingClip, *, corrected: bool = True
) -> Measures:
    """Compare the codes ``(R / 2, 7)`` predicted from rows ``(R, 82)`` with a clip's.

    ``corrected``: whether the sound is moved by the clip's lag first.
    """
    found = predict(clip.rows_at(0, len(clip.code), None if corrected else 0))
    true = clip.code
    opening, width, protrusion = (
        correlation(found[:, NAMES.index(name)], true[:, NAMES.index(name)])
        for name in ("opening", "width", "protrusion")
    )
    lag, best = best_lag(found[:, 0], true[:, 0])
    shut = closures(found[:, 0], true[:, 0])
    return Measures(opening, width, protrusion, shut, lag, best)


def best_lag(predicted: Array, true: Array) -> tuple[int, float]:
    """Return the lag of the prediction, in codes, with the largest correlation, and that."""
    found = []
    for lag in range(-_LAGS, _LAGS + 1):
        a = predicted[max(0, lag) : len(predicted) + min(0, lag)]
        b = true[max(0, -lag) : len(true) - max(0, lag)]
        found.append(correlation(a, b) if len(a) > 10 else -1.0)
    best = int(np.argmax(found))
    return best - _LAGS, found[best]


def closures(predicted: Array, true: Array) -> float:
    """Return the share of the closures of the lips within speech that the prediction makes too.

    A closure is a local minimum of the true opening below 0.02 eye distances, with an open mouth
    within a quarter of a second before or after.
    """
    mean = float(np.maximum(predicted, 0).mean())
    hits = []
    for i in range(1, len(true) - 1):
        lowest = true[i] <= true[i - 1] and true[i] < true[i + 1]
        around = true[max(0, i - 12) : i + 13]
        if lowest and true[i] < _CLOSED and around.max() > 3 * _CLOSED:
            near = predicted[max(0, i - _NEAR) : i + _NEAR + 1]
            hits.append(bool(near.min() < _SHUT * mean))
    return float(np.mean(hits)) if hits else float("nan")
