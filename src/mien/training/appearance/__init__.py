"""Training of the appearance net, which draws the inside of a mouth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mien.training.config import TrainingConfig

if TYPE_CHECKING:
    from mien.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class AppearanceConfig(TrainingConfig):
    """Settings of the training.

    Attributes:
        portraits: folder of sharp face pictures with ``manifest.csv`` (``file``, ``source``,
            ``person``).
        faces: folder with ``crops.tar`` and ``labels.npz``.
        manifest: table with ``clip`` and ``kind`` of the clips among ``faces``.
        cache: folder for decoded patches; by default the run's own.
        widths: channels of the net at a half, a quarter and an eighth of the patch.
        batch: patches per step.
        adversarial: weight of the discriminator's loss.
        features: weight of the distance between the discriminator's features.
        gradients: weight of the loss on gradients.
        discriminator_rate: learning rate of the discriminator, relative to the net's.
        adversarial_from: fraction of the steps after which the discriminator takes part.
    """

    written: ClassVar[tuple[str, ...]] = ("cache",)

    portraits: Path
    faces: Path
    manifest: Path
    cache: Path | None = None
    widths: tuple[int, ...] = (20, 40, 80)
    batch: int = 16
    adversarial: float = 0.03
    features: float = 0.1
    gradients: float = 0.5
    discriminator_rate: float = 0.7
    adversarial_from: float = 0.3
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.0
    save_every: int = 200


def train_appearance(config: AppearanceConfig, trainer: Trainer) -> dict[str, float]:
    """Train the net and write ``net.pt``, its averaged weights, and a sheet of examples."""
    from mien.training.appearance.data import load_mouths
    from mien.training.appearance.task import AppearanceTask

    mouths = load_mouths(config, config.cache or trainer.folder / "cache")
    return trainer.fit(AppearanceTask(config, mouths))[1]
