"""Training of the tracker's nets: detector, face, mouth and eye."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from mien.errors import InputError
from mien.training.config import TrainingConfig

if TYPE_CHECKING:
    from mien.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class TrackerConfig(TrainingConfig):
    """Settings of the training of one net.

    Attributes:
        net: which net.
        faces: folder with ``crops.tar`` and ``labels.npz``.
        backgrounds: folder of pictures without faces; its subfolders are drawn equally often.
        videos, labels, manifest: folder of clips, folder of the teacher's landmarks of them
            (``tools/label_clips.py``), and table with ``clip``, ``kind`` and ``split``; or None.
        cache: folder for decoded pictures, which several runs can share; by default the run's own.
        start: ``net.pt`` of an earlier run to start from, or None.
        widths: channels after each halving of the picture.
        blocks: residual blocks after each halving but the first.
        hidden: width of the layer before the last (not in the detector).
        singles, pairs, empties: single faces, pairs of neighbouring frames and pictures without a
            face per batch.
        loose: share of crops that are as inexact as a detector's.
        scenes: pictures on which the detector is measured.
    """

    written: ClassVar[tuple[str, ...]] = ("cache",)

    net: Literal["detector", "face", "mouth", "eye"]
    faces: Path
    backgrounds: Path
    videos: Path | None = None
    labels: Path | None = None
    manifest: Path | None = None
    cache: Path | None = None
    start: Path | None = None
    widths: tuple[int, ...] = (16, 32, 64, 128, 160)
    blocks: tuple[int, ...] = (1, 1, 2, 1)
    hidden: int = 128
    singles: int = 64
    pairs: int = 16
    empties: int = 12
    loose: float = 0.3
    scenes: int = 512
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    save_every: int = 250

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.blocks) != len(self.widths) - 1:
            raise InputError("blocks needs one entry fewer than widths.")
        if bool(self.videos) != bool(self.labels and self.manifest):
            raise InputError("videos, labels and manifest must be set together.")


def train_tracker(config: TrackerConfig, trainer: Trainer) -> dict[str, float]:
    """Train one of the tracker's nets and write ``net.pt``, its averaged weights."""
    from mien.training.tracker.data import load_data
    from mien.training.tracker.detection import DetectorTask
    from mien.training.tracker.landmarks import LandmarkTask

    data = load_data(config, config.cache or trainer.folder / "cache")
    if config.net == "detector":
        return trainer.fit(DetectorTask(config, data))[1]
    return trainer.fit(LandmarkTask(config, data))[1]
