"""The stock video UNet of diffusers with adapters and a pose guider's feature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor, nn

from mien.engines.svd.attention import processors
from mien.engines.svd.conditioning import Conditioning
from mien.errors import MissingExtraError

SVD_XT: Final[Mapping[str, Any]] = {
    "sample_size": 96,
    "in_channels": 8,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "num_attention_heads": (5, 10, 20, 20),
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
    "num_frames": 25,
}
"""Sizes of the published UNet."""

ADAPTER: Final = ".attn2.processor."
"""Part of the name of every adapter's weight."""


def build_unet(config: Mapping[str, Any], *, plain: bool = False) -> tuple[Any, Conditioning]:
    """A UNet with adapters, and the object by which it is told things.

    Args:
        config: arguments of diffusers' ``UNetSpatioTemporalConditionModel``.
        plain: the published order of work in the adapters, to compare with.

    Raises:
        MissingExtraError: without diffusers.
    """
    try:
        from diffusers import UNetSpatioTemporalConditionModel
    except ImportError as error:
        raise MissingExtraError(
            f"The engine svd needs more than the core ({error.name}): pip install 'mien[svd]'."
        ) from error
    unet: Any = UNetSpatioTemporalConditionModel(**config)
    told = Conditioning()
    unet.set_attn_processor(processors(unet, told, plain=plain))

    def add_pose(module: nn.Module, given: Any, out: Tensor) -> Tensor:  # noqa: ANN401
        return out if told.pose is None else out + told.pose

    unet.conv_in.register_forward_hook(add_pose)
    return unet, told
