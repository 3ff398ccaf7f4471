"""Settings of the mesh-scale training, read from a TOML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mien.training.config import read_settings


@dataclass(frozen=True, slots=True)
class DiceConfig:
    """Everything that decides a training run.

    Attributes:
        manifest: table of recordings.
        action_units: table of clip means per recording, OpenFace's columns.
        width: of embedder, prior and tokens.
        layers: of cross-modal attention.
        tokens, entries: of the bank.
        contrast, adversary, divergence: weights of the embedder's losses beside cross entropy.
        missing: share of rows that lack the voice, and that lack the face.
        discrimination, quantiser: weights beside the decoder's reconstruction.
        batch, steps, decoder_steps, learning_rate, weight_decay: AdamW, cosine to nothing.
        views: versions of every recording that are listened to.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: makes runs repeatable.
    """

    manifest: str
    action_units: str
    width: int = 64
    layers: int = 2
    tokens: int = 4
    entries: int = 24
    contrast: float = 0.3
    adversary: float = 0.3
    divergence: float = 0.01
    missing: float = 0.3
    discrimination: float = 0.1
    quantiser: float = 0.25
    batch: int = 128
    steps: int = 1200
    decoder_steps: int = 1200
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    views: int = 4
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
        return cls(**read_settings(path, cls, needed=needed, paths=needed))
