"""Decode latents together, with the activations of a few frames at a time.

The temporal decoder normalises over all frames that it is given, so frames that are decoded
together cannot be cut into overlapping chunks without changing the picture. What is cut here is the
work of its layers: over frames where a layer knows one picture at a time, over rows where it looks
along the time only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.engines.svd.settings import TOGETHER


@torch.inference_mode()
def decode_latents(vae: Any, latents: Tensor, at_once: int = TOGETHER) -> Tensor:  # noqa: ANN401
    """Decode latents ``(N, 4, h, w)`` together: ``(N, 3, H, W)`` in -1..1.

    Args:
        vae: diffusers' ``AutoencoderKLTemporalDecoder``.
        latents: divided by the scaling factor, in the decoder's precision.
        at_once: frames whose activations are in memory at once, besides the input and the output of
            one layer for all frames. The picture does not depend on it.
    """
    count = len(latents)
    if at_once >= count:
        whole: Tensor = vae.decode(latents, num_frames=count).sample
        return whole
    decoder = vae.decoder

    def by_frames(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        first = layer(x[:at_once])
        out = first.new_empty(count, *first.shape[1:])
        out[:at_once] = first
        for start in range(at_once, count, at_once):
            out[start : start + at_once] = layer(x[start : start + at_once])
        return out

    def resnet(block: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        x = by_frames(lambda part: block.spatial_res_block(part, None), x)
        return _over_time(block, x, -(-count // at_once))

    first, *others = decoder.mid_block.resnets
    x = resnet(first, by_frames(decoder.conv_in, latents))
    for attention, block in zip(decoder.mid_block.attentions, others, strict=False):
        x = by_frames(attention, x)
        x = resnet(block, x)
    for up in decoder.up_blocks:
        for block in up.resnets:
            x = resnet(block, x)
        for upsampler in up.upsamplers or ():
            x = by_frames(upsampler, x)
    x = by_frames(lambda part: decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(part))), x)
    return _along(decoder.time_conv_out, x)


def _over_time(block: Any, x: Tensor, pieces: int) -> Tensor:  # noqa: ANN401
    """Add to frames ``(N, C, H, W)`` what the block's temporal part makes of them, in place."""
    temporal, mixer = block.temporal_res_block, block.time_mixer
    share = mixer.get_alpha(None, x.ndim).to(x.dtype)
    share = share if mixer.switch_spatial_to_temporal_mix else 1 - share
    inner = torch.empty_like(x)
    rows = list(zip(x.chunk(pieces, 2), inner.chunk(pieces, 2), strict=True))
    norm = _Norm(temporal.norm1, x)
    for outer, between in rows:
        between.copy_(_along(temporal.conv1, F.silu(norm(outer))))
    norm = _Norm(temporal.norm2, inner)
    for outer, between in rows:
        outer.add_(_along(temporal.conv2, F.silu(norm(between))) * share)
    return x


def _along(conv: nn.Module, frames: Tensor) -> Tensor:
    """Convolve ``(N, C, H, W)`` along N."""
    out: Tensor = conv(frames.transpose(0, 1)[None])[0].transpose(0, 1)
    return out


class _Norm:
    """Group normalisation over all frames ``(N, C, H, W)``, applied to parts of them."""

    def __init__(self, norm: nn.GroupNorm, frames: Tensor) -> None:
        self._dtype = torch.promote_types(frames.dtype, torch.float32)
        each = [
            torch.var_mean(frame.reshape(norm.num_groups, -1).to(self._dtype), 1, correction=0)
            for frame in frames
        ]
        variances, means = (torch.stack(values) for values in zip(*each, strict=True))
        mean = means.mean(0)
        deviation = ((variances + (means - mean).square()).mean(0) + norm.eps).sqrt()
        channels = frames.shape[1] // norm.num_groups
        self._mean, deviation = (
            value.repeat_interleave(channels)[:, None, None] for value in (mean, deviation)
        )
        self._scale = norm.weight[:, None, None].to(self._dtype) / deviation
        self._shift = norm.bias[:, None, None].to(self._dtype)

    def __call__(self, part: Tensor) -> Tensor:
        moved = (part.to(self._dtype) - self._mean) * self._scale + self._shift
        return moved.to(part.dtype)
