"""Sample latents: shifting windows, three guidance branches, Euler steps (arXiv 2504.18087)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from mien.engines.svd.attention import Conditioning, Stream
from mien.engines.svd.settings import FULL, UNCONDITIONED, VOICE_ONLY, Sampling
from mien.engines.svd.unet import DeepCache

ADDED_TIME_IDS: Final = (12.5, 8.0, 16.0)
"""Frames per second and two motion values: the UNet's published micro-conditioning."""

SCALING_FACTOR: Final = 0.18215
"""Of the VAE's latents."""

StepEnd = Callable[[int, Tensor, dict[str, Tensor]], dict[str, Tensor] | None]
"""Called after a step with its number, its time and ``{"latents": (F, 4, h, w)}``; may return
other latents in the same form.
"""


CallEnd = Callable[[int, int], None]
"""Called after a call of the UNet with the number of its step and of its guidance branches."""


@dataclass(frozen=True, slots=True)
class ClipInputs:
    """Encoded inputs of a clip of N frames.

    Attributes:
        reference: latent of the image, not scaled, ``(1, 4, h, w)``.
        image_embedding: CLIP's embedding ``(1, 1, C)``.
        audio, emotion: tables of tokens ``(K, T, C)``; the last entry is the unconditional one.
        audio_rows, emotion_rows: the entry of every frame, ``int64 (N,)``.
        mask: ``(1, 1, H, W)``.
        pose: the pose guider's feature ``(1, C, h, w)``.
        scales: of the audio and the emotion stream.
    """

    reference: Tensor
    image_embedding: Tensor
    audio: Tensor
    emotion: Tensor
    audio_rows: Tensor
    emotion_rows: Tensor
    mask: Tensor | None
    pose: Tensor | None
    scales: tuple[float, float] = (1.0, 1.0)

    @property
    def frames(self) -> int:
        """N."""
        return len(self.audio_rows)

    def streams(self, branches: Sequence[int], frames: Tensor) -> tuple[Stream, ...]:
        """Return the streams of a window's branches; pad frames are unconditional."""
        out = []
        for table, rows, scale, having in (
            (self.audio, self.audio_rows, self.scales[0], (VOICE_ONLY, FULL)),
            (self.emotion, self.emotion_rows, self.scales[1], (FULL,)),
        ):
            nothing = torch.full_like(frames, len(table) - 1)
            inside = rows[frames.clamp(max=self.frames - 1)]
            given = torch.where(frames < self.frames, inside, nothing)
            chosen = [given if branch in having else nothing for branch in branches]
            out.append(Stream(table, torch.stack(chosen), scale))
        return tuple(out)


def euler_scheduler() -> Any:  # noqa: ANN401 - diffusers' own type, imported lazily
    """Return the published scheduler: v-prediction, Karras sigmas 700 .. 0.002, continuous time."""
    from diffusers import EulerDiscreteScheduler

    return EulerDiscreteScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        interpolation_type="linear",
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
        timestep_spacing="leading",
        timestep_type="continuous",
        steps_offset=1,
    )


def sample(
    unet: Any,  # noqa: ANN401
    conditioning: Conditioning,
    inputs: ClipInputs,
    noise: Tensor,
    sampling: Sampling,
    scheduler: Any = None,  # noqa: ANN401
    callback_on_step_end: StepEnd | None = None,
    callback_on_call_end: CallEnd | None = None,
) -> Tensor:
    """Denoise a clip.

    Args:
        unet: predicts v.
        conditioning: the UNet's.
        inputs: of the clip.
        noise: ``(F, 4, h, w)``, F with the pad frames.
        sampling: steps, guidance, windows.
        scheduler: supplies sigmas and times of Euler steps; the published one by default.
        callback_on_step_end: see :data:`StepEnd`.
        callback_on_call_end: see :data:`CallEnd`.

    Returns:
        Latents ``(F, 4, h, w)`` in the precision of ``noise``; the UNet runs in its own.
    """
    steps, windows = sampling.num_inference_steps, sampling.windows
    scheduler = scheduler or euler_scheduler()
    scheduler.set_timesteps(steps)
    latents = inputs.reference.to(noise) * SCALING_FACTOR + noise * scheduler.sigmas[0].to(noise)
    sigmas = scheduler.sigmas.to(latents.device)
    conditioning.start((), inputs.mask, inputs.pose)
    predict = _Predictor(unet, conditioning, inputs, sampling, callback_on_call_end)
    before: tuple[Tensor, Tensor] | None = None
    for step in range(steps):
        sigma, after = sigmas[step], sigmas[step + 1]
        time = scheduler.timesteps[step].to(latents.device)
        total = torch.zeros_like(latents)
        count = latents.new_zeros(len(latents), 1, 1, 1)
        for frames in windows.indices(inputs.frames, step):
            index = torch.from_numpy(frames).to(latents.device)
            noisy = latents[index]
            predicted = predict(noisy / (sigma**2 + 1).sqrt(), time, index, step)
            clean = clean_latents(noisy, predicted, sigma)
            # A window longer than the clip contains frames twice.
            total.index_add_(0, index, clean)
            count.index_add_(0, index, torch.ones_like(clean[:, :1, :1, :1]))
        clean = total / count
        aim = clean
        if sampling.order == 2 and before is not None and after > 0:
            aim = _extrapolated(clean, sigma, after, *before)
        before = clean, sigma
        latents = latents + (latents - aim) / sigma * (after - sigma)
        if callback_on_step_end is not None:
            answer = callback_on_step_end(step, time, {"latents": latents}) or {}
            latents = answer.get("latents", latents)
    return latents


def clean_latents(noisy: Tensor, predicted: Tensor, sigma: Tensor) -> Tensor:
    """Return the clean latents that a prediction of v means at noise level ``sigma``."""
    return predicted * (-sigma / (sigma**2 + 1).sqrt()) + noisy / (sigma**2 + 1)


def _extrapolated(
    clean: Tensor, sigma: Tensor, after: Tensor, former: Tensor, former_sigma: Tensor
) -> Tensor:
    """Return where a step aims, from the clean latents predicted in it and in the one before."""
    share = (sigma / after).log() / (former_sigma / sigma).log() / 2
    return clean + share * (clean - former)


class _Predictor:
    """The guided prediction for a window of scaled latents ``(L, 4, h, w)``."""

    def __init__(
        self,
        unet: Any,  # noqa: ANN401
        conditioning: Conditioning,
        inputs: ClipInputs,
        sampling: Sampling,
        call_end: CallEnd | None,
    ) -> None:
        self._conditioning, self._inputs, self._sampling = conditioning, inputs, sampling
        self._cache = DeepCache(unet, sampling.cache_interval)
        self._dtype: torch.dtype = next(unet.parameters()).dtype
        self._call_end = call_end
        self._added: dict[int, Tensor] = {}
        """What guidance last added to the prediction of a frame."""

    def __call__(self, scaled: Tensor, time: Tensor, frames: Tensor, step: int) -> Tensor:
        sampling = self._sampling
        wanted, size = sampling.branches(step), sampling.branches_at_once
        predicted = torch.cat(
            [
                self._branches(wanted[first : first + size], scaled, time, frames, step)
                for first in range(0, len(wanted), size)
            ]
        )
        full = predicted[-1]
        numbers = frames.tolist()
        if len(wanted) > 1:
            out = sampling.guidance.combine(predicted)
            if sampling.guidance.every > 1:
                self._added.update(zip(numbers, out - full, strict=True))
            return out
        if not sampling.guided(step):
            return full
        return full + torch.stack([self._added[number] for number in numbers])

    def _branches(
        self, branches: Sequence[int], scaled: Tensor, time: Tensor, frames: Tensor, step: int
    ) -> Tensor:
        inputs, dtype = self._inputs, self._dtype
        shown = [float(branch != UNCONDITIONED) for branch in branches]
        given = scaled.new_tensor(shown)[:, None, None, None, None]
        reference = (inputs.reference[None] * given).expand(-1, len(frames), -1, -1, -1)
        both = torch.cat([scaled[None].expand(len(branches), -1, -1, -1, -1), reference], 2)
        image_embedding = inputs.image_embedding * given[:, 0, 0]
        time_ids = scaled.new_tensor([ADDED_TIME_IDS] * len(branches))
        self._conditioning.streams = inputs.streams(branches, frames)
        predicted = self._cache.predict(
            both.to(dtype), time.to(torch.promote_types(dtype, torch.float32)),
            image_embedding.to(dtype), time_ids.to(dtype),
            step=step, branches=branches, frames=frames,
        )  # fmt: skip
        if self._call_end is not None:
            self._call_end(step, len(branches))
        return predicted.to(scaled.dtype)
