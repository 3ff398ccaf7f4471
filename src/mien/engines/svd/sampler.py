"""From noise to latents: windows, three branches, Euler steps (dicetalk.md section 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from mien.engines.svd.conditioning import Conditioning, Stream
from mien.engines.svd.deep_cache import DeepFeatures
from mien.engines.svd.guidance import BRANCHES, FULL, PICTURED, UNCONDITIONED, Guidance
from mien.engines.svd.schedule import euler_scheduler
from mien.engines.svd.windows import Windows

TIME_IDS: Final = (12.5, 8.0, 16.0)
"""Frames a second, motion, second motion: what the published system tells the UNet."""

Step = Callable[[int, Tensor, Tensor], Tensor | None]
"""Called after a step with its number, its time and the latents; may return other latents."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a clip of N frames is made from.

    Attributes:
        latent: the picture's, not scaled, ``(1, 4, h, w)``.
        clip: CLIP's token ``(1, 1, C)``.
        audio, emotion: tables of tokens ``(K, T, C)``; the last entry is the unconditional one.
        heard, felt: entry of every frame, ``int64 (N,)``.
        mask: ``(1, 1, H, W)``.
        pose: the guider's feature ``(1, C, h, w)``.
        scales: of the two streams.
    """

    latent: Tensor
    clip: Tensor
    audio: Tensor
    emotion: Tensor
    heard: Tensor
    felt: Tensor
    mask: Tensor | None
    pose: Tensor | None
    scales: tuple[float, float] = (1.0, 1.0)

    @property
    def frames(self) -> int:
        """N."""
        return len(self.heard)

    def streams(self, branches: list[int], frames: Tensor) -> tuple[Stream, Stream]:
        """What branches hear and feel in a window; pad frames nothing."""
        out = []
        for table, rows, scale in (
            (self.audio, self.heard, self.scales[0]),
            (self.emotion, self.felt, self.scales[1]),
        ):
            nothing = torch.full_like(frames, len(table) - 1)
            inside = rows[frames.clamp(max=self.frames - 1)]
            given = torch.where(frames < self.frames, inside, nothing)
            chosen = [given if branch == FULL else nothing for branch in branches]
            out.append(Stream(table, torch.stack(chosen), scale))
        return out[0], out[1]


@dataclass(frozen=True, slots=True)
class Plan:
    """How the sampler goes about it.

    Attributes:
        steps, guidance, windows: see their types.
        branches_at_once: 3 or 1.
        reuse: every how many steps the UNet's deep part is computed.
    """

    steps: int = 25
    guidance: Guidance = field(default_factory=Guidance)
    windows: Windows = field(default_factory=Windows)
    branches_at_once: int = BRANCHES
    reuse: int = 1


def first_latents(latent: Tensor, noise: Tensor, steps: int, scaling: float) -> Tensor:
    """Where the sampler begins, ``(F, 4, h, w)``: the picture under the strongest noise."""
    scheduler = euler_scheduler()
    scheduler.set_timesteps(steps)
    start: Tensor = latent * scaling + noise * scheduler.sigmas[0].to(noise)
    return start


def sample(
    unet: Any,  # noqa: ANN401
    told: Conditioning,
    scene: Scene,
    latents: Tensor,
    plan: Plan,
    step_done: Step | None = None,
) -> Tensor:
    """Denoise ``latents (F, 4, h, w)``, F with the pad frames.

    The result is in the same precision as ``latents``; the UNet runs in its own.
    """
    scheduler = euler_scheduler()
    scheduler.set_timesteps(plan.steps)
    sigmas = scheduler.sigmas.to(latents.device)
    told.start(scene.streams([FULL], torch.zeros(1, dtype=torch.int64, device=latents.device)),
               scene.mask, scene.pose)  # fmt: skip
    deep = DeepFeatures(unet, plan.reuse)
    caller = _Caller(unet, told, scene, plan, deep)
    for step in range(plan.steps):
        sigma, after = sigmas[step], sigmas[step + 1]
        time = scheduler.timesteps[step].to(latents.device)
        total = torch.zeros_like(latents)
        seen = latents.new_zeros(len(latents), 1, 1, 1)
        deep.start(step)
        for frames in plan.windows.indices(scene.frames, step):
            index = torch.from_numpy(frames).to(latents.device)
            noisy = latents[index]
            said = caller.predict(noisy / (sigma**2 + 1).sqrt(), time, index, step)
            moved = euler_step(noisy, said, sigma, after)
            # A window longer than the clip meets frames twice.
            total.index_add_(0, index, moved)
            seen.index_add_(0, index, torch.ones_like(moved[:, :1, :1, :1]))
        latents = total / seen
        if step_done is not None:
            latents = _or(step_done(step, time, latents), latents)
    return latents


def euler_step(noisy: Tensor, said: Tensor, sigma: Tensor, after: Tensor) -> Tensor:
    """One step of v-prediction from noise level ``sigma`` to ``after``."""
    clean = said * (-sigma / (sigma**2 + 1).sqrt()) + noisy / (sigma**2 + 1)
    return noisy + (noisy - clean) / sigma * (after - sigma)


@dataclass(slots=True)
class _Caller:
    """Asks the UNet for a window's prediction."""

    unet: Any
    told: Conditioning
    scene: Scene
    plan: Plan
    deep: DeepFeatures

    def predict(self, scaled: Tensor, time: Tensor, frames: Tensor, step: int) -> Tensor:
        """Guided prediction for scaled latents ``(L, 4, h, w)``."""
        guidance = self.plan.guidance
        if not guidance.covers(step, self.plan.steps):
            return self._call([FULL], scaled, time, frames)[0]
        if self.plan.branches_at_once == BRANCHES:
            branches = [UNCONDITIONED, PICTURED, FULL]
            return guidance.combine(self._call(branches, scaled, time, frames))
        each = [self._call([b], scaled, time, frames) for b in range(BRANCHES)]
        return guidance.combine(torch.cat(each))

    def _call(self, branches: list[int], scaled: Tensor, time: Tensor, frames: Tensor) -> Tensor:
        scene, dtype = self.scene, next(self.unet.parameters()).dtype
        shown = [float(branch != UNCONDITIONED) for branch in branches]
        given = scaled.new_tensor(shown)[:, None, None, None, None]
        picture = scene.latent[None] * given
        picture = picture.expand(-1, len(frames), -1, -1, -1)
        both = torch.cat([scaled[None].expand(len(branches), -1, -1, -1, -1), picture], 2)
        clip = scene.clip * given[:, 0, 0]
        ids = scaled.new_tensor([TIME_IDS] * len(branches))
        self.told.streams = scene.streams(branches, frames)
        said = self.deep.call(
            both.to(dtype), time.to(dtype if dtype == torch.float64 else torch.float32),
            clip.to(dtype), ids.to(dtype), branches, frames,
        )  # fmt: skip
        return said.to(scaled.dtype)


def _or(given: Tensor | None, kept: Tensor) -> Tensor:
    return kept if given is None else given
