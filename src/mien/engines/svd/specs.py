"""Sizes of the published nets, read from their tensors, and the nets made from sizes.

A specification is a dictionary of plain values that travels with converted weights. What tensors
cannot tell (heads of attention) follows the published head sizes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch
from torch import nn

from mien.dicetalk.bank import BankSpec, EmotionBank, TokenNet
from mien.engines.svd.attention import AdapterAttention
from mien.engines.svd.pose_guider import PoseGuider
from mien.engines.svd.rife import FlowNet
from mien.engines.svd.unet import ADAPTER, SVD_XT, build_unet
from mien.errors import MissingExtraError, WeightsError
from mien.weights.convert import CheckpointFormat, Config, Expected
from mien.weights.manifest import (
    ADAPTERS,
    AUDIO,
    AUDIO_ENCODER,
    BANK,
    GUIDER,
    IMAGE_ENCODER,
    INTERPOLATOR,
    UNET,
    VAE,
)

Shapes = Mapping[str, tuple[int, ...]]
Spec = dict[str, Any]
Read = Callable[[Shapes], Spec]
Make = Callable[[Spec], nn.Module]

_HEAD_UNET, _HEAD_EYE, _HEAD_EAR = 64, 80, 64

HEAD_BANK: Final = 128
"""Width of a head of the bank's attention."""


def unet_spec(shapes: Shapes) -> Spec:
    """Arguments of diffusers' ``UNetSpatioTemporalConditionModel``."""
    first = "resnets.0.spatial_res_block.conv1.weight"
    widths = [
        shapes[f"down_blocks.{i}.{first}"][0] for i in _counted(shapes, "down_blocks.{}." + first)
    ]
    attended = [f"down_blocks.{i}.attentions.0.norm.weight" in shapes for i in range(len(widths))]
    key = next(name for name in shapes if name.endswith("attn2.to_k.weight"))
    embedded = shapes["add_embedding.linear_1.weight"][1]
    return {
        "in_channels": shapes["conv_in.weight"][1],
        "out_channels": shapes["conv_out.weight"][0],
        "block_out_channels": widths,
        "down_block_types": [_kind("Down", yes) for yes in attended],
        "up_block_types": [_kind("Up", yes) for yes in reversed(attended)],
        "layers_per_block": len(
            _counted(shapes, "down_blocks.0.resnets.{}.spatial_res_block.conv1.weight")
        ),
        "cross_attention_dim": shapes[key][1],
        "num_attention_heads": [max(1, width // _HEAD_UNET) for width in widths],
        "addition_time_embed_dim": embedded // 3,
        "projection_class_embeddings_input_dim": embedded,
    }


def adapted_spec(shapes: Shapes) -> Spec:
    """As :func:`unet_spec` where only the adapters are there (and what was trained with them)."""
    key = "{}.attentions.{}.transformer_blocks.0.attn2.processor.to_k_ip.0.weight"
    width, context = shapes[key.format("mid_block", 0)]
    ups = {name.split(".")[1] for name in shapes if name.startswith("up_blocks.")}
    widths, attended = [], []
    for i in range(1 + max(map(int, ups))):
        name = key.format(f"down_blocks.{i}", 0)
        attended.append(name in shapes)
        widths.append(shapes[name][0] if name in shapes else width)
    return {
        **plain_values(SVD_XT),
        "block_out_channels": widths,
        "down_block_types": [_kind("Down", yes) for yes in attended],
        "up_block_types": [_kind("Up", yes) for yes in reversed(attended)],
        "layers_per_block": len(_counted(shapes, key.format("down_blocks.0", "{}"))),
        "cross_attention_dim": context,
        "num_attention_heads": [max(1, one // _HEAD_UNET) for one in widths],
    }


def _kind(way: str, attended: bool) -> str:
    return f"{'CrossAttn' if attended else ''}{way}BlockSpatioTemporal"


def make_unet(spec: Spec, *, plain: bool = False) -> Any:  # noqa: ANN401
    """The UNet with adapters, without memory, and how it is told things."""
    with torch.device("meta"):
        return build_unet(_tupled(spec), plain=plain)


def stock_shapes(spec: Spec) -> dict[str, tuple[int, ...]]:
    """Shapes of the UNet's tensors without the adapters."""
    return {
        name: shape for name, shape in _shapes(make_unet(spec)[0]).items() if ADAPTER not in name
    }


def adapter_shapes(spec: Spec) -> dict[str, tuple[int, ...]]:
    """Shapes of the adapters' tensors."""
    return {name: shape for name, shape in _shapes(make_unet(spec)[0]).items() if ADAPTER in name}


def vae_spec(shapes: Shapes) -> Spec:
    """Arguments of diffusers' ``AutoencoderKLTemporalDecoder``."""
    first = "encoder.down_blocks.{}.resnets.0.conv1.weight"
    widths = [shapes[first.format(i)][0] for i in _counted(shapes, first)]
    layers = _counted(shapes, "encoder.down_blocks.0.resnets.{}.conv1.weight")
    return {
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "layers_per_block": len(layers),
        "latent_channels": shapes["quant_conv.weight"][0] // 2,
    }


def make_vae(spec: Spec) -> nn.Module:
    """The picture codec, without memory."""
    diffusers = _extra("diffusers")
    with torch.device("meta"):
        net: nn.Module = diffusers.AutoencoderKLTemporalDecoder(**_tupled(spec))
        return net


def eye_spec(shapes: Shapes) -> Spec:
    """Sizes of CLIP's picture encoder."""
    base = "vision_model.encoder.layers.{}.mlp.fc1.weight"
    hidden = shapes["vision_model.embeddings.class_embedding"][0]
    patch = shapes["vision_model.embeddings.patch_embedding.weight"][2]
    places = shapes["vision_model.embeddings.position_embedding.weight"][0] - 1
    return {
        "hidden_size": hidden,
        "intermediate_size": shapes[base.format(0)][0],
        "num_hidden_layers": len(_counted(shapes, base)),
        "num_attention_heads": max(1, hidden // _HEAD_EYE),
        "projection_dim": shapes["visual_projection.weight"][0],
        "patch_size": patch,
        "image_size": round(places**0.5) * patch,
        "hidden_act": "gelu",
    }


def make_eye(spec: Spec) -> nn.Module:
    """CLIP's picture encoder, without memory but for the numbers of its places."""
    transformers = _extra("transformers")
    with torch.device("meta"):
        net: Any = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**spec))
    places = net.vision_model.embeddings
    places.position_ids = torch.arange(places.position_embedding.num_embeddings)[None]
    return net


def ear_spec(shapes: Shapes) -> Spec:
    """Sizes of Whisper's encoder."""
    width, mels = shapes["conv1.weight"][:2]
    return {
        "d_model": width,
        "num_mel_bins": mels,
        "max_source_positions": shapes["embed_positions.weight"][0],
        "encoder_layers": len(_counted(shapes, "layers.{}.fc1.weight")),
        "encoder_attention_heads": max(1, width // _HEAD_EAR),
        "encoder_ffn_dim": shapes["layers.0.fc1.weight"][0],
    }


def make_ear(spec: Spec) -> nn.Module:
    """Whisper's encoder, without memory."""
    _extra("transformers")
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    with torch.device("meta"):
        net: nn.Module = WhisperEncoder(WhisperConfig(**spec))
        return net


def audio_spec(shapes: Shapes) -> Spec:
    """Sizes of the projection of hidden states."""
    width, inputs = shapes["proj1.weight"]
    return {"inputs": inputs, "width": width, "tokens": shapes["proj3.weight"][0] // width}


def make_audio(spec: Spec) -> nn.Module:
    """The projection of hidden states, without memory."""
    with torch.device("meta"):
        return TokenNet(**spec)


def bank_spec(shapes: Shapes) -> Spec:
    """Sizes of the emotion bank; without a discriminator where the file has none."""
    width, prior = shapes["codebook.fc.weight"]
    judge = "classifier.fc1.weight" in shapes
    spec = BankSpec(
        prior=prior,
        width=width,
        tokens=shapes["emo_linear.proj3.weight"][0] // width,
        entries=shapes["codebook.codebook.weight"][0],
        heads=max(1, width // HEAD_BANK),
        feature=shapes["classifier.fc1.weight"][1] if judge else 0,
        hidden=(
            (shapes["classifier.fc1.weight"][0], shapes["classifier.fc2.weight"][0])
            if judge
            else BankSpec().hidden
        ),
        classes=shapes["classifier.fc3.weight"][0] if judge else BankSpec().classes,
    )
    return spec.to_dict()


def make_bank(spec: Spec) -> nn.Module:
    """The emotion bank, without memory."""
    with torch.device("meta"):
        return EmotionBank(BankSpec(**_tupled(spec)))


def guider_spec(shapes: Shapes) -> Spec:
    """Channels of the pose guider."""
    return {"channels": shapes["conv_out.weight"][0]}


def make_guider(spec: Spec) -> nn.Module:
    """The pose guider, without memory."""
    with torch.device("meta"):
        return PoseGuider(**spec)


def flow_spec(shapes: Shapes) -> Spec:
    """The flow net has one size."""
    return {}


def make_flow(spec: Spec) -> nn.Module:
    """The flow net, without memory."""
    with torch.device("meta"):
        return FlowNet(**spec)


NETS: Final[Mapping[str, tuple[Read, Make]]] = {
    VAE: (vae_spec, make_vae),
    IMAGE_ENCODER: (eye_spec, make_eye),
    AUDIO_ENCODER: (ear_spec, make_ear),
    AUDIO: (audio_spec, make_audio),
    BANK: (bank_spec, make_bank),
    GUIDER: (guider_spec, make_guider),
    INTERPOLATOR: (flow_spec, make_flow),
}
"""How sizes are read off tensors, and nets made of sizes, by name in the manifest."""


def plain_values(config: Mapping[str, Any]) -> Spec:
    """A specification of plain values, as it travels with weights."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}


def filled(net: nn.Module, tensors: Mapping[str, torch.Tensor], what: str) -> nn.Module:
    """``net`` with ``tensors``, which it takes over.

    Raises:
        WeightsError: when they do not fit.
    """
    try:
        net.load_state_dict(dict(tensors), assign=True)
    except RuntimeError as error:
        raise WeightsError(f"These weights do not fit {what}: {str(error)[:400]}") from error
    return net


def adapters_of(unet: nn.Module) -> Iterator[AdapterAttention]:
    """The adapters of a UNet."""
    return (m for m in unet.modules() if isinstance(m, AdapterAttention))


def _shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


def _counted(shapes: Shapes, pattern: str) -> list[int]:
    """0, 1, 2 … as long as ``pattern`` with the number in it is there."""
    return list(itertools.takewhile(lambda i: pattern.format(i) in shapes, itertools.count()))


def _tupled(spec: Spec) -> Spec:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in spec.items()}


def _extra(name: str) -> Any:  # noqa: ANN401
    try:
        return __import__(name)
    except ImportError as error:
        raise MissingExtraError(
            f"The engine svd needs more than the core ({error.name}): pip install 'mien[svd]'."
        ) from error


def _expect(name: str) -> Callable[[Config, Mapping[str, Any]], Expected]:
    read, make = NETS[name]

    def expect(sizes: Config, tensors: Mapping[str, Any]) -> Expected:
        spec = dict(sizes) or _sizes_of(read, tensors)
        return Expected(spec, _shapes(make(spec)))

    return expect


def _expect_unet(sizes: Config, tensors: Mapping[str, Any]) -> Expected:
    spec = dict(sizes) or _sizes_of(unet_spec, tensors)
    return Expected(spec, stock_shapes(spec))


def _expect_adapters(sizes: Config, tensors: Mapping[str, Any]) -> Expected:
    """All adapters must be there; whatever else of the UNet is, replaces the stock weights."""
    read = unet_spec if "conv_in.weight" in tensors else adapted_spec
    spec = dict(sizes) or _sizes_of(read, tensors)
    stock = {name: shape for name, shape in stock_shapes(spec).items() if name in tensors}
    return Expected(spec, adapter_shapes(spec) | stock)


def _sizes_of(read: Read, tensors: Mapping[str, Any]) -> Spec:
    try:
        return read({name: tuple(value.shape) for name, value in tensors.items()})
    except (KeyError, StopIteration, IndexError, ValueError) as error:
        raise WeightsError(f"{error} is missing among its {len(tensors)} tensors.") from error


FORMATS: Final[Mapping[str, CheckpointFormat]] = {
    UNET: CheckpointFormat("Stable Video Diffusion's UNet", _expect_unet),
    ADAPTERS: CheckpointFormat("DICE-Talk's UNet", _expect_adapters, ("state_dict",), ("module.",)),
    VAE: CheckpointFormat("Stable Video Diffusion's VAE", _expect(VAE)),
    IMAGE_ENCODER: CheckpointFormat(
        "CLIP's image encoder",
        _expect(IMAGE_ENCODER),
        ignored=lambda name: name.endswith("position_ids"),
    ),
    AUDIO_ENCODER: CheckpointFormat(
        "Whisper",
        _expect(AUDIO_ENCODER),
        prefixes=("model.", "encoder."),
        ignored=lambda name: name.startswith(("decoder.", "proj_out.")),
    ),
    AUDIO: CheckpointFormat(
        "DICE-Talk's audio projection", _expect(AUDIO), ("state_dict",), ("module.",)
    ),
    BANK: CheckpointFormat(
        "DICE-Talk's emotion model", _expect(BANK), ("state_dict",), ("module.",)
    ),
    GUIDER: CheckpointFormat(
        "DICE-Talk's pose guider", _expect(GUIDER), ("state_dict",), ("module.",)
    ),
    INTERPOLATOR: CheckpointFormat(
        "RIFE's flow net",
        _expect(INTERPOLATOR),
        prefixes=("module.",),
        ignored=lambda name: name.startswith("block_tea."),
    ),
}
"""Layout of the published checkpoints, by name in the manifest."""
