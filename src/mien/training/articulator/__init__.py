"""Training of the articulator, which turns a voice into the movement of a mouth."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mien.training.config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class ArticulatorConfig(TrainingConfig):
    """Settings of an articulator's training.

    Attributes:
        manifest: table of talking clips with ``clip``, ``kind`` (real or generated), ``split`` and
            ``audio``; ``audio/CLIP.ogg`` and ``tracks/CLIP.npz`` are beside it.
        labels: folder of the clips' landmarks (``tools/label_clips.py``).
        phones: speech with its phones (``tools/label_phones.py``) for pretraining; None for none.
        excluded: clips whose sound does not belong to the mouth.
        lags: rows (10 ms) by which the sound of a clip lags its picture.
        people: parts of clip names that name a person; clips of one person are in one fold.
        folds: 0 trains on the split of the table; more cross-validates on that many parts of the
            real clips, and only measures.
        width, dropout: of the net.
        generated: weight of clips made by other systems.
        batch, seconds: windows per step, and their length.
        phone_steps: steps of phone pretraining.
        body_rate: learning rate of the pretrained layers, as a share of the last layer's.
        velocity, correlation, closure: weights of these losses beside the code's.
        average: share of the averaged weights kept per step.
    """

    manifest: Path
    labels: Path
    phones: Path | None = None
    excluded: tuple[str, ...] = ()
    lags: dict[str, int] = field(default_factory=dict)
    people: tuple[str, ...] = ()
    folds: int = 0
    width: int = 128
    dropout: float = 0.4
    generated: float = 0.8
    batch: int = 20
    seconds: float = 3.0
    phone_steps: int = 9000
    body_rate: float = 0.3
    velocity: float = 1.0
    correlation: float = 2.0
    closure: float = 2.0
    average: float = 0.99
    steps: int = 300
    learning_rate: float = 2e-3
    measure_every: int = 150
