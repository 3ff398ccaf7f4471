"""Settings of the SVD engine; importing them needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mien.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

FRAMES_PER_SECOND: Final = 12.5
"""Rate at which the UNet generates frames; the interpolator doubles it."""

UNCONDITIONED, IMAGE_ONLY, FULL = range(3)
"""Guidance branches: no conditioning; image latent and CLIP embedding; audio and emotion too."""

BRANCHES: Final = 3


@dataclass(frozen=True, slots=True)
class Guidance:
    """Classifier-free guidance over three branches.

    Attributes:
        image: weight of the reference image.
        speech: weight of voice and emotion.
        start, end: the interval of steps (shares, 0..1) with guidance; outside it only the full
            branch is computed.
    """

    image: float = 3.0
    speech: float = 6.0
    start: float = 0.0
    end: float = 1.0

    def covers(self, step: int, steps: int) -> bool:
        """Return whether a step is guided."""
        return self.start <= step / steps < self.end

    def combine(self, branches: Tensor) -> Tensor:
        """Combine ``(3, ...)`` to ``(...)``: ``u + image (d - u) + speech (c - d)``."""
        u, d, c = branches[UNCONDITIONED], branches[IMAGE_ONLY], branches[FULL]
        return u + self.image * (d - u) + self.speech * (c - d)


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
        branches_at_once: guidance branches per UNet call, 3 or 1.
        cache_interval: the UNet's deep levels are computed every so many steps (DeepCache).
    """

    num_inference_steps: int = 25
    guidance: Guidance = field(default_factory=Guidance)
    windows: Windows = field(default_factory=Windows)
    branches_at_once: int = BRANCHES
    cache_interval: int = 1


SPEED_PRESETS: Final[dict[str, Sampling]] = {
    "exact": Sampling(),
    "fewer": Sampling(num_inference_steps=15),
    "fast": Sampling(12, Guidance(start=0.1, end=0.75), cache_interval=2),
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
        image_guidance, speech_guidance: guidance weights of the image, and of voice and emotion.
        audio_scale, emotion_scale: scales of the two attention streams.
        shorter_side: shorter side of the generated video, pixels.
        retrieval: attend to the emotion bank's nearest entry instead of all entries.
        clamp_mask: clamp the resampled face mask to 0..1; the published one overshoots.
        even_padding: pad with as few frames as leave none generated twice, instead of 25.
        interpolate: double 12.5 to 25 frames per second.
        branches_at_once: guidance branches per UNet call: 3, or 1 for a third of the memory.
        decode_chunk_size: frames decoded at once.
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
    speech_guidance: float = 6.0
    audio_scale: float = 1.0
    emotion_scale: float = 1.0
    shorter_side: int = 512
    retrieval: bool = False
    clamp_mask: bool = False
    even_padding: bool = False
    interpolate: bool = True
    branches_at_once: int = BRANCHES
    decode_chunk_size: int = 10
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
                preset.guidance, image=self.image_guidance, speech=self.speech_guidance
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
            ("number of frames decoded at once", self.decode_chunk_size, 1, 250),
            ("image guidance", self.image_guidance, 0, 50),
            ("speech guidance", self.speech_guidance, 0, 50),
            ("scale of the audio stream", self.audio_scale, 0, 5),
            ("scale of the emotion stream", self.emotion_scale, 0, 5),
            ("seed", self.seed, 0, 2**63 - 1),
        ):
            if not low <= value <= high:
                raise InputError(f"The {name} must be {low} to {high}; got {value}.")
        if self.branches_at_once not in (1, BRANCHES):
            raise InputError(
                f"Guidance branches run 3 at once or 1 at a time; got {self.branches_at_once}."
            )
        if self.max_memory_gb is not None and self.max_memory_gb <= 0:
            raise InputError(f"The memory must be more than 0 gigabytes; got {self.max_memory_gb}.")
