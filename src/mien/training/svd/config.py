"""Settings of the diffusion training, read from a TOML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mien.errors import InputError
from mien.training.config import read_settings

STARTS = ("stock", "published")
_PATHS = ("labelled", "unlabelled", "priors", "embedder")


@dataclass(frozen=True, slots=True)
class DiffusionConfig:
    """Everything that decides a run.

    Attributes:
        labelled: folder of cached clips in MEAD's layout (``mien features --engine svd``).
        unlabelled: folder of other cached clips (HDTF), drawn as often; none when empty.
        priors: folder of ``EMOTION.npy`` (stage 1 writes one; the authors' may be used).
        embedder: stage 1's ``embedder.safetensors``; gives unlabelled clips their own prior.
        start: ``stock``: adapters begin as the UNet's own cross attention, the rest anew;
            ``published``: go on from the authors' weights.
        own_prior: share of labelled clips whose prior comes from the embedder, not the label.
        temporal: whether the UNet's own temporal layers learn too.
        frames: of a window.
        sigma_mean, sigma_spread: of the logarithm of the noise level.
        drop_speech, drop_image: share of windows without voice and emotion, and without picture.
        quantiser, discrimination: weights beside the diffusion loss.
        batch: windows per step, one after the other.
        steps, learning_rate, weight_decay, warm_up: AdamW.
        average: share of the averaged weights kept per step.
        measure_every: steps between measures and checkpoints.
        measured: windows of a measure; noise and windows are the same each time.
        restart: steps after which an entry of the bank that nobody asked for moves.
        precision: ``no``, ``bf16`` or ``fp16``; what accelerate calls mixed precision.
        checkpointing: compute activations twice and keep fewer.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: makes runs repeatable.
    """

    labelled: str
    priors: str
    unlabelled: str = ""
    embedder: str = ""
    start: str = "stock"
    own_prior: float = 0.5
    temporal: bool = False
    frames: int = 25
    sigma_mean: float = 0.7
    sigma_spread: float = 1.6
    drop_speech: float = 0.1
    drop_image: float = 0.1
    quantiser: float = 0.25
    discrimination: float = 0.05
    batch: int = 4
    steps: int = 30_000
    learning_rate: float = 1e-5
    weight_decay: float = 1e-2
    warm_up: int = 500
    average: float = 0.9999
    measure_every: int = 500
    measured: int = 16
    restart: int = 1000
    precision: str = "no"
    checkpointing: bool = False
    device: str = "auto"
    seed: int = 0

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a TOML file; paths in it are relative to it.

        Raises:
            InputError: for a missing file, unknown settings or values that cannot be used.
        """
        data = read_settings(Path(path), cls, needed=("labelled", "priors"), paths=_PATHS)
        out = cls(**data)
        if out.start not in STARTS:
            raise InputError(f"start must be {' or '.join(STARTS)}; got {out.start!r}.")
        for name in ("batch", "steps", "frames", "measure_every", "measured"):
            if getattr(out, name) < 1:
                raise InputError(f"{name} must be at least 1; got {getattr(out, name)}.")
        return out
