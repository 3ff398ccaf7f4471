"""A tiny SVD engine in the published form: random weights, the real files and commands."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from mien.dicetalk.bank import BankSpec, EmotionBank, TokenNet
from mien.engines.published_checkpoints import convert_file
from mien.engines.svd import specs
from mien.engines.svd.pose_guider import PoseGuider
from mien.engines.svd.rife import FlowNet
from mien.engines.svd.unet import ADAPTER, build_unet
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
NAMES = ("neutral", "happy", "angry", "sad")
PRIOR = 16


def published_files(folder: Path) -> dict[str, Path]:
    """Every file as its authors would publish it, by name in the manifest."""
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
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        layers_per_block=1,
    )
    eye = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=80, intermediate_size=96, num_hidden_layers=1, num_attention_heads=1,
            image_size=224, patch_size=56, projection_dim=64, hidden_act="gelu",
        )
    )  # fmt: skip
    ear = WhisperModel(
        WhisperConfig(
            d_model=64, encoder_layers=4, encoder_attention_heads=1, encoder_ffn_dim=64,
            decoder_layers=1, decoder_attention_heads=1, decoder_ffn_dim=64, vocab_size=16,
            pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=0,
        )
    )  # fmt: skip
    bank = EmotionBank(BankSpec(prior=PRIOR, width=64, tokens=4, entries=8, heads=1, feature=64,
                                hidden=(16, 8)))  # fmt: skip
    audio = TokenNet(10 * 5 * 64, 64, 4)
    guider = PoseGuider(32)
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
    tensors = {UNET: stock, VAE: vae.state_dict(), IMAGE_ENCODER: eye.state_dict()}
    tensors[AUDIO_ENCODER] = {
        f"model.{name}" if "proj_out" not in name else name: value
        for name, value in ear.state_dict().items()
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
    """A store with everything the engine needs, converted from published files."""
    store = Store(folder / "cache")
    for name, path in published_files(folder / "published").items():
        convert_file(entry(name), path, store)
    return store


def wicked_prior(path: Path) -> Path:
    """A prior that would run a command when unpickled carelessly."""

    class Wicked:
        def __reduce__(self) -> tuple[Any, ...]:
            return (print, ("executed",))

    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        pickle.dump(Wicked(), file)
    return path


def shapes_of(state: dict[str, torch.Tensor]) -> specs.Shapes:
    return {name: tuple(value.shape) for name, value in state.items()}
