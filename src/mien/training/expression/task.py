"""The expression net as a task of the trainer; accuracy, calibration, and the temperature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.face.expression import EXPRESSIONS
from mien.training.expression import ExpressionConfig
from mien.training.expression.data import (
    NO_LABEL,
    FaceSampler,
    LabelledFaces,
    fold_of,
    shown,
)
from mien.training.expression.net import ExpressionNet, ExpressionSpec
from mien.training.trainer import Losses, Task, save_weights

Array = npt.NDArray[np.float64]

_BATCH: Final = 128
_BINS: Final = 10
_MIRRORED: Final = 3
"""Every third face of a batch is mirrored."""

_TEMPERATURES: Final = np.exp(np.linspace(-1, 1.2, 45))


class ExpressionTask(Task[ExpressionConfig, ExpressionNet, dict[str, Tensor]]):
    """Trains emotions where faces have labels, and the teacher's blendshapes everywhere."""

    weights_file = "expression.pt"

    def __init__(self, config: ExpressionConfig, faces: LabelledFaces) -> None:
        super().__init__(config)
        fold = np.array([fold_of(person) for person in faces.people])
        labelled = faces.labels != NO_LABEL
        self._sampler = FaceSampler(faces.part(fold >= config.held_out), config)
        self.calibration = faces.part(labelled & (fold < config.held_out / 2))
        held = (fold >= config.held_out / 2) & (fold < config.held_out)
        self.test = faces.part(labelled & held)
        self.average = config.average

    def build(self) -> ExpressionNet:
        """Create a net."""
        return ExpressionNet(ExpressionSpec(**self.config.sizes(ExpressionSpec)))

    def batch(self, step: int) -> dict[str, Tensor]:
        """Draw faces."""
        return self._sampler.draw(self.rng(step))

    def losses(self, net: ExpressionNet, batch: dict[str, Tensor], step: int) -> Losses:
        """Compute the cross entropy of labels and the squared error of blendshapes."""
        faces, shapes = batch["faces"].clone(), batch["shapes"].clone()
        faces[::_MIRRORED] = faces[::_MIRRORED].flip(2)
        shapes[::_MIRRORED] = net.mirrored(shapes[::_MIRRORED])
        scores, units = net.judge(faces, shapes)
        known = batch["labels"] != NO_LABEL
        wanted = batch["labels"][known]
        entropy = F.cross_entropy(
            scores[known], wanted, label_smoothing=self.config.smoothing, reduction="mean"
        )
        taught = batch["blendshapes"] >= 0
        taught[::_MIRRORED] = False  # left and right are not told apart by their places
        error = (units - batch["blendshapes"])[taught].pow(2).mean()
        return Losses.weighted({"labels": entropy, "shapes": error}, self.config)

    def measure(self, net: ExpressionNet) -> dict[str, float]:
        """Measure the probabilities of people who were held out."""
        return verdict(probabilities(net, self.test), self.test.labels)


def calibrated(net: ExpressionNet, task: ExpressionTask, folder: Path) -> dict[str, float]:
    """Fit the temperature on half of the held-out people, and measure on the others."""
    if len(task.calibration.labels):
        odds = probabilities(net, task.calibration)
        net.temperature.mul_(best_temperature(odds, task.calibration.labels))
    save_weights(folder / task.weights_file, net)
    odds, labels = probabilities(net, task.test), task.test.labels
    scores = verdict(odds, labels) | {"temperature": float(net.temperature)}
    counts = confusion(odds, labels)
    table = {name: dict(zip(EXPRESSIONS, row, strict=True)) for name, row in counts.items()}
    text = json.dumps({"scores": scores, "read as": table}, indent=1)
    (folder / "scores.json").write_text(text, encoding="utf-8")
    return scores


@torch.no_grad()
def probabilities(net: ExpressionNet, faces: LabelledFaces) -> Array:
    """Return what a net says of faces ``(N, 8)``."""
    device = next(net.parameters()).device
    parts = []
    for start in range(0, len(faces.labels), _BATCH):
        images = torch.from_numpy(shown(faces.images[start : start + _BATCH])).to(device)
        shapes = torch.from_numpy(faces.shapes[start : start + _BATCH].astype(np.float32))
        parts.append(net(images, shapes.to(device)).cpu().numpy())
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros((0, len(EXPRESSIONS)))


def best_temperature(odds: Array, labels: npt.NDArray[np.int64]) -> float:
    """Return the temperature at which the labels are likeliest."""
    logs = np.log(np.maximum(odds, 1e-9))

    def entropy(temperature: float) -> float:
        scaled = logs / temperature
        scaled -= np.log(np.exp(scaled).sum(1, keepdims=True))
        return -float(scaled[np.arange(len(labels)), labels].mean())

    return float(min(_TEMPERATURES.tolist(), key=entropy))


def calibration_error(odds: Array, labels: npt.NDArray[np.int64]) -> float:
    """Return the expected calibration error of the likeliest emotion, in ten bins."""
    sure, right = odds.max(1), odds.argmax(1) == labels
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, weights=sure - right, minlength=_BINS)
    return float(np.abs(gaps).sum() / max(len(labels), 1))


def verdict(odds: Array, labels: npt.NDArray[np.int64]) -> dict[str, float]:
    """Return accuracy, mean recall of the emotions there are, and the calibration error."""
    if not len(labels):
        return {}
    right = odds.argmax(1) == labels
    recalls = {EXPRESSIONS[e]: float(right[labels == e].mean()) for e in np.unique(labels).tolist()}
    return {
        "accuracy": float(right.mean()),
        "mean recall": float(np.mean(list(recalls.values()))),
        "calibration error": calibration_error(odds, labels),
        **{f"recall {name}": value for name, value in recalls.items()},
    }


def confusion(odds: Array, labels: npt.NDArray[np.int64]) -> dict[str, list[int]]:
    """Return how often each emotion was read as which."""
    out: dict[str, Any] = {}
    for index, name in enumerate(EXPRESSIONS):
        found = odds[labels == index].argmax(1)
        out[name] = np.bincount(found, minlength=len(EXPRESSIONS)).tolist()
    return out
