"""A tiny SVD engine with random weights in published files; adapters as published."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from mien.dicetalk.bank import BankSpec, EmotionBank, TokenNet
from mien.engines.published_checkpoints import convert_file
from mien.engines.svd.attention import AdapterAttention
from mien.engines.svd.rife import FlowNet
from mien.engines.svd.unet import ADAPTER, PoseGuider, build_unet
from mien.weights.manifest import (
    ADAPTERS,
    AUDIO,
    AUDIO_ENCODER,
    BANK,
    GUIDER,
    IMAGE_ENCODER,
    INTERPOLATOR,
    PRIORS,
    UNET,
    VAE,
    entry,
)
from mien.weights.store import Store

UNET_SIZES: dict[str, Any] = {
    "in_channels": 8,
    "out_channels": 4,
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
    "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
    "layers_per_block": 1,
    "cross_attention_dim": 64,
    "num_attention_heads": (1, 1),
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 96,
}
CLIP_SIZES = {
    "hidden_size": 80, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 1,
    "image_size": 224, "patch_size": 56, "projection_dim": 64, "hidden_act": "gelu",
}  # fmt: skip
WHISPER_SIZES = {
    "d_model": 64, "encoder_layers": 4, "encoder_attention_heads": 1, "encoder_ffn_dim": 64,
}  # fmt: skip
VAE_SIZES: dict[str, Any] = {
    "block_out_channels": (32, 32, 64, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "layers_per_block": 1,
}
NAMES = ("neutral", "happy", "angry", "sad")
PRIOR = 16
SIZES: dict[str, dict[str, Any]] = {
    UNET: UNET_SIZES,
    ADAPTERS: UNET_SIZES,
    VAE: VAE_SIZES,
    IMAGE_ENCODER: CLIP_SIZES,
    AUDIO_ENCODER: WHISPER_SIZES,
    AUDIO: {"inputs": 10 * 5 * 64, "width": 64, "tokens": 4},
    BANK: {"prior": PRIOR, "width": 64, "tokens": 4, "entries": 8, "heads": 1, "feature": 64,
           "hidden": (16, 8)},
    GUIDER: {"channels": 32},
}  # fmt: skip
"""Sizes that differ from the published ones, by name in the manifest."""


def published_files(folder: Path) -> dict[str, Path]:
    """Write every file as its authors publish it; paths by name in the manifest."""
    from diffusers import AutoencoderKLTemporalDecoder
    from transformers import (
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
        WhisperConfig,
        WhisperModel,
    )

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    unet, _ = build_unet(UNET_SIZES)
    weights = unet.state_dict()
    stock = {name: value for name, value in weights.items() if ADAPTER not in name}
    vae = AutoencoderKLTemporalDecoder(**VAE_SIZES)
    image_encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**CLIP_SIZES))
    whisper = WhisperModel(
        WhisperConfig(
            **WHISPER_SIZES, decoder_layers=1, decoder_attention_heads=1, decoder_ffn_dim=64,
            vocab_size=16, pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=0,
        )
    )  # fmt: skip
    bank = EmotionBank(BankSpec(**SIZES[BANK]))
    audio = TokenNet(**SIZES[AUDIO])
    guider = PoseGuider(**SIZES[GUIDER])
    torch.nn.init.normal_(guider.conv_out.weight, std=0.02)
    flow = {f"module.{name}": value for name, value in FlowNet().state_dict().items()}
    flow["module.block_tea.conv0.weight"] = torch.zeros(2)
    priors = folder / "priors"
    priors.mkdir()
    rng = np.random.default_rng(0)
    for name in NAMES:
        mean = {"mu": rng.normal(0, 0.85, (1, PRIOR)).astype(np.float32)}
        np.save(priors / f"{name}.npy", np.array(mean, dtype=object), allow_pickle=True)
    pickles = {
        ADAPTERS: weights,
        AUDIO: audio.state_dict(),
        BANK: bank.state_dict(),
        GUIDER: guider.state_dict(),
        INTERPOLATOR: flow,
    }
    tensors = {UNET: stock, VAE: vae.state_dict(), IMAGE_ENCODER: image_encoder.state_dict()}
    tensors[AUDIO_ENCODER] = {
        f"model.{name}" if "proj_out" not in name else name: value
        for name, value in whisper.state_dict().items()
    }
    out = {PRIORS: priors}
    for name, data in pickles.items():
        out[name] = folder / f"{name.replace('/', '_')}.pth"
        torch.save(data, out[name])
    for name, data in tensors.items():
        out[name] = folder / f"{name.replace('/', '_')}.safetensors"
        save_file({key: value.clone().contiguous() for key, value in data.items()}, out[name])
    return out


def tiny_svd_store(folder: Path) -> Store:
    """Return a store with everything the engine needs, converted from published files."""
    store = Store(folder / "cache")
    for name, path in published_files(folder / "published").items():
        convert_file(entry(name), path, store, SIZES.get(name))
    return store


def wicked_prior(path: Path) -> Path:
    """Write a prior that would run a command if unpickled without checks."""

    class Wicked:
        def __reduce__(self) -> tuple[Any, ...]:
            return (print, ("executed",))

    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        pickle.dump(Wicked(), file)
    return path


class PlainAdapterAttention(AdapterAttention):
    """Adapter attention in the published order of work.

    Tokens are repeated per pixel and frame, and projected in every call; nothing is kept.
    """

    def __call__(
        self, attn: Any, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, **_: Any
    ) -> torch.Tensor:
        conditioning, heads = self.conditioning, attn.heads
        query = attn.to_q(hidden_states)
        key, value = attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        out = plain_attention(query, key, value, heads)
        for i, stream in enumerate(conditioning.streams):
            tokens = stream.tokens()
            if self.temporal:
                pixels = hidden_states.shape[0] // tokens.shape[0]
                tokens = tokens.mean(1).repeat_interleave(pixels, 0)
            else:
                tokens = tokens.flatten(0, 1)
            added = plain_attention(query, self.to_k_ip[i](tokens), self.to_v_ip[i](tokens), heads)
            if not self.temporal:
                mask = conditioning.mask_for(query.shape[1], query.dtype)
                added = added if mask is None else added * mask
            out = out + stream.scale * added
        return attn.to_out[1](attn.to_out[0](out))


def plain_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int
) -> torch.Tensor:
    """Multi-head attention of ``(B, n, C)`` over ``(B, m, C)``."""
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    return out.transpose(1, 2).flatten(2)
