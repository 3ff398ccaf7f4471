"""Diffusers' video UNet with adapters, a pose guider and a cache of its deep features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.engines.svd.attention import AdapterAttention, Conditioning, processors

SVD_XT: Final[Mapping[str, Any]] = {
    "sample_size": 96,
    "in_channels": 8,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*["CrossAttnDownBlockSpatioTemporal"] * 3, "DownBlockSpatioTemporal"),
    "up_block_types": ("UpBlockSpatioTemporal", *["CrossAttnUpBlockSpatioTemporal"] * 3),
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "num_attention_heads": (5, 10, 20, 20),
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
    "num_frames": 25,
}
"""Configuration of the published UNet."""

ADAPTER: Final = ".attn2.processor."
"""Part of the name of every adapter weight."""

_GUIDER_WIDTHS: Final = (16, 16, 32, 32, 96, 96, 256)


def build_unet(
    config: Mapping[str, Any], adapter: type[AdapterAttention] = AdapterAttention
) -> tuple[Any, Conditioning]:
    """Build a UNet with adapters and the conditioning that they read.

    Args:
        config: arguments of diffusers' ``UNetSpatioTemporalConditionModel``.
        adapter: class of the attention processors.
    """
    from diffusers import UNetSpatioTemporalConditionModel

    unet: Any = UNetSpatioTemporalConditionModel(**config)
    conditioning = Conditioning()
    unet.set_attn_processor(processors(unet, conditioning, adapter))

    def add_pose(module: nn.Module, given: Any, out: Tensor) -> Tensor:  # noqa: ANN401
        return out if conditioning.pose is None else out + conditioning.pose

    unet.conv_in.register_forward_hook(add_pose)
    return unet, conditioning


class PoseGuider(nn.Module):
    """Encode a face mask ``(B, 3, H, W)`` in 0..1 as a feature ``(B, channels, H / 8, W / 8)``.

    The output is zero before training.

    Args:
        channels: of the UNet's first feature.
    """

    def __init__(self, channels: int = 320) -> None:
        super().__init__()
        widths = _GUIDER_WIDTHS
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, stride=1 + i % 2)
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.conv_out = nn.Conv2d(widths[-1], channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, mask: Tensor) -> Tensor:
        """Compute the feature."""
        x = F.silu(self.conv_in(mask))
        for conv in self.blocks:
            x = F.silu(conv(x))
        out: Tensor = self.conv_out(x)
        return out


class DeepCache:
    """Reuse the UNet's deep features between steps (Ma et al. 2024, "DeepCache").

    Deep features change slowly. The finest level is always computed; the input of the last up
    block is kept per branch and frame, and reused in the steps between.

    Args:
        unet: diffusers' ``UNetSpatioTemporalConditionModel``.
        interval: steps from one full computation to the next; 1 disables the cache.
    """

    def __init__(self, unet: Any, interval: int) -> None:  # noqa: ANN401
        self._unet, self._interval = unet, interval
        self._kept: dict[tuple[int, int], Tensor] = {}

    def predict(
        self, sample: Tensor, time: Tensor, image_embedding: Tensor, time_ids: Tensor, *,
        step: int, branches: Sequence[int], frames: Tensor,
    ) -> Tensor:  # fmt: skip
        """Compute the UNet's prediction ``(B, L, 4, h, w)`` for a window of frames."""
        given = (sample, time, image_embedding, time_ids)
        if self._interval == 1:
            return self._whole(*given)
        wanted = [(branch, frame) for branch in branches for frame in frames.tolist()]
        if step % self._interval and all(key in self._kept for key in wanted):
            return self.finest_level(*given, torch.stack([self._kept[key] for key in wanted]))

        def keep(module: Any, args: Any, inputs: dict[str, Any]) -> None:  # noqa: ANN401
            self._kept.update(zip(wanted, inputs["hidden_states"].detach(), strict=True))

        handle = self._unet.up_blocks[-1].register_forward_pre_hook(keep, with_kwargs=True)
        try:
            return self._whole(*given)
        finally:
            handle.remove()

    def _whole(self, *given: Tensor) -> Tensor:
        out: Tensor = self._unet(*given, return_dict=False)[0]
        return out

    def finest_level(
        self, sample: Tensor, time: Tensor, image_embedding: Tensor, time_ids: Tensor, deep: Tensor
    ) -> Tensor:
        """Compute the UNet's prediction with ``deep`` in place of the levels below the finest."""
        unet = self._unet
        batch, frames = sample.shape[:2]
        embedding = unet.time_embedding(unet.time_proj(time.expand(batch)).to(sample.dtype))
        added = unet.add_time_proj(time_ids.flatten()).reshape(batch, -1).to(sample.dtype)
        embedding = (embedding + unet.add_embedding(added)).repeat_interleave(frames, 0)
        common = {
            "temb": embedding,
            "encoder_hidden_states": image_embedding.repeat_interleave(frames, 0),
            "image_only_indicator": sample.new_zeros(batch, frames),
        }
        x = unet.conv_in(sample.flatten(0, 1))
        _, skipped = unet.down_blocks[0](hidden_states=x, **common)
        last = unet.up_blocks[-1]
        y = last(
            hidden_states=deep,
            res_hidden_states_tuple=(x, *skipped)[: len(last.resnets)],
            **common,
        )
        y = unet.conv_out(unet.conv_act(unet.conv_norm_out(y)))
        out: Tensor = y.unflatten(0, (batch, frames))
        return out
