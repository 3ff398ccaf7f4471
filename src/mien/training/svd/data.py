"""Windows of cached clips with everything that conditions the UNet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
import torch
from torch import Tensor

from mien.datasets.mead import LEVELS, NEUTRAL
from mien.datasets.svd_clips import UNKNOWN, CachedClip
from mien.dicetalk.embedder import EmotionEmbedder, Gaussian, load_embedder
from mien.engines.svd.preprocess import audio_windows_at
from mien.engines.svd.sampler import SCALING_FACTOR
from mien.errors import InputError
from mien.training.config import TrainingConfig
from mien.training.svd.clips import ClipPool, Reference
from mien.weights.vectors import read_prior

PARTS: Final = ("adapters", "audio", "bank", "guider", "temporal")
"""Parts of the net that may have learning rates of their own."""

WITHHELD: Final = ("without_all", "without_speech", "without_emotion")
"""Settings that are shares of windows by what is withheld in them."""


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig(TrainingConfig):
    """Settings of stage 2, the training of the svd engine.

    Attributes:
        labelled: folder of cached clips in MEAD's folders (``mien features --engine svd``).
        priors: folder of ``EMOTION.npy`` (stage 1 writes one; the authors' may be used).
        unlabelled: folder of other cached clips (HDTF), drawn as often, or None.
        embedder: ``embedder.safetensors`` of stage 1, which gives unlabelled clips their priors;
            or None.
        test: people held out beside those of :mod:`mien.datasets.splits`, by the names of their
            folders or films.
        start: ``stock``: adapters begin as the UNet's own cross attention, the rest untrained;
            ``published``: continue from the authors' weights.
        own_prior: share of labelled clips whose prior comes from the embedder, not the label.
        temporal: whether the UNet's own temporal layers are trained too.
        frames: frames of a window.
        reference: where the reference picture comes from. ``neutral``: another clip of the person,
            a neutral one where there is one; ``other``: any other clip; ``same``: the clip itself,
            as published. A person's only clip is its own reference, outside the window if it can.
        sigma_mean, sigma_spread: of the logarithm of the noise level.
        without_all: share of windows without picture, voice and emotion.
        without_speech: share with the picture alone.
        without_emotion: share with picture and voice alone.
        padded: share of the other windows whose beginning or end has neither, like the padding of
            a clip.
        quantiser, discrimination: weights beside the diffusion loss.
        batch: windows per step, shared by all processes; each takes its own one after the other.
        rates: factors of the learning rate by part: ``adapters``, ``audio``, ``bank``, ``guider``,
            ``temporal``.
        fused: whether AdamW runs as one kernel, which is faster and differs in rounding.
        warm_up: steps in which the learning rate rises; then it is constant.
        average: share of the averaged weights kept per step.
        measured: windows of a measure; noise and windows are the same each time.
        sample_steps: steps of the sampler for the pictures that every measure writes into
            ``samples``; 0 for none.
        restart: steps after which an unused entry of the bank is replaced.
        precision: accelerate's mixed precision.
        sharding: what each of several processes keeps of weights, gradients, averages and
            optimiser. ``none``: everything; ``full``: its share of each, gathered block by block.
        checkpointing: compute activations twice to save memory.
    """

    harmless: ClassVar[tuple[str, ...]] = (
        *TrainingConfig.harmless, "steps", "measured", "sample_steps", "sharding",
        "checkpointing",
    )  # fmt: skip

    labelled: Path
    priors: Path
    unlabelled: Path | None = None
    embedder: Path | None = None
    test: tuple[str, ...] = ()
    start: Literal["stock", "published"] = "stock"
    own_prior: float = 0.5
    temporal: bool = False
    frames: int = 25
    reference: Reference = "neutral"
    sigma_mean: float = 0.7
    sigma_spread: float = 1.6
    without_all: float = 0.1
    without_speech: float = 0.1
    without_emotion: float = 0.05
    padded: float = 0.2
    quantiser: float = 0.25
    discrimination: float = 0.05
    batch: int = 8
    rates: Mapping[str, float] = field(default_factory=dict)
    fused: bool = False
    warm_up: int = 500
    average: float = 0.9999
    measured: int = 16
    sample_steps: int = 10
    restart: int = 1000
    precision: Literal["no", "bf16", "fp16"] = "no"
    sharding: Literal["none", "full"] = "none"
    checkpointing: bool = False
    steps: int = 30_000
    learning_rate: float = 1e-5
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = [getattr(self, name) for name in WITHHELD]
        if min(shares) < 0 or sum(shares) > 1 or not 0 <= self.padded <= 1:
            raise InputError(
                f"{', '.join(WITHHELD)} are shares of one whole, and padded is a share; got "
                f"{', '.join(map(str, shares))} and {self.padded}."
            )
        if self.sharding == "full" and self.precision == "fp16":
            raise InputError("sharding = full needs the precision bf16 or no; got fp16.")
        unknown = set(self.rates) - set(PARTS)
        if unknown or any(rate < 0 for rate in self.rates.values()):
            raise InputError(
                f"rates are factors, at least 0, of {', '.join(PARTS)}; got {dict(self.rates)}."
            )


@dataclass(frozen=True, slots=True)
class Window:
    """A window of ``L`` frames.

    Attributes:
        latents: ``float32 (L, 4, h, w)``, scaled.
        reference: latent of the reference picture, not scaled, ``(1, 4, h, w)``.
        clip: CLIP's token of the reference picture, ``(1, 1, C)``.
        inside: frames that the clip has, ``bool (L,)``; after its end the last one is held.
        voice: Whisper's states around every frame, ``(L, 10, 5, C)``.
        mask: ``(1, 3, H, W)``, 0..1.
        prior: ``(P,)``.
        label: class, -1 for unlabelled clips.
    """

    latents: Tensor
    reference: Tensor
    clip: Tensor
    inside: Tensor
    voice: Tensor
    mask: Tensor
    prior: Tensor
    label: int


class WindowSampler:
    """Draws windows, half of them from unlabelled clips where there are any.

    Args:
        config: settings of the run.
        prior_size: numbers of a prior.
        widths: numbers that the nets take of a row of an array, by the array's name.

    Attributes:
        held_out: whether there is anybody to measure on who is not trained on.
        priors: by emotion.

    Raises:
        InputError: for data that cannot be used.
    """

    def __init__(
        self, config: DiffusionConfig, prior_size: int, widths: Mapping[str, int] | None = None
    ) -> None:
        self._config = config
        self._clips = ClipPool(config.labelled, config.unlabelled, config.test)
        self.held_out = self._clips.held_out
        self.priors = _read_priors(config.priors)
        wrong = {name: len(v) for name, v in self.priors.items() if len(v) != prior_size}
        if wrong:
            raise InputError(f"{config.priors} needs priors of {prior_size} numbers; got {wrong}.")
        missing = self._clips.emotions - set(self.priors)
        if missing:
            raise InputError(f"{config.priors} has no prior of {', '.join(sorted(missing))}.")
        self._embedder = _embedder(config.embedder, prior_size) if config.embedder else None
        self._embedded: dict[Path, Gaussian] = {}
        spec = None if self._embedder is None else self._embedder.spec
        own = {} if spec is None else {"voice": spec.audio, "face": spec.face}
        self._clips.check({**(widths or {}), **own})

    def draw(self, rng: np.random.Generator, *, held_out: bool = False) -> Window:
        """Draw one window, of a person trained on or held out."""
        return self._window(self._clips.draw(rng, held_out=held_out), rng)

    def _window(self, one: CachedClip, rng: np.random.Generator) -> Window:
        length = self._config.frames
        start = int(rng.integers(max(1, one.frames - length + 1)))
        wanted = np.arange(start, start + length)
        index = np.minimum(wanted, one.frames - 1)
        latents = one.read("latents", start, start + length)
        voice = audio_windows_at(
            torch.from_numpy(index), len(one.arrays["whisper"]),
            lambda a, b: _tensor(one.read("whisper", a, b)),
        )  # fmt: skip
        mask = torch.from_numpy(one.read("mask").astype(np.float32) / 255)
        reference, clip = self._reference(one, latents.shape[1:], index, rng)
        return Window(
            latents=_tensor(latents[index - start]),
            reference=reference,
            clip=clip,
            inside=torch.from_numpy(wanted == index),
            voice=voice,
            mask=mask[None, None].expand(1, 3, -1, -1),
            prior=torch.from_numpy(self._prior(one, rng)),
            label=one.label,
        )

    def _reference(
        self, one: CachedClip, shape: tuple[int, ...], window: np.ndarray, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw a picture of the person in a clip: its latent and CLIP's token."""
        kind = self._config.reference
        shown = self._clips.reference(one, kind, rng)
        frames = shown.read("reference_frames")
        if shown.arrays["latents"].shape[1:] != shape:
            raise InputError(
                f"{one.path} and {shown.path} show one person at different sizes; make both with "
                "the same --side."
            )
        choice = np.arange(len(frames))
        if shown is one and kind != "same":
            outside = np.flatnonzero(~np.isin(frames, window))
            choice = outside if len(outside) else choice
        which = int(choice[rng.integers(len(choice))])
        frame = int(frames[which])
        latent = _tensor(shown.read("latents", frame, frame + 1)) / SCALING_FACTOR
        return latent, _tensor(shown.read("clip_tokens", which, which + 1))[None]

    def _prior(self, one: CachedClip, rng: np.random.Generator) -> np.ndarray:
        own = rng.random() < self._config.own_prior
        if self._embedder is not None and (own or one.label == UNKNOWN):
            gaussian = self._gaussian(one, self._embedder)
            noise = torch.from_numpy(rng.normal(size=gaussian.mean.shape).astype(np.float32))
            out: np.ndarray = gaussian.sample(noise)[0].numpy()
            return out
        neutral = self.priors[NEUTRAL]
        if one.label == UNKNOWN:
            return neutral
        share = np.float32(one.level / LEVELS) if one.emotion != NEUTRAL else np.float32(1)
        return neutral + share * (self.priors[one.emotion] - neutral)

    def _gaussian(self, one: CachedClip, embedder: EmotionEmbedder) -> Gaussian:
        """Embed a clip the first time: that takes as long as reading ten windows of a minute."""
        if one.path not in self._embedded:
            given = (_tensor(one.read(name))[None] for name in ("voice", "face"))
            with torch.no_grad():
                self._embedded[one.path] = embedder(*given)
        return self._embedded[one.path]


def _tensor(values: Any) -> Tensor:  # noqa: ANN401
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def prior_size(folder: Path) -> int:
    """Read the size of the priors in a folder of ``EMOTION.npy``.

    Raises:
        InputError: when there are none.
    """
    return len(_read_priors(folder)[NEUTRAL])


def _read_priors(folder: Path) -> dict[str, np.ndarray]:
    found = {path.stem.lower(): read_prior(path) for path in sorted(folder.glob("*.npy"))}
    if NEUTRAL not in found:
        raise InputError(f"{folder} must hold EMOTION.npy files, neutral.npy among them.")
    return found


def _embedder(path: Path, size: int) -> EmotionEmbedder:
    net = load_embedder(path)
    if net.spec.width != size:
        raise InputError(f"{path} makes priors of {net.spec.width} numbers; {size} are needed.")
    return net
