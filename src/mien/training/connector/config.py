"""Settings of a connector's training, read from a TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from mien.cmet.losses import LossWeights
from mien.training.config import part_of, read_settings


@dataclass(frozen=True, slots=True)
class ConnectorConfig:
    """Everything that decides a training run.

    Attributes:
        manifest: table of recordings (see ``mien.datasets.manifest``).
        action_units: table of clip means per recording, OpenFace's columns.
        listener: folder of the listener's nets; the shipped ones by default.
        views: versions of every recording (speed, room, noise, excerpt) that are listened to.
        most: recordings per speaker and emotion that are listened to where the face is not known.
        held_out_emotion: an emotion that is never trained on, to measure what is said of it.
        width, layers, heads, feed_forward, dropout, direct: of the net (``ConnectorSpec``).
        line_penalty: of the ridge regression that gives the straight line (``line.py``).
        from_neutral: share of the real pairs that start from neutral; the others are any two.
        recipes: share of pairs whose target is an emotion's typical face, for voices whose faces
            are not known.
        noise: size of the noise added to the semantic vector, shares of its length.
        affect_only: share of pairs that see valence, arousal and dominance alone.
        no_reference: share of pairs without the differences before the window. The published
            training always gives them, which equal the target: copying is enough.
        other_face: share of pairs that start from another person's face.
        published_pairing: the released code's sign of the contrastive pairs.
        batch, steps, learning_rate, weight_decay: AdamW, short warm-up, linear to nothing.
        average: share of the averaged weights kept per step.
        measure_every: steps.
        loss: weights of the three losses.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: makes runs repeatable.
    """

    manifest: str
    action_units: str
    listener: str | None = None
    views: int = 4
    most: int = 12
    held_out_emotion: str | None = None
    width: int = 128
    layers: int = 2
    heads: int = 4
    feed_forward: int = 256
    dropout: float = 0.1
    direct: bool = True
    line_penalty: float = 3000.0
    from_neutral: float = 1.0
    recipes: float = 0.25
    noise: float = 1.0
    affect_only: float = 0.3
    no_reference: float = 0.5
    other_face: float = 0.0
    published_pairing: bool = False
    batch: int = 96
    steps: int = 150
    learning_rate: float = 3e-4
    weight_decay: float = 0.05
    average: float = 0.95
    measure_every: int = 50
    loss: LossWeights = field(default_factory=LossWeights)
    device: str = "auto"
    seed: int = 0

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a TOML file; paths in it are relative to it.

        Raises:
            InputError: for a missing file, unknown settings or values that cannot be used.
        """
        path = Path(path)
        needed = ("manifest", "action_units")
        data = read_settings(path, cls, needed=needed, paths=(*needed, "listener"))
        part_of(path, data, "loss", LossWeights)
        return cls(**data)
