"""Deep features change slowly from step to step: some steps may use the last ones.

The UNet's finest level is always computed; what comes up from below is kept per frame and branch
and used again in the steps between (after the idea of Ma et al. 2024, "DeepCache").
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class DeepFeatures:
    """Calls a stock video UNet, whole or its finest level alone.

    Args:
        unet: diffusers' ``UNetSpatioTemporalConditionModel``.
        every: steps from one whole call to the next; 1 never reuses.
    """

    def __init__(self, unet: Any, every: int) -> None:  # noqa: ANN401
        self._unet, self._every = unet, every
        self._kept: dict[tuple[int, int], Tensor] = {}
        self._whole = True

    def start(self, step: int) -> None:
        """Begin a step."""
        self._whole = step % self._every == 0

    def call(
        self, sample: Tensor, time: Tensor, clip: Tensor, ids: Tensor, branches: list[int],
        frames: Tensor,
    ) -> Tensor:  # fmt: skip
        """The UNet's prediction ``(B, L, 4, h, w)`` for a window of frames."""
        wanted = [(branch, frame) for branch in branches for frame in frames.tolist()]
        if self._every == 1:
            return self._all(sample, time, clip, ids)
        if self._whole or any(one not in self._kept for one in wanted):
            return self._keeping(sample, time, clip, ids, wanted)
        deep = torch.stack([self._kept[one] for one in wanted])
        return self._finest(sample, time, clip, ids, deep)

    def _all(self, sample: Tensor, time: Tensor, clip: Tensor, ids: Tensor) -> Tensor:
        out: Tensor = self._unet(sample, time, clip, ids, return_dict=False)[0]
        return out

    def _keeping(
        self, sample: Tensor, time: Tensor, clip: Tensor, ids: Tensor, wanted: list[tuple[int, int]]
    ) -> Tensor:
        def keep(module: Any, args: Any, given: dict[str, Any]) -> None:  # noqa: ANN401
            self._kept.update(zip(wanted, given["hidden_states"].detach(), strict=True))

        handle = self._unet.up_blocks[-1].register_forward_pre_hook(keep, with_kwargs=True)
        try:
            return self._all(sample, time, clip, ids)
        finally:
            handle.remove()

    def _finest(
        self, sample: Tensor, time: Tensor, clip: Tensor, ids: Tensor, deep: Tensor
    ) -> Tensor:
        """What the UNet does, with everything below its finest level replaced by ``deep``."""
        net = self._unet
        batch, frames = sample.shape[:2]
        embedded = _time_embedding(net, time.expand(batch), ids, sample.dtype)
        embedded = embedded.repeat_interleave(frames, 0)
        told = clip.repeat_interleave(frames, 0)
        still = torch.zeros(batch, frames, dtype=sample.dtype, device=sample.device)
        x = net.conv_in(sample.flatten(0, 1))
        _, passed = net.down_blocks[0](
            hidden_states=x, temb=embedded, encoder_hidden_states=told, image_only_indicator=still
        )
        last = net.up_blocks[-1]
        y = last(
            hidden_states=deep,
            res_hidden_states_tuple=(x, *passed)[: len(last.resnets)],
            temb=embedded,
            encoder_hidden_states=told,
            image_only_indicator=still,
        )
        y = net.conv_out(net.conv_act(net.conv_norm_out(y)))
        out: Tensor = y.unflatten(0, (batch, frames))
        return out


def _time_embedding(net: Any, time: Tensor, ids: Tensor, dtype: torch.dtype) -> Tensor:  # noqa: ANN401
    embedded = net.time_embedding(net.time_proj(time).to(dtype))
    more = net.add_time_proj(ids.flatten()).reshape(len(ids), -1).to(dtype)
    out: Tensor = embedded + net.add_embedding(more)
    return out
