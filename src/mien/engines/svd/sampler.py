"""Sample latents: shifting windows, three guidance branches, Euler steps (arXiv 2504.18087)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from mien.engines.svd.attention import Conditioning, Stream
from mien.engines.svd.settings import BRANCHES, FULL, UNCONDITIONED, Sampling
from mien.engines.svd.unet import DeepCache

ADDED_TIME_IDS: Final = (12.5, 8.0, 16.0)
"""Frames per second and two motion values: the UNet's published micro-conditioning."""

SCALING_FACTOR: Final = 0.18215
"""Of the VAE's latents."""

StepEnd = Callable[[int, Tensor, dict[str, Tensor]], dict[str, Tensor] | None]
"""Called after a step with its number, its time and ``{"latents": (F, 4, h, w)}``; may return
other latents in the same form.
"""


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

    def streams(self, branches: list[int], frames: Tensor) -> tuple[Stream, ...]:
        """Return the streams of a window's branches; pad frames are unconditional."""
        out = []
        for table, rows, scale in (
            (self.audio, self.audio_rows, self.scales[0]),
            (self.emotion, self.emotion_rows, self.scales[1]),
        ):
            nothing = torch.full_like(frames, len(table) - 1)
            inside = rows[frames.clamp(max=self.frames - 1)]
            given = torch.where(frames < self.frames, inside, nothing)
            chosen = [given if branch == FULL else nothing for branch in branches]
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

    Returns:
        Latents ``(F, 4, h, w)`` in the precision of ``noise``; the UNet runs in its own.
    """
    steps, windows = sampling.num_inference_steps, sampling.windows
    scheduler = scheduler or euler_scheduler()
    scheduler.set_timesteps(steps)
    latents = inputs.reference.to(noise) * SCALING_FACTOR + noise * scheduler.sigmas[0].to(noise)
    sigmas = scheduler.sigmas.to(latents.device)
    conditioning.start((), inputs.mask, inputs.pose)
    predict = _Predictor(unet, conditioning, inputs, sampling)
    for step in range(steps):
        sigma, after = sigmas[step], sigmas[step + 1]
        time = scheduler.timesteps[step].to(latents.device)
        total = torch.zeros_like(latents)
        count = latents.new_zeros(len(latents), 1, 1, 1)
        for frames in windows.indices(inputs.frames, step):
            index = torch.from_numpy(frames).to(latents.device)
            noisy = latents[index]
            predicted = predict(noisy / (sigma**2 + 1).sqrt(), time, index, step)
            moved = euler_step(noisy, predicted, sigma, after)
            # A window longer than the clip contains frames twice.
            total.index_add_(0, index, moved)
            count.index_add_(0, index, torch.ones_like(moved[:, :1, :1, :1]))
        latents = total / count
        if callback_on_step_end is not None:
            answer = callback_on_step_end(step, time, {"latents": latents}) or {}
            latents = answer.get("latents", latents)
    return latents


def euler_step(noisy: Tensor, predicted: Tensor, sigma: Tensor, after: Tensor) -> Tensor:
    """Take one step of v-prediction from noise level ``sigma`` to ``after``."""
    clean = predicted * (-sigma / (sigma**2 + 1).sqrt()) + noisy / (sigma**2 + 1)
    return noisy + (noisy - clean) / sigma * (after - sigma)


class _Predictor:
    """The guided prediction for a window of scaled latents ``(L, 4, h, w)``."""

    def __init__(
        self, unet: Any, conditioning: Conditioning, inputs: ClipInputs, sampling: Sampling  # noqa: ANN401
    ) -> None:  # fmt: skip
        self._conditioning, self._inputs, self._sampling = conditioning, inputs, sampling
        self._cache = DeepCache(unet, sampling.cache_interval)
        self._dtype: torch.dtype = next(unet.parameters()).dtype

    def __call__(self, scaled: Tensor, time: Tensor, frames: Tensor, step: int) -> Tensor:
        sampling = self._sampling
        if not sampling.guidance.covers(step, sampling.num_inference_steps):
            return self._branches([FULL], scaled, time, frames, step)[0]
        branches = list(range(BRANCHES))
        calls = [branches] if sampling.branches_at_once == BRANCHES else [[b] for b in branches]
        predicted = [self._branches(call, scaled, time, frames, step) for call in calls]
        return sampling.guidance.combine(torch.cat(predicted))

    def _branches(
        self, branches: list[int], scaled: Tensor, time: Tensor, frames: Tensor, step: int
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
        return predicted.to(scaled.dtype)
