"""Training of the expression net, which reads emotions in faces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mien.training.config import TrainingConfig

if TYPE_CHECKING:
    from mien.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class ExpressionConfig(TrainingConfig):
    """Settings of the training.

    Attributes:
        faces: folder with ``crops.tar`` and ``labels.npz``.
        portraits: folder of pictures with ``manifest.csv`` (``file``, ``source``, ``person``,
            ``expression``).
        cache: folder for decoded faces; by default the run's own.
        excluded: parts of names; pictures with them are left out.
        held_out: share of the people who are measured on, not trained on: half of them for the
            temperature of the probabilities.
        width, dropout: of the net.
        batch: faces per step, half of them with labels.
        balance: labels are drawn in proportion to their number to this power: 1 as they are, 0
            all alike.
        smoothing: share of a label that is spread over all emotions, because labels are noisy.
        shapes: weight of the loss on the teacher's blendshapes.
        average: share of the averaged weights kept per step.
    """

    written: ClassVar[tuple[str, ...]] = ("cache",)

    faces: Path
    portraits: Path
    cache: Path | None = None
    excluded: tuple[str, ...] = ()
    held_out: float = 0.25
    width: int = 24
    dropout: float = 0.3
    batch: int = 64
    balance: float = 0.25
    smoothing: float = 0.1
    shapes: float = 10.0
    average: float = 0.99
    steps: int = 1500
    learning_rate: float = 2e-3
    measure_every: int = 300


def train_expression(config: ExpressionConfig, trainer: Trainer) -> dict[str, float]:
    """Train the net, fit its temperature, and write ``expression.pt``, its averaged weights."""
    from mien.training.expression.data import load_faces
    from mien.training.expression.task import ExpressionTask, calibrated

    faces = load_faces(config, config.cache or trainer.folder / "cache")
    task = ExpressionTask(config, faces)
    net, _ = trainer.fit(task)
    return calibrated(net, task, trainer.folder)
