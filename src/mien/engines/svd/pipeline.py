"""A portrait, a voice and an emotion to frames: DICE-Talk in the manner of diffusers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from mien.engines.svd.nets import SCALING, Nets
from mien.engines.svd.picture import Portrayed
from mien.engines.svd.sampler import Plan, Scene, first_latents, sample
from mien.engines.svd.voice import STATES, STEPS
from mien.errors import InputError

_LATENT: Final = 8
"""Pixels of a latent's side."""

StepEnd = Callable[[int, Tensor, dict[str, Tensor]], dict[str, Tensor] | None]
"""Called after a step with number, time and ``{"latents": ...}``; may return other latents."""


@dataclass(frozen=True, slots=True)
class TalkOutput:
    """What the pipeline makes.

    Attributes:
        frames: ``float32 (N, 3, H, W)`` in 0..1, 12.5 a second.
        latents: ``(F, 4, H / 8, W / 8)``, pad frames included.
    """

    frames: Tensor
    latents: Tensor


class DiceTalkPipeline:
    """Runs the nets.

    Args:
        nets: on one device, in one precision (:meth:`Nets.place`).
        device: where they work; where they are by default.
        offload: where nets wait while they do not work; None keeps them where they are.
    """

    def __init__(
        self,
        nets: Nets,
        device: torch.device | None = None,
        offload: torch.device | None = None,
    ) -> None:
        self.nets = nets
        self.device = device or next(nets.unet.parameters()).device
        self.dtype = next(nets.unet.parameters()).dtype
        self._offload = offload

    def __call__(
        self,
        portrait: Portrayed,
        voice: Tensor,
        prior: Tensor,
        *,
        plan: Plan | None = None,
        retrieval: bool = False,
        scales: tuple[float, float] = (1.0, 1.0),
        decode: int = 10,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
        callback_on_step_end: StepEnd | None = None,
    ) -> TalkOutput:
        """Make a clip.

        Args:
            portrait: see :func:`mien.engines.svd.picture.portrayed`.
            voice: what every frame hears, ``(N, 10, 5, C)``
                (:func:`mien.engines.svd.voice.windows`).
            prior: of the emotion, ``(256,)``, or one per frame ``(N, 256)``.
            plan: of the sampler.
            retrieval: ask the bank's nearest entry instead of all of them.
            scales: of the audio and the emotion stream.
            decode: frames decoded at once.
            generator: makes the noise repeatable.
            noise: ``(F, 4, h, w)`` instead of drawing it.
            callback_on_step_end: see :data:`StepEnd`.

        Raises:
            InputError: for shapes that do not fit.
        """
        plan = plan or Plan()
        self.check_inputs(portrait, voice, prior, plan, decode, noise)
        scene = self.scene(portrait, voice, prior, retrieval=retrieval, scales=scales)
        latents = self.denoise(
            scene, plan, generator=generator, noise=noise, callback_on_step_end=callback_on_step_end
        )
        frames = torch.cat(list(self.frames(latents, scene.frames, decode)))
        return TalkOutput(frames, latents)

    def check_inputs(
        self,
        portrait: Portrayed,
        voice: Tensor,
        prior: Tensor,
        plan: Plan,
        decode: int,
        noise: Tensor | None = None,
    ) -> None:
        """Refuse what cannot be made into a clip.

        Raises:
            InputError: saying what was expected and what came.
        """
        height, width = portrait.reference.shape[1:]
        multiple = self._multiple()
        if height % multiple or width % multiple:
            raise InputError(
                f"The portrait's sides must be multiples of {multiple}; got {width} x {height}."
            )
        if portrait.mask.shape != portrait.reference.shape:
            raise InputError(
                f"Mask and portrait must have one size; got {portrait.mask.shape} and "
                f"{portrait.reference.shape}."
            )
        channels = self.nets.audio.proj1.in_features // (STEPS * STATES)
        if voice.ndim != 4 or tuple(voice.shape[1:]) != (STEPS, STATES, channels):
            raise InputError(
                f"The voice must be (N, {STEPS}, {STATES}, {channels}); got {tuple(voice.shape)}."
            )
        if len(voice) < 1:
            raise InputError("The voice is empty: there is no frame to make.")
        size = self.nets.emotion.spec.prior
        if tuple(prior.shape) not in ((size,), (len(voice), size)):
            raise InputError(
                f"The prior must be ({size},) or ({len(voice)}, {size}); got {tuple(prior.shape)}."
            )
        total = plan.windows.total(len(voice))
        wanted = (total, 4, height // _LATENT, width // _LATENT)
        if noise is not None and tuple(noise.shape) != wanted:
            raise InputError(f"The noise must be {wanted}; got {tuple(noise.shape)}.")
        if plan.steps < 1 or decode < 1:
            raise InputError("There must be at least one step, and one frame decoded at once.")

    def _multiple(self) -> int:
        return _LATENT * 2 ** (len(self.nets.unet.config.block_out_channels) - 1)

    @torch.inference_mode()
    def scene(
        self,
        portrait: Portrayed,
        voice: Tensor,
        prior: Tensor,
        *,
        retrieval: bool = False,
        scales: tuple[float, float] = (1.0, 1.0),
    ) -> Scene:
        """Everything that stays the same while a clip is made, each net asked once."""
        nets, device = self.nets, self.device
        priors, felt = _distinct(prior, len(voice))
        with self.at_work("eye", "vae", "audio", "emotion", "guider"):
            seen = torch.from_numpy(portrait.clip)[None].to(device, _dtype(nets.eye))
            token = nets.eye(seen).image_embeds[:, None]
            reference = torch.from_numpy(portrait.reference)[None].to(device)
            latent = nets.vae.encode(reference.to(_dtype(nets.vae.encoder))).latent_dist.mode()
            audio = _tokens(nets.audio, voice.flatten(1).to(device, _dtype(nets.audio)))
            emotion = self.emotion_table(priors, retrieval=retrieval)
            mask = torch.from_numpy(portrait.mask)[None].to(device, self.dtype)
            pose = nets.guider(mask.to(_dtype(nets.guider)))
        return Scene(
            latent=latent,
            clip=token.to(self.dtype),
            audio=audio.to(self.dtype),
            emotion=emotion.to(self.dtype),
            heard=torch.arange(len(voice), device=device),
            felt=felt.to(device),
            mask=mask[:, :1],
            pose=pose.to(self.dtype),
            scales=scales,
        )

    def emotion_table(self, priors: Tensor, *, retrieval: bool = False) -> Tensor:
        """Emotion tokens of priors ``(K, 256)``, then of none: ``(K + 1, T, C)``."""
        bank = self.nets.emotion
        asked = priors.to(self.device, _dtype(bank))
        nothing = torch.zeros_like(asked[:1])
        told = bank(torch.cat([asked, nothing]), retrieval=retrieval)
        tokens: Tensor = told.tokens
        if retrieval:  # dropping a prompt silences the retrieved entry too
            mute = torch.ones(1, dtype=torch.bool, device=self.device)
            tokens = tokens.clone()
            tokens[-1:] = bank(nothing, retrieval=True, dropped=mute).tokens
        return tokens

    @torch.inference_mode()
    def denoise(
        self,
        scene: Scene,
        plan: Plan,
        *,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
        callback_on_step_end: StepEnd | None = None,
    ) -> Tensor:
        """Latents of a clip ``(F, 4, h, w)``, pad frames included."""
        shape = (plan.windows.total(scene.frames), *scene.latent.shape[1:])
        if noise is None:
            noise = torch.randn(shape, generator=generator)  # the same on every device
        wide = torch.float64 if self.dtype == torch.float64 else torch.float32
        noise = noise.to(self.device, wide)
        latents = first_latents(scene.latent.to(wide), noise, plan.steps, SCALING)

        def done(step: int, time: Tensor, now: Tensor) -> Tensor | None:
            if callback_on_step_end is None:
                return None
            answer = callback_on_step_end(step, time, {"latents": now})
            return answer.get("latents") if answer else None

        with self.at_work("unet"):
            return sample(self.nets.unet, self.nets.told, scene, latents, plan, done)

    @torch.inference_mode()
    def frames(self, latents: Tensor, count: int, decode: int = 10) -> Iterator[Tensor]:
        """Pictures of the first ``count`` latents, ``(n, 3, H, W)`` in 0..1, some at once.

        Pieces that hold pad frames alone are not decoded; the last piece is as long as it would be.
        """
        vae = self.nets.vae
        with self.at_work("vae"):
            for start in range(0, count, decode):
                some = (latents[start : start + decode] / SCALING).to(_dtype(vae.decoder))
                drawn = vae.decode(some, num_frames=len(some)).sample[: count - start]
                yield (drawn.float() / 2 + 0.5).clamp(0, 1)

    def at_work(self, *names: str) -> _AtWork:
        """A context in which nets are where they work."""
        return _AtWork(self.nets, names, self.device, self._offload)


class _AtWork:
    """Nets on the device while they are needed; elsewhere before and after, if asked for."""

    def __init__(
        self, nets: Nets, names: tuple[str, ...], device: torch.device, home: torch.device | None
    ) -> None:
        self._nets = [nets.modules()[name] for name in names]
        self._device, self._home = device, home

    def __enter__(self) -> None:
        if self._home is not None:
            for net in self._nets:
                net.to(self._device)

    def __exit__(self, *_: object) -> None:
        if self._home is not None:
            for net in self._nets:
                net.to(self._home)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()


def _tokens(net: Any, voice: Tensor) -> Tensor:  # noqa: ANN401
    """Audio tokens of all frames, and of silence as the last entry."""
    tokens: Tensor = net(torch.cat([voice, torch.zeros_like(voice[:1])]))
    return tokens


def _distinct(prior: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Distinct priors ``(K, 256)`` and which one every frame feels ``(N,)``."""
    if prior.ndim == 1:
        return prior[None], torch.zeros(frames, dtype=torch.int64)
    rows, index = torch.unique(prior, dim=0, return_inverse=True)
    return rows, index


def _dtype(net: Any) -> torch.dtype:  # noqa: ANN401
    found: torch.dtype = next(net.parameters()).dtype
    return found
