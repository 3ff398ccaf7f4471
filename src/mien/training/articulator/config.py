"""Settings of the articulator's training, read from a TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from mien.training.config import read_settings


@dataclass(frozen=True, slots=True)
class ArticulatorConfig:
    """Everything that decides a training run.

    Attributes:
        manifest: table of talking clips.
        labels: their landmarks (``tools/label_clips.py``).
        phones: speech with its phones (``tools/label_phones.py``), learned first; none when empty.
        left_out: clips whose sound is not what the mouth says.
        late: rows (10 ms) by which the sound of a clip lags its picture.
        folds: 0 trains on the split of the table; more rotates that many parts of the real clips by
            source, to measure.
        width, dropout: of the net.
        generated: weight of clips made by other systems.
        batch, seconds, steps, learning_rate, weight_decay: AdamW, warm-up, cosine to nothing.
        phone_steps: steps of learning phones before lips.
        body: learning rate of what has learned phones, by that of the last layer.
        velocity, correlation, closure: weights of the losses beside the plain one.
        average: share of the averaged weights kept per step.
        measure_every: steps.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: makes runs repeatable.
    """

    manifest: str
    labels: str
    phones: str = ""
    left_out: tuple[str, ...] = ()
    late: dict[str, int] = field(default_factory=dict)
    folds: int = 0
    width: int = 128
    dropout: float = 0.4
    generated: float = 0.8
    batch: int = 20
    seconds: float = 3.0
    phone_steps: int = 9000
    body: float = 0.3
    steps: int = 300
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    velocity: float = 1.0
    correlation: float = 2.0
    closure: float = 2.0
    average: float = 0.99
    measure_every: int = 150
    device: str = "auto"
    seed: int = 0

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a TOML file; paths in it are relative to it.

        Raises:
            InputError: for a missing file, unknown settings or values that cannot be used.
        """
        path = Path(path)
        needed = ("manifest", "labels")
        data = read_settings(path, cls, needed=needed, paths=(*needed, "phones"))
        data["left_out"] = tuple(data.get("left_out", ()))
        return cls(**data)
