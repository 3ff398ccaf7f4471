"""The engine's nets out of a store of converted weights."""

from __future__ import annotations

from typing import Any

from mien.dicetalk.bank import BankSpec, EmotionBank, TokenNet
from mien.engines.svd import specs
from mien.engines.svd.nets import Nets
from mien.engines.svd.pose_guider import PoseGuider
from mien.engines.svd.voice import STEPS
from mien.errors import MissingExtraError, WeightsError
from mien.weights.convert import load
from mien.weights.manifest import (
    ADAPTERS,
    AUDIO,
    AUDIO_ENCODER,
    BANK,
    GUIDER,
    IMAGE_ENCODER,
    INTERPOLATOR,
    SVD_NEEDED,
    UNET,
    VAE,
)
from mien.weights.store import Store


def load_nets(store: Store, *, interpolate: bool = True, plain: bool = False) -> Nets:
    """Open every net, on the CPU, as it was stored.

    Args:
        store: where the weights are.
        interpolate: whether the flow net is wanted too.
        plain: adapters in the published order of work, to compare with.

    Raises:
        MissingExtraError: without diffusers or transformers.
        WeightsError: for weights that are missing, damaged, or do not belong together.
    """
    for name in (*SVD_NEEDED, *((INTERPOLATOR,) if interpolate else ())):
        store.locate(name)
    try:
        import diffusers  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"The engine svd needs more than the core ({error.name}): pip install 'mien[svd]'."
        ) from error
    unet, told = _unet(store, plain=plain)
    nets = Nets(
        unet=unet,
        told=told,
        vae=_opened(store, VAE),
        eye=_opened(store, IMAGE_ENCODER),
        ear=_opened(store, AUDIO_ENCODER),
        audio=_opened(store, AUDIO),
        emotion=_opened(store, BANK),
        guider=_opened(store, GUIDER),
        between=_opened(store, INTERPOLATOR) if interpolate else None,
    )
    _check(nets)
    return nets


def fresh_nets(store: Store, prior: int) -> Nets:
    """The stock UNet with adapters that begin as its own cross attention, and untrained others.

    Args:
        store: where Stable Video Diffusion and Whisper are.
        prior: numbers of an emotion prior.

    Raises:
        As :func:`load_nets`.
    """
    tensors, spec = load(store.locate(UNET))
    unet, told = specs.make_unet(spec)
    unet.load_state_dict(tensors, strict=False, assign=True)
    owners = {id(m.processor): m for m in unet.modules() if hasattr(m, "processor")}
    for adapter in specs.adapters_of(unet):
        adapter.to_empty(device="cpu")
        adapter.begin_as(owners[id(adapter)])
    ear = _opened(store, AUDIO_ENCODER)
    context = spec["cross_attention_dim"]
    bank = BankSpec(
        prior=prior,
        width=context,
        heads=max(1, context // specs.HEAD_BANK),
        feature=spec["block_out_channels"][-1],
    )
    return Nets(
        unet=unet,
        told=told,
        vae=_opened(store, VAE),
        eye=_opened(store, IMAGE_ENCODER),
        ear=ear,
        audio=TokenNet(STEPS * (ear.config.encoder_layers + 1) * ear.config.d_model, context),
        emotion=EmotionBank(bank),
        guider=PoseGuider(spec["block_out_channels"][0]),
    )


def _opened(store: Store, name: str) -> Any:  # noqa: ANN401
    tensors, spec = load(store.locate(name))
    _, make = specs.NETS[name]
    return specs.filled(make(spec), tensors, name)


def _unet(store: Store, *, plain: bool) -> tuple[Any, Any]:
    """The stock UNet, with what DICE-Talk's file replaces or adds."""
    tensors, spec = load(store.locate(UNET))
    over, _ = load(store.locate(ADAPTERS))
    kind = next(iter(tensors.values())).dtype
    tensors |= {name: value.to(kind) for name, value in over.items()}
    unet, told = specs.make_unet(spec, plain=plain)
    return specs.filled(unet, tensors, "the UNet"), told


def _check(nets: Nets) -> None:
    """Make sure that the nets fit each other.

    Raises:
        WeightsError: naming two that do not.
    """
    context = nets.unet.config.cross_attention_dim
    heard = nets.audio.proj1.in_features
    states = STEPS * (nets.ear.config.encoder_layers + 1) * nets.ear.config.d_model
    for what, one, other in (
        ("The audio tokens and the UNet", nets.audio.norm.normalized_shape[0], context),
        ("The emotion tokens and the UNet", nets.emotion.spec.width, context),
        ("CLIP's token and the UNet", nets.eye.config.projection_dim, context),
        ("Whisper and the audio projection", states, heard),
        ("The pose guider and the UNet", nets.guider.conv_out.out_channels,
         nets.unet.config.block_out_channels[0]),
    ):  # fmt: skip
        if one != other:
            raise WeightsError(f"{what} do not belong together: {one} against {other}.")
