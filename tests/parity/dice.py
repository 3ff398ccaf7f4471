"""Cases of DICE-Talk: conditioning, the UNet with adapters, the pipeline, interpolation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from mien.dicetalk.bank import BankSpec, EmotionBank, TokenNet
from mien.engines.svd.attention import AdapterAttention, Conditioning, Stream
from mien.engines.svd.preprocess import audio_windows, prepare_portrait
from mien.engines.svd.rife import FlowNet
from mien.engines.svd.sampler import (
    ADDED_TIME_IDS,
    SCALING_FACTOR,
    ClipInputs,
    euler_scheduler,
    sample,
)
from mien.engines.svd.settings import Guidance, Sampling, Windows
from mien.engines.svd.unet import PoseGuider, build_unet

from ..svd import PlainAdapterAttention
from .compare import SPECS, Case, Output, Seeded, Tolerance

Golden = Mapping[str, Any]
Outputs = Iterator[tuple[str, Output]]


def emotion(made: Seeded, golden: Golden) -> Outputs:
    bank = EmotionBank(BankSpec())
    bank.load_state_dict(made.weights("dice_emo_model"))
    bank.to(made.dtype).eval()
    assert bank.classifier is not None
    prior = made.fill("dice.mu", (2, 3, 1, 1, 256), 0.85)
    rows = prior[:, :, 0, 0]
    dropped = torch.from_numpy(golden["prompt_mask"]).bool()
    found = bank(rows, retrieval=True)
    yield "query_tokens", bank.emo_linear(rows)
    yield "tokens_retrieval", found.tokens
    yield "quantised", found.quantised.value
    yield "codes", found.quantised.codes
    yield "vq_loss", found.loss
    everything = bank(rows)
    yield "tokens_full_bank", everything.tokens
    yield "vq_loss_full_bank", everything.loss
    yield "tokens_retrieval_masked", bank(rows, retrieval=True, dropped=dropped).tokens
    yield "tokens_unconditional", bank(torch.zeros_like(rows[:1, :1])).tokens
    yield "classifier", bank.classifier(made.fill("dice.feature", (3, 1280, 8, 8)))


def audio_tokens(made: Seeded, golden: Golden) -> Outputs:
    net = TokenNet(10 * 5 * 384)
    net.load_state_dict(made.weights("dice_audio_linear"))
    net.to(made.dtype)
    states = audio_windows(made.fill("dice.whisper_hidden", (1, 26, 5, 384))[0, :18])
    yield "audio_tokens", net(states.flatten(1))
    yield "audio_tokens_unconditional", net(torch.zeros(10 * 5 * 384, dtype=made.dtype))
    yield "audio_windows_sum", states.sum((1, 2, 3))


def pose(made: Seeded, golden: Golden) -> Outputs:
    net = PoseGuider()
    net.load_state_dict(made.weights("dice_pose_guider"))
    mask = torch.zeros(2, 3, 64, 96, dtype=made.dtype)
    mask[0, :, 16:50, 20:70] = 1
    mask[1] = made.image("dice.pose_mask", 64, 96)[0] / 2 + 0.5
    yield "pose_features", net.to(made.dtype)(mask).transpose(0, 1)[None]


def adapter(made: Seeded, golden: Golden) -> Outputs:
    from diffusers.models.attention_processor import Attention

    attn = Attention(64, 96, heads=2, dim_head=32).to(made.dtype)
    narrow = 96**-0.5
    attn.to_q.weight.copy_(made.fill("adapter.to_q", (64, 64), 1 / 8))
    attn.to_k.weight.copy_(made.fill("adapter.to_k", (64, 96), narrow))
    attn.to_v.weight.copy_(made.fill("adapter.to_v", (64, 96), narrow))
    attn.to_out[0].weight.copy_(made.fill("adapter.to_out", (64, 64), 1 / 8))
    attn.to_out[0].bias.copy_(made.fill("adapter.to_out_bias", (64,), 0.1))
    mask = torch.zeros(1, 1, 48, 80, dtype=made.dtype)
    mask[..., 9:37, 13:55] = 1
    tokens = [made.fill(f"adapter.{name}", (5, 32, 96)) for name in ("audio", "emotion")]
    streams = tuple(Stream(one, torch.arange(5)[None]) for one in tokens)
    clip = made.fill("adapter.clip", (5, 1, 96))
    yield "adapter_mask_6x10", _conditioning(streams, mask).mask_for(60, made.dtype)
    for kind in (AdapterAttention, PlainAdapterAttention):
        for name, temporal, given, where, first in (
            ("adapter_spatial_masked", False, "spatial_x", mask, clip),
            ("adapter_spatial_unmasked", False, "spatial_x", None, clip),
            ("adapter_temporal", True, "temporal_x", mask, clip.mean(0).expand(16, 1, 96)),
        ):
            processor = kind(64, 96, _conditioning(streams, where), temporal=temporal).to(
                made.dtype
            )
            for i in (0, 1):
                key = made.fill(f"adapter.to_k_ip.{i}", (64, 96), narrow)
                value = made.fill(f"adapter.to_v_ip.{i}", (64, 96), narrow)
                processor.to_k_ip[i].weight.copy_(key)
                processor.to_v_ip[i].weight.copy_(value)
            shape = (16, 5, 64) if temporal else (5, 60, 64)
            yield name, processor(attn, made.fill(f"adapter.{given}", shape), first)


def _conditioning(streams: tuple[Stream, ...], mask: torch.Tensor | None) -> Conditioning:
    conditioning = Conditioning()
    conditioning.start(streams, mask, None)
    return conditioning


def schedule(made: Seeded, golden: Golden) -> Outputs:
    for steps in (25, 15, 12, 2):
        scheduler = euler_scheduler()
        scheduler.set_timesteps(steps)
        yield f"sigmas_{steps}", scheduler.sigmas
        yield f"timesteps_{steps}", scheduler.timesteps
        yield f"init_noise_sigma_{steps}", scheduler.init_noise_sigma
    sample = made.fill("dice.step_sample", (1, 3, 4, 8, 8))
    output = made.fill("dice.step_output", (1, 3, 4, 8, 8))
    for i in (0, 10, 24):
        scheduler = euler_scheduler()
        scheduler.set_timesteps(25)
        noisy, time = sample * scheduler.sigmas[i], scheduler.timesteps[i]
        yield f"scaled_input_{i}", scheduler.scale_model_input(noisy, time)
        yield f"step_{i}", scheduler.step(output, time, noisy).prev_sample


def guidance(made: Seeded, golden: Golden) -> Outputs:
    names = ("uncond", "image", "full")
    branches = torch.stack([made.fill(f"dice.guidance.{n}", (2, 4, 8, 8)) for n in names])
    yield "guided_3_6", Guidance().combine(branches)
    yield "added_time_ids", np.array([ADDED_TIME_IDS] * 3)


def tiny_unet(made: Seeded, golden: Golden) -> Outputs:
    for kind in (AdapterAttention, PlainAdapterAttention):
        net, conditioning = tiny_net(made, kind)
        ids = torch.tensor([[12.5, 8, 16]] * 3, dtype=made.dtype)
        clip = made.fill("tiny.clip", (1, 1, 1024))
        audio = torch.cat(
            [
                made.fill("tiny.audio", (5, 32, 1024)),
                made.fill("tiny.audio_uncond", (32, 1024))[None],
            ]
        )
        emotion = torch.stack(
            [made.fill(name, (32, 1024)) for name in ("tiny.emotion", "tiny.emotion_uncond")]
        )
        streams = (
            Stream(audio, torch.tensor([[5] * 5, [5] * 5, [0, 1, 2, 3, 4]])),
            Stream(emotion, torch.tensor([[1] * 5, [1] * 5, [0] * 5])),
        )
        mask = torch.zeros(1, 1, 128, 128, dtype=made.dtype)
        mask[..., 32:96, 40:100] = 1
        feature = made.fill("tiny.pose_feature", (1, 5, 32, 16, 16), 0.5)[0].repeat(3, 1, 1, 1)
        latents = made.fill("tiny.latents", (3, 5, 8, 16, 16))
        seen = torch.cat([torch.zeros_like(clip), clip, clip])
        for name, where in (("output", mask), ("output_without_mask_fp32", None)):
            if "fp32" in name and made.dtype != torch.float32:
                continue
            conditioning.start(streams, where, feature)
            predicted = net(latents, torch.tensor(0.9, dtype=made.dtype), seen, ids).sample
            yield name, predicted
            if name == "output":
                yield "guided", Guidance().combine(predicted)[None]


def config_of(spec: str) -> dict[str, Any]:
    """Return the configuration in a specification's note."""
    note = json.loads((SPECS / f"{spec}.json").read_text("utf-8"))["_note"]
    found: dict[str, Any] = json.loads(note.partition("config: ")[2])
    return found


def tiny_net(
    made: Seeded, adapter: type[AdapterAttention] = AdapterAttention
) -> tuple[Any, Conditioning]:
    """Return the tiny UNet with its recorded weights."""
    net, conditioning = build_unet(config_of("dice_unet_tiny"), adapter)
    net.load_state_dict(made.weights("dice_unet_tiny"))
    return net.to(made.dtype).eval(), conditioning


def preprocess(made: Seeded, golden: Golden) -> Outputs:
    table = json.loads((SPECS / "dice_preprocess.json").read_text("utf-8"))
    for i in range(6):
        width, height = table[i]["image_wh"]
        values = made.image(f"preprocess.{i}", height, width)[0].permute(1, 2, 0).numpy()
        image = np.round((values + 1) * 127.5).astype(np.uint8)
        found = prepare_portrait(image, tuple(table[i]["box_xywh"]), mask_scale=table[i]["area"])
        yield f"face_mask_{i}", found.mask[0]
        yield f"reference_{i}", found.reference
        yield f"clip_{i}", found.clip


def tiny_inputs(made: Seeded, vae: Any, guider: PoseGuider) -> ClipInputs:
    """Return the recorded inputs of seven frames."""
    mask = torch.zeros(1, 3, 64, 64)
    mask[..., 12:50, 16:52] = 1
    voice = [made.fill(f"pipe.audio.{i}", (32, 1024)) for i in range(7)]
    emotion = [made.fill(name, (32, 1024)) for name in ("pipe.emotion", "pipe.emotion_uncond")]
    return ClipInputs(
        reference=vae.encode(made.image("pipe.reference", 64, 64)).latent_dist.mode(),
        image_embedding=made.fill("pipe.clip", (1, 1024))[None],
        audio=torch.stack([*voice, made.fill("pipe.audio_uncond", (32, 1024))]),
        emotion=torch.stack(emotion),
        audio_rows=torch.arange(7),
        emotion_rows=torch.zeros(7, dtype=torch.int64),
        mask=mask[:, :1],
        pose=guider(mask),
    )


def tiny_pipeline(made: Seeded, golden: Golden) -> Outputs:
    from diffusers import AutoencoderKLTemporalDecoder

    vae = AutoencoderKLTemporalDecoder(**config_of("dice_vae_tiny"))
    vae.load_state_dict(made.weights("dice_vae_tiny"))
    guider = PoseGuider(32)
    guider.load_state_dict(made.weights("dice_pose_guider_tiny"))
    noise = made.fill("pipe.noise", (1, 12, 4, 8, 8))[0]
    inputs = tiny_inputs(made, vae, guider)
    yield "reference_latent_mean", inputs.reference
    for at_once in (3, 1):
        net, conditioning = tiny_net(made)
        sampling = Sampling(4, windows=Windows(5, 2, 5), branches_at_once=at_once)
        latents = sample(net, conditioning, inputs, noise, sampling)
        yield "latents", latents[None]
        # The recorded pieces hold all frames; the first seven are compared.
        frames = vae.decode(latents[:10] / SCALING_FACTOR, num_frames=10).sample[:7]
        yield "frames", frames.transpose(0, 1)[None]


def between(made: Seeded, golden: Golden) -> Outputs:
    net = FlowNet()
    weights = made.weights("rife_flownet")
    net.load_state_dict({k: v for k, v in weights.items() if not k.startswith("block_tea.")})
    first = made.image("rife.first", 64, 96) / 2 + 0.5
    found = net.to(made.dtype)(first, first.roll((2, 3), (2, 3)))
    yield "flow", found.flow
    yield "blend_mask", found.mask
    yield "middle_fp32" if made.dtype == torch.float32 else "middle", found.middle


CASES = (
    Case("dice_emotion", "fp64", emotion, {"": Tolerance(1e-6)}),
    Case("dice_emotion", "fp32", emotion, {"": Tolerance(2e-5)}),
    *(
        Case("dice_conditioning", precision, run, {"": Tolerance(most)})
        for run, fp64, fp32 in (
            (audio_tokens, 1e-6, 5e-5),
            (pose, 1e-6, 5e-5),
            (adapter, 1e-6, 1e-5),
            (guidance, 1e-9, 1e-5),
        )
        for precision, most in (("fp64", fp64), ("fp32", fp32))
    ),
    Case("dice_conditioning", "fp32", schedule, {"": Tolerance(1e-5, relative=True)}),
    Case("dice_unet_tiny", "fp64", tiny_unet, {"": Tolerance(1e-6)}),
    Case("dice_unet_tiny", "fp32", tiny_unet, {"": Tolerance(5e-5), "guided": Tolerance(5e-4)}),
    Case(
        "dice_preprocess", "fp32", preprocess, {"": Tolerance(1 / 255), "clip": Tolerance(4 / 255)}
    ),
    Case(
        "dice_pipeline_tiny",
        "fp32",
        tiny_pipeline,
        {"": Tolerance(1e-3, 1e-4)},
    ),
    Case("rife", "fp64", between, {"": Tolerance(1e-6)}),
    Case("rife", "fp32", between, {"": Tolerance(2e-5)}),
)
