"""DICE-Talk as a pipeline in diffusers' manner: portrait, voice and emotion prior to frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.engines.svd.decoding import decode_latents
from mien.engines.svd.networks import SvdNetworks
from mien.engines.svd.preprocess import (
    HIDDEN_STATES,
    STATES_PER_FRAME,
    PreparedPortrait,
    audio_windows,
    hidden_states,
    whisper_encoder,
)
from mien.engines.svd.rife import MULTIPLE, FlowNet, double_frame_rate
from mien.engines.svd.sampler import (
    SCALING_FACTOR,
    CallEnd,
    ClipInputs,
    StepEnd,
    euler_scheduler,
    sample,
)
from mien.engines.svd.settings import TOGETHER, Sampling
from mien.errors import InputError
from mien.media.audio import Samples

_LATENT_PIXELS: Final = 8
"""Pixels per latent, along one side."""


@dataclass(frozen=True, slots=True)
class TalkOutput:
    """Output of the pipeline.

    Attributes:
        frames: ``float32 (N, 3, H, W)`` in 0..1, 12.5 per second.
        latents: ``(F, 4, H / 8, W / 8)``, pad frames included.
    """

    frames: Tensor
    latents: Tensor


class DiceTalkPipeline:
    """Generates clips.

    Args:
        networks: on one device, in one precision (:meth:`SvdNetworks.place`).
        scheduler: supplies sigmas and times; the published one by default.
        device: where networks run; by default where they are.
        offload: keep idle networks on the CPU.
    """

    def __init__(
        self,
        networks: SvdNetworks,
        scheduler: Any = None,  # noqa: ANN401 - a scheduler of diffusers
        device: torch.device | None = None,
        *,
        offload: bool = False,
    ) -> None:
        self.networks = networks
        self.scheduler = scheduler or euler_scheduler()
        self.device = device or next(networks.unet.parameters()).device
        self.dtype = _dtype(networks.unet)
        self._offload = offload

    def __call__(
        self,
        portrait: PreparedPortrait,
        voice: Tensor,
        prior: Tensor,
        *,
        sampling: Sampling | None = None,
        retrieval: bool = False,
        scales: tuple[float, float] = (1.0, 1.0),
        decode_chunk_size: int = TOGETHER,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
        callback_on_step_end: StepEnd | None = None,
        callback_on_call_end: CallEnd | None = None,
    ) -> TalkOutput:
        """Generate a clip of N frames.

        Args:
            portrait: see :func:`mien.engines.svd.preprocess.prepare_portrait`.
            voice: hidden states per frame, ``(N, 10, 5, C)`` (:meth:`encode_audio`).
            prior: emotion prior ``(256,)``, or one per frame ``(N, 256)``.
            sampling: steps, guidance, windows; the published ones by default.
            retrieval: attend to the bank's nearest entry instead of all entries.
            scales: of the audio and the emotion stream.
            decode_chunk_size: frames of which the decoder's activations are held at once.
            generator: makes the noise repeatable.
            noise: ``(F, 4, h, w)``, used instead of drawing it.
            callback_on_step_end: see :data:`mien.engines.svd.sampler.StepEnd`.
            callback_on_call_end: see :data:`mien.engines.svd.sampler.CallEnd`.

        Raises:
            InputError: for shapes that do not match.
        """
        sampling = sampling or Sampling()
        if sampling.num_inference_steps < 1 or decode_chunk_size < 1:
            raise InputError("There must be at least one step, and one frame decoded at once.")
        inputs = self.encode(portrait, voice, prior, retrieval=retrieval, scales=scales)
        latents = self.denoise(
            inputs, sampling, generator, noise, callback_on_step_end, callback_on_call_end
        )
        frames = torch.cat(list(self.decode(latents, inputs.frames, decode_chunk_size)))
        return TalkOutput(frames, latents)

    def _check(self, portrait: PreparedPortrait, voice: Tensor, prior: Tensor) -> None:
        """Refuse inputs that do not match the networks or each other."""
        networks = self.networks
        height, width = portrait.reference.shape[1:]
        multiple = _LATENT_PIXELS * 2 ** (len(networks.unet.config.block_out_channels) - 1)
        if height % multiple or width % multiple:
            raise InputError(
                f"The portrait's sides must be multiples of {multiple}; got {width} x {height}."
            )
        if portrait.mask.shape != portrait.reference.shape:
            raise InputError(
                f"Mask and portrait must have one size; got {portrait.mask.shape} and "
                f"{portrait.reference.shape}."
            )
        channels = networks.audio_projection.proj1.in_features // (STATES_PER_FRAME * HIDDEN_STATES)
        window = (STATES_PER_FRAME, HIDDEN_STATES, channels)
        if voice.ndim != 4 or tuple(voice.shape[1:]) != window:
            expected = ", ".join(map(str, window))
            raise InputError(f"The voice must be (N, {expected}); got {tuple(voice.shape)}.")
        if len(voice) < 1:
            raise InputError("The voice is empty: there is no frame to generate.")
        size = networks.emotion_bank.spec.prior
        if tuple(prior.shape) not in ((size,), (len(voice), size)):
            raise InputError(
                f"The prior must be ({size},) or ({len(voice)}, {size}); got {tuple(prior.shape)}."
            )

    def encode_audio(self, samples: Samples, frames: int) -> Tensor:
        """Encode a voice (16 kHz) as Whisper's hidden states per frame, ``(N, 10, 5, C)``."""
        with self._on_device("audio_encoder"):
            encode = whisper_encoder(self.networks.audio_encoder, self.device)
            return audio_windows(hidden_states(samples, encode).cpu(), frames)

    @torch.inference_mode()
    def encode(
        self,
        portrait: PreparedPortrait,
        voice: Tensor,
        prior: Tensor,
        *,
        retrieval: bool = False,
        scales: tuple[float, float] = (1.0, 1.0),
    ) -> ClipInputs:
        """Compute everything that is constant within a clip; each network runs once.

        Raises:
            InputError: for inputs that do not match the networks or each other.
        """
        self._check(portrait, voice, prior)
        networks, device = self.networks, self.device
        if prior.ndim == 1:
            priors, rows = prior[None], torch.zeros(len(voice), dtype=torch.int64)
        else:
            priors, rows = torch.unique(prior, dim=0, return_inverse=True)
        with self._on_device(
            "image_encoder", "vae", "audio_projection", "emotion_bank", "pose_guider"
        ):
            clip = torch.from_numpy(portrait.clip)[None].to(device, _dtype(networks.image_encoder))
            embedding = networks.image_encoder(clip).image_embeds[:, None]
            image = torch.from_numpy(portrait.reference)[None].to(device)
            image = image.to(_dtype(networks.vae.encoder))
            reference = networks.vae.encode(image).latent_dist.mode()
            states = voice.flatten(1).to(device, _dtype(networks.audio_projection))
            silence = torch.zeros_like(states[:1])
            audio = networks.audio_projection(torch.cat([states, silence]))
            emotion = self.emotion_tokens(priors, retrieval=retrieval)
            mask = torch.from_numpy(portrait.mask)[None].to(device, self.dtype)
            pose = networks.pose_guider(mask.to(_dtype(networks.pose_guider)))
        return ClipInputs(
            reference=reference,
            image_embedding=embedding.to(self.dtype),
            audio=audio.to(self.dtype),
            emotion=emotion.to(self.dtype),
            audio_rows=torch.arange(len(voice), device=device),
            emotion_rows=rows.to(device),
            mask=mask[:, :1],
            pose=pose.to(self.dtype),
            scales=scales,
        )

    def emotion_tokens(self, priors: Tensor, *, retrieval: bool = False) -> Tensor:
        """Compute tokens of priors ``(K, 256)`` and of no prior: ``(K + 1, T, C)``."""
        bank = self.networks.emotion_bank
        priors = priors.to(self.device, _dtype(bank))
        nothing = torch.zeros_like(priors[:1])
        tokens: Tensor = bank(torch.cat([priors, nothing]), retrieval=retrieval).tokens
        if retrieval:  # without a prompt the retrieved entry is zero, too
            dropped = torch.ones(1, dtype=torch.bool, device=self.device)
            tokens = tokens.clone()
            tokens[-1:] = bank(nothing, retrieval=True, dropped=dropped).tokens
        return tokens

    @torch.inference_mode()
    def denoise(
        self,
        inputs: ClipInputs,
        sampling: Sampling,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
        callback_on_step_end: StepEnd | None = None,
        callback_on_call_end: CallEnd | None = None,
    ) -> Tensor:
        """Sample the latents of a clip ``(F, 4, h, w)``, pad frames included."""
        shape = (sampling.windows.total(inputs.frames), *inputs.reference.shape[1:])
        if noise is None:
            noise = torch.randn(shape, generator=generator)  # on the CPU: the same everywhere
        if noise.shape != shape:
            raise InputError(f"The noise must be {shape}; got {tuple(noise.shape)}.")
        noise = noise.to(self.device, torch.promote_types(self.dtype, torch.float32))
        unet, conditioning = self.networks.unet, self.networks.conditioning
        with self._on_device("unet"):
            return sample(
                unet,
                conditioning,
                inputs,
                noise,
                sampling,
                self.scheduler,
                callback_on_step_end,
                callback_on_call_end,
            )

    @torch.inference_mode()
    def decode(
        self, latents: Tensor, frames: int, decode_chunk_size: int = TOGETHER
    ) -> Iterator[Tensor]:
        """Decode the first ``frames`` latents, ten together: ``(n, 3, H, W)`` in 0..1.

        Frames that are decoded together see each other; with fewer activations in memory at once
        (``decode_chunk_size``) they are the same. Pad frames alone are not decoded; the last ten
        stay whole.
        """
        vae = self.networks.vae
        with self._on_device("vae"):
            for start in range(0, frames, TOGETHER):
                some = (latents[start : start + TOGETHER] / SCALING_FACTOR).to(_dtype(vae.decoder))
                decoded = decode_latents(vae, some, decode_chunk_size)[: frames - start]
                yield (decoded.float() / 2 + 0.5).clamp(0, 1)

    def double(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Double the frame rate of chunks ``(n, 3, H, W)``; the very last frame is repeated.

        Without an interpolator the chunks pass unchanged.
        """
        net, last = self.networks.interpolator, None
        if net is None:
            yield from chunks
            return
        for chunk in chunks:
            doubled = self._interpolated(net, chunk if last is None else torch.cat([last, chunk]))
            yield doubled if last is None else doubled[1:]
            last = chunk[-1:]
        if last is not None:
            yield last

    def _interpolated(self, net: FlowNet, frames: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        padding = (0, -width % (2 * MULTIPLE), 0, -height % (2 * MULTIPLE))
        with torch.inference_mode(), self._on_device("interpolator"):
            padded = F.pad(frames, padding, mode="replicate")
            doubled = double_frame_rate(net, padded.to(self.device, _dtype(net)))
        return doubled[..., :height, :width].float().clamp(0, 1)

    @contextmanager
    def _on_device(self, *names: str) -> Iterator[None]:
        """Move networks to the device and, if offloading, back to the CPU."""
        if not self._offload:
            yield
            return
        modules = self.networks.modules()
        for name in names:
            modules[name].to(self.device)
        try:
            yield
        finally:
            for name in names:
                modules[name].to("cpu")
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


def _dtype(module: Any) -> torch.dtype:  # noqa: ANN401
    found: torch.dtype = next(module.parameters()).dtype
    return found
