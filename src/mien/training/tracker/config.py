"""Settings of a tracker net's training, read from a TOML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from mien.errors import InputError
from mien.face.landmarker import PARTS
from mien.training.config import read_settings

DETECTOR: Final = "detector"


@dataclass(frozen=True, slots=True)
class FaceNetConfig:
    """Everything that decides a training run.

    Attributes:
        net: ``detector``, ``face``, ``mouth`` or ``eye``.
        faces: folder with ``crops.tar`` and ``labels.npz``.
        backgrounds: folder of pictures without faces; its subfolders are drawn equally often.
        videos: folder of clips, or None.
        labels: folder with the teacher's landmarks of the clips (``tools/label_clips.py``).
        manifest: table of the clips: name, kind, split.
        cache: folder for decoded pictures, shared between runs.
        start: ``net.pt`` of an earlier run to go on from, or None.
        widths: channels after each halving of the picture.
        blocks: residual blocks after each halving but the first.
        hidden: width of the layer before the last (not in the detector).
        singles, pairs, empties: faces alone, pairs of neighbouring frames and pictures without a
            face in a batch.
        loose: share of crops that are far off, as a detector's are.
        steps, learning_rate, weight_decay: AdamW with 100 steps of warm-up, cosine to nothing.
        measure_every, save_every: steps.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: makes runs repeatable.
    """

    net: str
    faces: str
    backgrounds: str
    cache: str
    videos: str | None = None
    labels: str | None = None
    manifest: str | None = None
    start: str | None = None
    widths: tuple[int, ...] = (16, 32, 64, 128, 160)
    blocks: tuple[int, ...] = (1, 1, 2, 1)
    hidden: int = 128
    singles: int = 64
    pairs: int = 16
    empties: int = 12
    loose: float = 0.3
    steps: int = 10_000
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    measure_every: int = 500
    save_every: int = 250
    device: str = "auto"
    seed: int = 0

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a TOML file; paths in it are relative to it.

        Raises:
            InputError: for a missing file, unknown settings or values that cannot be used.
        """
        path = Path(path)
        folders = ("faces", "backgrounds", "cache")
        data = read_settings(
            path,
            cls,
            needed=("net", *folders),
            paths=(*folders, "videos", "labels", "manifest", "start"),
        )
        if data["net"] not in (DETECTOR, *PARTS):
            valid = ", ".join((DETECTOR, *PARTS))
            raise InputError(f"The settings {path} name the net {data['net']!r}; valid: {valid}.")
        for name in ("widths", "blocks"):
            if name in data:
                data[name] = tuple(data[name])
        config = cls(**data)
        if len(config.blocks) != len(config.widths) - 1:
            raise InputError(f"The settings {path} need one entry fewer in blocks than in widths.")
        if bool(config.videos) != bool(config.labels and config.manifest):
            raise InputError(f"The settings {path} need videos, labels and manifest together.")
        return config
