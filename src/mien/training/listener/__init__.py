"""Training of the listener, which turns a voice into an embedding and emotion labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mien.errors import InputError
from mien.training.config import TrainingConfig


@dataclass(frozen=True)
class LossWeights:
    """Weights of the parts of the objective.

    Attributes:
        emotion: cross entropy from the voice alone.
        relative: cross entropy with the speaker's neutral voice as a second input.
        teacher: distillation of emotion2vec+ large features.
        intensity: squared error of the intensity.
        contrast: supervised contrast of embeddings; parallel sentences are its hard negatives.
        speaker: adversary that recognises the speaker from the embedding.
    """

    emotion: float = 1.0
    relative: float = 1.0
    teacher: float = 0.7
    intensity: float = 0.2
    contrast: float = 0.2
    speaker: float = 0.03


@dataclass(frozen=True, kw_only=True)
class ListenerConfig(TrainingConfig):
    """Settings of a listener's training.

    Attributes:
        corpora: share of the batches by corpus; other corpora of the manifest are left out.
        manifest: table of recordings (:func:`mien.datasets.manifest.read_manifest`), or None.
        folders: corpora in their published layout (``mien.datasets.corpora.CORPORA``), by name.
        teacher: npz with ``files`` and emotion2vec+ large ``features (N, 1024)``, or None.
        held_out: speakers of the manifest's training split that are only measured on.
        held_out_every: one in so many of the files with teacher features is only measured on.
        stem, width, embedding: sizes of the net (``ListenerSpec``).
        dropout: of channels over time; twice as much before the embedding.
        groups, group: speakers per batch, and recordings of each with the neutral one.
        rows: longest excerpt, in rows of 10 ms.
        every_label: part of the cross entropy that is taken over all labels, the rest over those
            that the corpus has: talk shows without fear must not teach the net that such recordings
            never express it.
        loss: weights of the objective's parts.
    """

    corpora: Mapping[str, float]
    manifest: Path | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)
    teacher: Path | None = None
    held_out: tuple[str, ...] = ()
    held_out_every: int = 10
    stem: int = 16
    width: int = 256
    embedding: int = 256
    dropout: float = 0.15
    groups: int = 16
    group: int = 8
    rows: int = 280
    every_label: float = 0.3
    loss: LossWeights = field(default_factory=LossWeights)
    steps: int = 5000
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.02
    save_every: int = 250

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.corpora or not (self.manifest or self.folders):
            raise InputError("corpora must be set, and a manifest or folders.")
