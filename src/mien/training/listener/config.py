"""Settings of a listener's training, read from a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from mien.errors import InputError
from mien.training.config import part_of, read_settings


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weights of the parts of the objective.

    Attributes:
        emotion: cross entropy from the voice alone.
        relative: the same with the speaker's neutral voice beside it.
        teacher: distillation of emotion2vec+ large features.
        intensity: squared error of the intensity.
        contrast: supervised contrast of embeddings; parallel sentences are its hard negatives.
        speaker: adversary that tries to tell speakers apart from the embedding.
    """

    emotion: float = 1.0
    relative: float = 1.0
    teacher: float = 0.7
    intensity: float = 0.2
    contrast: float = 0.2
    speaker: float = 0.03


@dataclass(frozen=True, slots=True)
class ListenerConfig:
    """Everything that decides a training run.

    Attributes:
        corpora: name to share of the batches; others in the manifest are left out.
        manifest: table of recordings (see ``corpora.read_manifest``).
        folders: corpora in their published layout (``layouts.CORPORA``), name to folder.
        teacher: npz with ``files`` and ``features (N, 1024)``, or None.
        held_out: speakers taken from the manifest's training split to measure on.
        held_out_every: of the files with teacher features, every so many-th is measured on.
        stem, width, embedding: sizes of the net.
        dropout: of channels over time; twice as much before the embedding.
        groups, group: speakers per batch and recordings of each, the neutral one included.
        rows: longest excerpt, 10 ms each.
        steps, learning_rate, weight_decay: AdamW with 100 steps of warm-up, cosine to nothing.
        measure_every, save_every: steps.
        loss: weights of the objective's parts.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: makes runs repeatable.
    """

    corpora: Mapping[str, float]
    manifest: str | None = None
    folders: Mapping[str, str] = field(default_factory=dict)
    teacher: str | None = None
    held_out: tuple[str, ...] = ()
    held_out_every: int = 10
    stem: int = 16
    width: int = 256
    embedding: int = 256
    dropout: float = 0.15
    groups: int = 16
    group: int = 8
    rows: int = 280
    steps: int = 5000
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.02
    measure_every: int = 500
    save_every: int = 250
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
        data = read_settings(path, cls, paths=("manifest", "teacher"))
        part_of(path, data, "loss", LossWeights)
        if not data.get("corpora") or not (data.get("manifest") or data.get("folders")):
            raise InputError(f"The settings {path} must name corpora, and a manifest or folders.")
        folders = data.get("folders", {})
        data["folders"] = {name: str(path.parent / place) for name, place in folders.items()}
        data["held_out"] = tuple(data.get("held_out", ()))
        return cls(**data)
