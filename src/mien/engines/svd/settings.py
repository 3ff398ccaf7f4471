"""Settings of the SVD engine; importing them needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mien.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

FRAMES_PER_SECOND: Final = 12.5
"""Rate at which the UNet generates frames; the interpolator doubles it."""

UNCONDITIONED, IMAGE_ONLY, VOICE_ONLY, FULL = range(4)
"""Guidance branches: no conditioning; image latent and CLIP embedding; audio too; emotion too."""

BRANCHES_AT_ONCE: Final = 3
"""Guidance branches of a UNet call, as published."""

TOGETHER: Final = 10
"""Frames that are decoded together, as published."""

_WIDEST_CROP: Final = 5.0

_MULTIPLE: Final = 64
"""The sides of the frames are multiples of so many pixels."""


@dataclass(frozen=True, slots=True)
class Guidance:
    """Classifier-free guidance over three branches, or four.

    Attributes:
        image: weight of the reference image.
        audio: weight of the voice.
        emotion: weight of the emotion; one that differs from that of the voice takes a fourth
            branch, which has the voice and no emotion.
        start, end: the interval of steps (shares, 0..1) with guidance; outside it only the full
            branch is computed.
        every: steps from one computation of the guidance to the next; between them only the full
            branch is computed, and what guidance last added to it is added again.
    """

    image: float = 3.0
    audio: float = 6.0
    emotion: float = 6.0
    start: float = 0.0
    end: float = 1.0
    every: int = 1

    @property
    def branches(self) -> tuple[int, ...]:
        """The branches that are combined, in order."""
        between = () if self.audio == self.emotion else (VOICE_ONLY,)
        return (UNCONDITIONED, IMAGE_ONLY, *between, FULL)

    def covers(self, step: int, steps: int) -> bool:
        """Return whether a step is guided."""
        return self.start <= step / steps < self.end

    def combine(self, predicted: Tensor) -> Tensor:
        """Combine predictions of :attr:`branches` ``(3 or 4, ...)`` to ``(...)``.

        ``u + image (d - u) + audio (a - d) + emotion (c - a)``; where the last two weights are
        equal, ``a`` cancels out.
        """
        u, d, *between, c = predicted
        out = u + self.image * (d - u)
        if not between:
            return out + self.audio * (c - d)
        return out + self.audio * (between[0] - d) + self.emotion * (c - between[0])


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of frames that shift from step to step, so that long clips have no seams.

    Attributes:
        length: frames per UNet call.
        shift: frames by which the windows move from step to step.
        pad: frames added after the last one and dropped at the end.
    """

    length: int = 25
    shift: int = 7
    pad: int = 25

    def total(self, frames: int) -> int:
        """Return how many frames are generated for a clip of ``frames``."""
        return frames + self.pad

    def starts(self, frames: int, step: int) -> list[int]:
        """Return the first frame of every window at a step; may be negative."""
        moved = self.shift * step % self.length
        return [start - moved for start in range(0, self.total(frames), self.length)]

    def indices(self, frames: int, step: int) -> npt.NDArray[np.int64]:
        """Return the frames of every window ``(windows, length)``, wrapped around the end."""
        starts = np.array(self.starts(frames, step))
        return (starts[:, None] + np.arange(self.length)) % self.total(frames)

    def per_step(self, frames: int) -> int:
        """Return the number of windows of a step."""
        return -(-self.total(frames) // self.length)


def even_pad(frames: int, length: int) -> int:
    """Return the smallest padding with which no frame is generated twice."""
    return -frames % length


@dataclass(frozen=True, slots=True)
class Sampling:
    """How latents are sampled.

    Attributes:
        num_inference_steps: denoising steps.
        guidance, windows: see their classes.
        branches_at_once: guidance branches per UNet call, at most; 3 or 1.
        cache_interval: the UNet's deep levels are computed every so many steps (DeepCache).
        order: 1 takes Euler steps, as published; 2 takes those of DPM-Solver++ (2M, Lu et al.
            2022), which also use the prediction of the step before.
    """

    num_inference_steps: int = 25
    guidance: Guidance = field(default_factory=Guidance)
    windows: Windows = field(default_factory=Windows)
    branches_at_once: int = BRANCHES_AT_ONCE
    cache_interval: int = 1
    order: int = 1

    def guided(self, step: int) -> bool:
        """Return whether a step is guided."""
        return self.guidance.covers(step, self.num_inference_steps)

    def branches(self, step: int) -> tuple[int, ...]:
        """Return the branches that a step computes."""
        guidance = self.guidance
        first = ceil(guidance.start * self.num_inference_steps)
        computed = self.guided(step) and (step - first) % guidance.every == 0
        return guidance.branches if computed else (FULL,)

    def reuses(self, step: int) -> bool:
        """Return whether a step reuses deep features."""
        return step % self.cache_interval != 0


SPEED_PRESETS: Final[dict[str, Sampling]] = {
    "exact": Sampling(),
    "fewer": Sampling(num_inference_steps=15),
    "fast": Sampling(12, Guidance(start=0.1, end=0.75), cache_interval=2),
    "turbo": Sampling(9, Guidance(every=10), cache_interval=2, order=2),
}
"""Presets by name, from the published sampling to the fastest; ``docs/diffusion.md`` says what they
cost.
"""


@dataclass(frozen=True, slots=True)
class SvdSettings:
    """Settings of the SVD engine.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda[:N]`` or ``mps``.
        dtype: precision of UNet and decoder: ``auto``, ``fp32``, ``bf16``, ``fp16``.
        preset: one of :data:`SPEED_PRESETS`.
        num_inference_steps: denoising steps; None uses the preset's.
        image_guidance, audio_guidance, emotion_guidance: weights of the guidance by image, voice
            and emotion; different ones of voice and emotion take a third more work per guided step.
        audio_scale, emotion_scale: scales of the two attention streams.
        shorter_side: shorter side of the generated video, pixels; a multiple of 64.
        crop: cut the portrait to a square around the face's box grown by this share of it on every
            side, 0.5 in the published program; None: the whole picture.
        retrieval: attend to the emotion bank's nearest entry instead of all entries.
        clamp_mask: clamp the resampled face mask to 0..1; the published one overshoots.
        even_padding: pad with as few frames as leave none generated twice, instead of 25.
        interpolate: double 12.5 to 25 frames per second.
        branches_at_once: guidance branches per UNet call: 3, or 1 for a third of the memory.
        decode_chunk_size: frames of which the decoder's activations are held at once, 1 to 10; less
            takes less memory and gives the same picture.
        offload: keep idle networks on the CPU.
        embedder: file written by ``mien train dice-embedder``, for ``--like`` (mode V).
        allow_slow: run even if it is estimated to take long.
        max_memory_gb: limit of the device's memory, gigabytes; memory-saving options are chosen to
            fit it. None: no limit.
        windows: how a clip is divided.
        seed: of the noise. The published code draws more numbers, so its seeds differ.
    """

    device: str = "auto"
    dtype: str = "auto"
    preset: str = "exact"
    num_inference_steps: int | None = None
    image_guidance: float = 3.0
    audio_guidance: float = 6.0
    emotion_guidance: float = 6.0
    audio_scale: float = 1.0
    emotion_scale: float = 1.0
    shorter_side: int = 512
    crop: float | None = None
    retrieval: bool = False
    clamp_mask: bool = False
    even_padding: bool = False
    interpolate: bool = True
    branches_at_once: int = BRANCHES_AT_ONCE
    decode_chunk_size: int = TOGETHER
    offload: bool = False
    embedder: str | Path | None = None
    allow_slow: bool = False
    max_memory_gb: float | None = None
    seed: int = 0
    windows: Windows = field(default_factory=Windows)

    def sampling(self) -> Sampling:
        """Return how latents are sampled: the preset with these settings."""
        preset, steps = SPEED_PRESETS[self.preset], self.num_inference_steps
        return replace(
            preset,
            num_inference_steps=preset.num_inference_steps if steps is None else steps,
            guidance=replace(
                preset.guidance,
                image=self.image_guidance,
                audio=self.audio_guidance,
                emotion=self.emotion_guidance,
            ),
            windows=self.windows,
            branches_at_once=self.branches_at_once,
        )

    def check(self) -> None:
        """Refuse values that cannot be used.

        Raises:
            InputError: naming the setting.
        """
        if self.preset not in SPEED_PRESETS:
            valid = ", ".join(SPEED_PRESETS)
            raise InputError(f"There is no preset {self.preset!r}. Valid: {valid}.")
        for name, value, low, high in (
            ("number of steps", self.sampling().num_inference_steps, 1, 200),
            ("shorter side", self.shorter_side, 64, 2048),
            ("number of frames decoded at once", self.decode_chunk_size, 1, TOGETHER),
            ("image guidance", self.image_guidance, 0, 50),
            ("audio guidance", self.audio_guidance, 0, 50),
            ("emotion guidance", self.emotion_guidance, 0, 50),
            ("scale of the audio stream", self.audio_scale, 0, 5),
            ("scale of the emotion stream", self.emotion_scale, 0, 5),
            ("seed", self.seed, 0, 2**63 - 1),
        ):
            if not low <= value <= high:
                raise InputError(f"The {name} must be {low} to {high}; got {value}.")
        if self.shorter_side % _MULTIPLE:
            below = self.shorter_side // _MULTIPLE * _MULTIPLE
            raise InputError(
                f"The shorter side must be a multiple of {_MULTIPLE}; got {self.shorter_side}. The "
                f"nearest are {below} and {below + _MULTIPLE}."
            )
        if self.crop is not None and not 0 <= self.crop <= _WIDEST_CROP:
            raise InputError(
                f"The portrait can be cropped to the face's box grown by 0 to {_WIDEST_CROP:g} of "
                f"it; got {self.crop:g}."
            )
        if self.branches_at_once not in (1, BRANCHES_AT_ONCE):
            raise InputError(
                f"Guidance branches run 3 at once or 1 at a time; got {self.branches_at_once}."
            )
        if self.max_memory_gb is not None and self.max_memory_gb <= 0:
            raise InputError(f"The memory must be more than 0 gigabytes; got {self.max_memory_gb}.")
