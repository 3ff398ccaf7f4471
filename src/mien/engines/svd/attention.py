"""Cross attention with adapters: the stock layer's own, plus audio and emotion.

``out = attn(q, K_clip, V_clip) + sum over streams of scale * attn(q, K_s, V_s)`` with one query
(dicetalk.md section 4). Two formulations give the same output: :class:`AdapterAttention` does what
is needed once, :class:`PlainAdapterAttention` follows the published order of work, to compare with.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.engines.svd.conditioning import STREAMS, Conditioning, Stream


class _Adapter(nn.Module):
    """Projections of the streams; names are the published ones."""

    def __init__(
        self, width: int, tokens: int, conditioning: Conditioning, *, temporal: bool
    ) -> None:
        super().__init__()
        self.to_k_ip = nn.ModuleList(nn.Linear(tokens, width, bias=False) for _ in STREAMS)
        self.to_v_ip = nn.ModuleList(nn.Linear(tokens, width, bias=False) for _ in STREAMS)
        self.temporal = temporal
        self.conditioning = conditioning

    def begin_as(self, attn: Any) -> None:  # noqa: ANN401 - a layer of diffusers
        """Start from the stock layer's own projections, as the published training did."""
        for mine, theirs in ((self.to_k_ip, attn.to_k), (self.to_v_ip, attn.to_v)):
            for linear in mine:
                linear.load_state_dict({"weight": theirs.weight.data})


class AdapterAttention(_Adapter):
    """Processor of an ``attn2`` layer.

    Keys and values of a table are projected once per clip (spatial layers) or from the window's
    mean once per window (temporal layers, where all pixels share them and are folded into the
    query's axis). With a single CLIP token the stock term is its value: no softmax.
    """

    def __init__(self, *args: Any, **more: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **more)
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        self._serial = -1

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any  # noqa: ANN401
    ) -> Tensor:  # fmt: skip
        """Attention of ``(B, n, C)``: branches by frames, or branches by pixels over time."""
        told = self.conditioning
        branches = told.streams[0].rows.shape[0]
        query = attn.to_q(hidden_states)
        added: Tensor | None = None
        for i, stream in enumerate(told.streams):
            if self.temporal:
                one = self._over_time(query, i, stream, branches, attn.heads)
            else:
                one = self._over_space(query, i, stream, attn.heads)
            one = one if stream.scale == 1 else one * stream.scale
            added = one if added is None else added + one
        if not self.temporal:
            mask = told.mask_for(hidden_states.shape[1], query.dtype)
            added = added if mask is None or added is None else added * mask
        out = _stock(attn, query, encoder_hidden_states)
        out = out if added is None else out + added
        return _projected(attn, out)

    def _over_space(self, query: Tensor, i: int, stream: Stream, heads: int) -> Tensor:
        key, value = self._table(i, stream)
        rows = stream.rows.flatten()
        return _attend(query, key[rows], value[rows], heads)

    def _over_time(
        self, query: Tensor, i: int, stream: Stream, branches: int, heads: int
    ) -> Tensor:
        tokens = stream.mean()
        folded = query.reshape(branches, -1, query.shape[-1])
        key, value = self.to_k_ip[i](tokens), self.to_v_ip[i](tokens)
        return _attend(folded, key, value, heads).reshape(query.shape)

    def _table(self, i: int, stream: Stream) -> tuple[Tensor, Tensor]:
        if not self.conditioning.caching:
            return self.to_k_ip[i](stream.table), self.to_v_ip[i](stream.table)
        if self._serial != self.conditioning.serial:
            self._kept.clear()
            self._serial = self.conditioning.serial
        if i not in self._kept:
            self._kept[i] = self.to_k_ip[i](stream.table), self.to_v_ip[i](stream.table)
        return self._kept[i]


class PlainAdapterAttention(_Adapter):
    """The published order of work: tokens repeated per pixel and frame, projected each time."""

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any  # noqa: ANN401
    ) -> Tensor:  # fmt: skip
        """As :meth:`AdapterAttention.__call__`."""
        told = self.conditioning
        query = attn.to_q(hidden_states)
        out = _attend(
            query, attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states), attn.heads
        )
        for i, stream in enumerate(told.streams):
            tokens = stream.tokens()
            if self.temporal:
                pixels = hidden_states.shape[0] // tokens.shape[0]
                tokens = tokens.mean(1).repeat_interleave(pixels, 0)
            else:
                tokens = tokens.flatten(0, 1)
            key, value = self.to_k_ip[i](tokens), self.to_v_ip[i](tokens)
            one = _attend(query, key, value, attn.heads)
            mask = None if self.temporal else told.mask_for(query.shape[1], query.dtype)
            out = out + stream.scale * (one if mask is None else one * mask)
        return _projected(attn, out)


def _stock(attn: Any, query: Tensor, told: Tensor) -> Tensor:  # noqa: ANN401
    """The stock term; softmax over one token is 1, whatever the query."""
    value: Tensor = attn.to_v(told)
    if told.shape[1] == 1:
        return value
    return _attend(query, attn.to_k(told), value, attn.heads)


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Attention of ``(B, n, C)`` over ``(B, m, C)``."""
    q, k, v = (x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _projected(attn: Any, out: Tensor) -> Tensor:  # noqa: ANN401
    done: Tensor = attn.to_out[1](attn.to_out[0](out))
    return done


def processors(
    unet: Any,  # noqa: ANN401
    conditioning: Conditioning,
    *,
    plain: bool = False,
) -> dict[str, Any]:
    """A processor for every cross-attention layer of a stock UNet; the others keep theirs."""
    kind = PlainAdapterAttention if plain else AdapterAttention
    found: dict[str, Any] = dict(unet.attn_processors)
    for name in found:
        if name.endswith("attn2.processor"):
            attn = unet.get_submodule(name.removesuffix(".processor"))
            temporal = "temporal_transformer_blocks" in name
            width, tokens = attn.to_k.weight.shape
            with torch.device(attn.to_k.weight.device):
                found[name] = kind(width, tokens, conditioning, temporal=temporal)
    return found
