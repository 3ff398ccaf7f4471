"""Training of the sync net, which tells whether lips and sound belong together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mien.training.config import TrainingConfig

if TYPE_CHECKING:
    from mien.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class SyncConfig(TrainingConfig):
    """Settings of the training.

    Attributes:
        manifest: table of talking clips with ``clip``, ``kind`` (real or generated) and ``audio``;
            ``video/CLIP.mp4``, ``audio/CLIP.ogg`` and ``tracks/CLIP.npz`` are beside it.
        labels: folder of the clips' landmarks (``tools/label_clips.py``).
        cache: folder for decoded mouths and sound; by default the run's own.
        excluded: clips whose sound does not belong to the mouth.
        lags: rows (10 ms) by which the sound of a clip lags its picture.
        held_out: parts of clip names; clips with them are measured on, not trained on.
        width, dropout: of the net.
        generated: how often clips made by other systems are drawn, relative to real ones.
        batch, frames: windows per step, and their length.
        average: share of the averaged weights kept per step.
    """

    written: ClassVar[tuple[str, ...]] = ("cache",)

    manifest: Path
    labels: Path
    cache: Path | None = None
    excluded: tuple[str, ...] = ()
    lags: dict[str, int] = field(default_factory=dict)
    held_out: tuple[str, ...] = ()
    width: int = 128
    dropout: float = 0.2
    generated: float = 0.5
    batch: int = 12
    frames: int = 48
    average: float = 0.995
    steps: int = 1500
    learning_rate: float = 2e-3
    measure_every: int = 250


def train_sync(config: SyncConfig, trainer: Trainer) -> dict[str, float]:
    """Train the net and write ``sync.pt``, its averaged weights."""
    from mien.training.sync.data import load_clips
    from mien.training.sync.task import SyncTask

    clips = load_clips(config, config.cache or trainer.folder / "cache")
    return trainer.fit(SyncTask(config, clips))[1]
