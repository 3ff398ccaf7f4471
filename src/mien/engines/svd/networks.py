"""The networks of the engine: their published configurations, checkpoints and loading."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import nn

from mien.dicetalk.bank import BankSpec, EmotionBank, TokenNet
from mien.engines.svd.attention import AdapterAttention, Conditioning
from mien.engines.svd.preprocess import HIDDEN_STATES, STATES_PER_FRAME
from mien.engines.svd.rife import FlowNet
from mien.engines.svd.unet import ADAPTER, SVD_XT, PoseGuider, build_unet
from mien.errors import WeightsError, needs_extra
from mien.weights.convert import CheckpointFormat, Config, Expected, check_sizes, load
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
from mien.weights.store import Store

PUBLISHED: Final[Mapping[str, Config]] = {
    UNET: SVD_XT,
    ADAPTERS: SVD_XT,
    VAE: {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "layers_per_block": 2,
    },
    IMAGE_ENCODER: {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "projection_dim": 1024,
        "patch_size": 14,
        "image_size": 224,
        "hidden_act": "gelu",
    },
    AUDIO_ENCODER: {
        "d_model": 384,
        "num_mel_bins": 80,
        "max_source_positions": 1500,
        "encoder_layers": 4,
        "encoder_attention_heads": 6,
        "encoder_ffn_dim": 1536,
    },
    AUDIO: {"inputs": STATES_PER_FRAME * HIDDEN_STATES * 384, "width": 1024, "tokens": 32},
    BANK: asdict(BankSpec()),
    GUIDER: {"channels": 320},
    INTERPOLATOR: {},
}
"""Published configuration of every network, by name in the manifest."""

_PARTS: Final = {
    "vae": VAE,
    "image_encoder": IMAGE_ENCODER,
    "audio_encoder": AUDIO_ENCODER,
    "audio_projection": AUDIO,
    "emotion_bank": BANK,
    "pose_guider": GUIDER,
    "interpolator": INTERPOLATOR,
}
"""Name in the manifest of every network but the UNet."""

_BANK_HEAD: Final = 128
"""Channels per attention head of the emotion bank."""

_FLOAT32: Final = ("image_encoder", "audio_encoder", "audio_projection", "emotion_bank")
"""Small networks that stay in float32 whatever the precision of the others."""


@dataclass(slots=True)
class SvdNetworks:
    """The networks that make a clip.

    Attributes:
        unet: diffusers' video UNet with adapters.
        conditioning: read by the UNet's adapters.
        vae: diffusers' ``AutoencoderKLTemporalDecoder``.
        image_encoder: transformers' ``CLIPVisionModelWithProjection``.
        audio_encoder: encoder of transformers' ``WhisperModel``.
        audio_projection: hidden states of a frame to tokens.
        emotion_bank: priors to tokens.
        pose_guider: face mask to a feature.
        interpolator: doubles the frame rate; None keeps the published 12.5 per second.
    """

    unet: Any
    conditioning: Conditioning
    vae: Any
    image_encoder: Any
    audio_encoder: Any
    audio_projection: TokenNet
    emotion_bank: EmotionBank
    pose_guider: PoseGuider
    interpolator: FlowNet | None = None

    def modules(self) -> dict[str, nn.Module]:
        """Return the networks by name."""
        found = {name: getattr(self, name) for name in self.__slots__ if name != "conditioning"}
        return {name: module for name, module in found.items() if module is not None}

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move all networks to ``device``, UNet, decoder, guider and interpolator in ``dtype``."""
        for name, module in self.modules().items():
            module.eval().requires_grad_(False)
            nn.Module.to(module, device, torch.float32 if name in _FLOAT32 else dtype)
        self.vae.encoder.float()
        self.vae.quant_conv.float()

    def trained_configs(self) -> dict[str, Config]:
        """Return configurations of the networks that can be trained, by name in the manifest."""
        audio = self.audio_projection
        return {
            ADAPTERS: {name: self.unet.config[name] for name in SVD_XT},
            AUDIO: {
                "inputs": audio.proj1.in_features,
                "width": audio.proj1.out_features,
                "tokens": audio.tokens,
            },
            BANK: asdict(self.emotion_bank.spec),
            GUIDER: {"channels": self.pose_guider.conv_out.out_channels},
        }


def load_networks(store: Store, *, interpolate: bool = True) -> SvdNetworks:
    """Load every network, on the CPU, in its stored precision.

    Args:
        store: where the weights are.
        interpolate: whether to load the interpolator.

    Raises:
        MissingExtraError: without diffusers or transformers.
        WeightsError: for weights that are missing, damaged or incompatible.
    """
    parts = {part: name for part, name in _PARTS.items() if interpolate or name != INTERPOLATOR}
    for name in (UNET, ADAPTERS, *parts.values()):
        store.locate(name)
    with needs_extra("svd", "The svd engine"):
        import diffusers  # noqa: F401
        import transformers  # noqa: F401
    tensors, config = load(store.intact(UNET))
    dtype = next(iter(tensors.values())).dtype
    # DICE-Talk's file adds adapters to the stock UNet and may replace its weights.
    tensors |= {name: v.to(dtype) for name, v in load(store.intact(ADAPTERS))[0].items()}
    unet, conditioning = _build(UNET, config)
    _fill(unet, tensors, UNET)
    networks = SvdNetworks(
        unet, conditioning, **{part: load_network(store, name) for part, name in parts.items()}
    )
    _check(networks)
    return networks


def untrained_networks(store: Store, prior_size: int) -> SvdNetworks:
    """Build networks to train: the stock UNet, adapters copied from it, the others random.

    Args:
        store: where Stable Video Diffusion, CLIP and Whisper are.
        prior_size: numbers of an emotion prior.
    """
    tensors, config = load(store.intact(UNET))
    unet, conditioning = _build(UNET, config)
    unet.load_state_dict(tensors, strict=False, assign=True)
    for module in list(unet.modules()):
        adapter = getattr(module, "processor", None)
        if isinstance(adapter, AdapterAttention):
            adapter.to_empty(device="cpu")
            adapter.copy_projections(module)
    audio_encoder = load_network(store, AUDIO_ENCODER)
    width, context = config["block_out_channels"], config["cross_attention_dim"]
    heads = max(1, context // _BANK_HEAD)
    bank = BankSpec(prior=prior_size, width=context, heads=heads, feature=width[-1])
    return SvdNetworks(
        unet=unet,
        conditioning=conditioning,
        vae=load_network(store, VAE),
        image_encoder=load_network(store, IMAGE_ENCODER),
        audio_encoder=audio_encoder,
        audio_projection=TokenNet(_states(audio_encoder), context),
        emotion_bank=EmotionBank(bank),
        pose_guider=PoseGuider(width[0]),
    )


def _states(audio_encoder: Any) -> int:  # noqa: ANN401
    """Numbers of hidden states in the window of a frame."""
    whisper = audio_encoder.config
    return STATES_PER_FRAME * (int(whisper.encoder_layers) + 1) * int(whisper.d_model)


def load_network(store: Store, name: str) -> Any:  # noqa: ANN401
    """Load one network but the UNet, by name in the manifest, as :func:`load_networks`."""
    tensors, config = load(store.intact(name))
    return _fill(_build(name, config), tensors, name)


def _fill(module: Any, tensors: Mapping[str, torch.Tensor], name: str) -> Any:  # noqa: ANN401
    try:
        module.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise WeightsError(
            f"The weights {name} do not match their configuration: {str(error)[:400]}"
        ) from error
    return module


def _build(name: str, config: Config) -> Any:  # noqa: ANN401
    """Build a network on the meta device; a UNet comes with its conditioning."""
    with needs_extra("svd", "The svd engine"):
        make = _maker(name)
    with torch.device("meta"):
        built = make(**{k: tuple(v) if isinstance(v, list) else v for k, v in config.items()})
    if name == IMAGE_ENCODER:  # its position numbers are no weights
        embeddings = built.vision_model.embeddings
        embeddings.position_ids = torch.arange(embeddings.position_embedding.num_embeddings)[None]
    return built


def _maker(name: str) -> Callable[..., Any]:
    """Import what builds a network, outside of any device context."""
    if name in (UNET, ADAPTERS):
        import diffusers  # noqa: F401

        return lambda **config: build_unet(config)
    if name == VAE:
        from diffusers import AutoencoderKLTemporalDecoder

        return AutoencoderKLTemporalDecoder
    if name == IMAGE_ENCODER:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        return lambda **config: CLIPVisionModelWithProjection(CLIPVisionConfig(**config))
    if name == AUDIO_ENCODER:
        from transformers import WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        return lambda **config: WhisperEncoder(WhisperConfig(**config))
    own: dict[str, Callable[..., Any]] = {
        AUDIO: TokenNet,
        BANK: lambda **config: EmotionBank(BankSpec(**config)),
        GUIDER: PoseGuider,
        INTERPOLATOR: FlowNet,
    }
    return own[name]


def _check(networks: SvdNetworks) -> None:
    """Refuse networks whose sizes do not match each other."""
    unet, audio = networks.unet.config, networks.audio_projection
    context, channels = unet.cross_attention_dim, unet.block_out_channels[0]
    states = _states(networks.audio_encoder)
    for what, one, other in (
        ("The audio tokens and the UNet", audio.norm.normalized_shape[0], context),
        ("The emotion tokens and the UNet", networks.emotion_bank.spec.width, context),
        ("CLIP's embedding and the UNet", networks.image_encoder.config.projection_dim, context),
        ("Whisper and the audio projection", states, audio.proj1.in_features),
        ("The pose guider and the UNet", networks.pose_guider.conv_out.out_channels, channels),
    ):
        if one != other:
            raise WeightsError(f"{what} are incompatible: {one} against {other} channels.")


def _expect(name: str, sizes: Config, tensors: Mapping[str, Any]) -> Expected:
    """Return what a checkpoint must contain."""
    check_sizes(sizes, PUBLISHED[name])
    config = {**PUBLISHED[name], **sizes}
    if name == BANK and "classifier.fc1.weight" not in tensors:
        config["feature"] = 0  # the discriminator may be missing
    built = _build(name, config)
    module = built[0] if name in (UNET, ADAPTERS) else built
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    if name == UNET:
        shapes = {key: shape for key, shape in shapes.items() if ADAPTER not in key}
    elif name == ADAPTERS:  # all adapters, and whatever else replaces stock weights
        shapes = {k: shape for k, shape in shapes.items() if ADAPTER in k or k in tensors}
    return Expected(config, shapes)


def _format(name: str, title: str, *layout: Any) -> CheckpointFormat:  # noqa: ANN401
    return CheckpointFormat(title, partial(_expect, name), *layout)


_DICE: Final = (("state_dict",), ("module.",))
FORMATS: Final[Mapping[str, CheckpointFormat]] = {
    UNET: _format(UNET, "Stable Video Diffusion's UNet"),
    VAE: _format(VAE, "Stable Video Diffusion's VAE"),
    IMAGE_ENCODER: _format(IMAGE_ENCODER, "CLIP's image encoder", (), (), r"position_ids$"),
    AUDIO_ENCODER: _format(
        AUDIO_ENCODER, "Whisper", (), ("model.", "encoder."), r"^(decoder|proj_out)\."
    ),
    INTERPOLATOR: _format(INTERPOLATOR, "RIFE's flow net", (), ("module.",), r"^block_tea\."),
    ADAPTERS: _format(ADAPTERS, "DICE-Talk's UNet", *_DICE),
    AUDIO: _format(AUDIO, "DICE-Talk's audio projection", *_DICE),
    BANK: _format(BANK, "DICE-Talk's emotion model", *_DICE),
    GUIDER: _format(GUIDER, "DICE-Talk's pose guider", *_DICE),
}
"""Layout of the published checkpoints, by name in the manifest."""
