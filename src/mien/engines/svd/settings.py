"""How the SVD engine runs; needs no PyTorch to be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mien.engines.svd.guidance import Guidance
from mien.engines.svd.windows import Windows
from mien.errors import InputError

PUBLISHED_STEPS: Final = 25
PUBLISHED_SIDE: Final = 512


@dataclass(frozen=True, slots=True)
class Preset:
    """What is given up for speed.

    Attributes:
        about: one line.
        steps: of the sampler.
        guided: share of the steps (first, last) in which all three branches are asked.
        reuse: every how many steps the UNet's deep part is computed; 1 always.
    """

    about: str
    steps: int = PUBLISHED_STEPS
    guided: tuple[float, float] = (0.0, 1.0)
    reuse: int = 1


PRESETS: Final[dict[str, Preset]] = {
    "exact": Preset("the published result"),
    "fewer": Preset("15 steps", steps=15),
    "fast": Preset(
        "12 steps, guidance in the middle ones, deep features every second one",
        steps=12,
        guided=(0.1, 0.75),
        reuse=2,
    ),
}
"""Names of presets; ``docs/published.md`` says what they cost."""


@dataclass(frozen=True, slots=True)
class SvdSettings:
    """How the engine runs.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda[:N]`` or ``mps``.
        dtype: precision of UNet and decoder: ``auto``, ``fp32``, ``bf16``, ``fp16``.
        preset: one of :data:`PRESETS`.
        steps: of the sampler; the preset's when None.
        image_guidance, speech_guidance: weights of the guidance (picture; voice and emotion).
        audio_scale, emotion_scale: scales of the two streams of attention.
        side: shorter side that is made, pixels.
        retrieval: ask the emotion bank's nearest entry instead of all of them.
        clamp: keep the face mask in 0..1 in the attention's grids; the published one rings over.
        even: pad with as few frames as leave none to be made twice, instead of 25.
        interpolate: double 12.5 to 25 frames a second.
        branches_at_once: 3, or 1 for a third of the memory.
        decode: frames decoded at once.
        offload: keep nets off the device while they do not work.
        embedder: file of ``mien train dice-embedder``, for ``--like`` (mode V).
        patient: go ahead although it will take long on this device.
        memory: most gigabytes of the device to use; levers are chosen for it. None: no limit.
        windows: how a clip is cut.
        seed: of the noise. Seeds are not those of the published code, which draws more.
    """

    device: str = "auto"
    dtype: str = "auto"
    preset: str = "exact"
    steps: int | None = None
    image_guidance: float = 3.0
    speech_guidance: float = 6.0
    audio_scale: float = 1.0
    emotion_scale: float = 1.0
    side: int = PUBLISHED_SIDE
    retrieval: bool = False
    clamp: bool = False
    even: bool = False
    interpolate: bool = True
    branches_at_once: int = 3
    decode: int = 10
    offload: bool = False
    embedder: str | Path | None = None
    patient: bool = False
    memory: float | None = None
    seed: int = 0
    windows: Windows = field(default_factory=Windows)

    def guidance(self) -> Guidance:
        """Weights of the guidance, and the steps in which it is asked for."""
        low, high = PRESETS[self.preset].guided
        return Guidance(self.image_guidance, self.speech_guidance, low, high)

    def check(self) -> None:
        """Refuse what cannot be done.

        Raises:
            InputError: naming the setting.
        """
        if self.preset not in PRESETS:
            raise InputError(f"There is no preset {self.preset!r}. Valid: {', '.join(PRESETS)}.")
        for name, value, low, high in (
            ("number of steps", self.number_of_steps, 1, 200),
            ("shorter side", self.side, 64, 2048),
            ("number of frames decoded at once", self.decode, 1, 250),
            ("weight of the picture", self.image_guidance, 0, 50),
            ("weight of the speech", self.speech_guidance, 0, 50),
            ("scale of the audio stream", self.audio_scale, 0, 5),
            ("scale of the emotion stream", self.emotion_scale, 0, 5),
            ("seed", self.seed, 0, 2**63 - 1),
        ):
            if not low <= value <= high:
                raise InputError(f"The {name} must be {low} to {high}; got {value}.")
        if self.branches_at_once not in (1, 3):
            raise InputError(
                f"Branches are drawn 3 at once or 1 after the other; got {self.branches_at_once}."
            )
        if self.memory is not None and self.memory <= 0:
            raise InputError(f"The memory must be a number of gigabytes; got {self.memory}.")

    @property
    def number_of_steps(self) -> int:
        """Steps of the sampler."""
        return PRESETS[self.preset].steps if self.steps is None else self.steps
