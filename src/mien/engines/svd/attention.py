"""Cross attention with adapters for audio and emotion, and the conditioning they share.

``out = attn(q, K_clip, V_clip) + sum over streams of scale * attn(q, K_s, V_s)`` with one query
(DICE-Talk, arXiv 2504.18087). Work that does not depend on the query is done once per clip.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

STREAMS: Final = ("audio", "emotion")
"""Order of the adapters' streams in the published weights."""

T = TypeVar("T")


@dataclass(slots=True)
class Stream:
    """Tokens of one stream.

    Attributes:
        table: every distinct entry ``(K, T, C)``, constant for a clip.
        rows: the entry of each branch and frame of the current call, ``int64 (B, F)``.
        scale: weight of the stream's attention.
    """

    table: Tensor
    rows: Tensor
    scale: float = 1.0

    def tokens(self) -> Tensor:
        """Return the tokens of the call, ``(B, F, T, C)``."""
        return self.table[self.rows]


@dataclass(slots=True)
class Conditioning:
    """The conditioning of a UNet call, shared by all adapters.

    Attributes:
        streams: audio and emotion.
        mask: face mask ``(1, 1, H, W)`` at the image's size; None applies the streams everywhere.
        pose: the pose guider's feature ``(1 or B * F, C, h, w)``, added after ``conv_in``.
        caching: whether values that stay constant within a clip are kept.
        clamp: clamp the resampled mask to 0..1; the published resampling overshoots.
    """

    streams: tuple[Stream, ...] = ()
    mask: Tensor | None = None
    pose: Tensor | None = None
    caching: bool = True
    clamp: bool = False
    _cache: dict[Hashable, Any] = field(default_factory=dict)

    def start(self, streams: tuple[Stream, ...], mask: Tensor | None, pose: Tensor | None) -> None:
        """Begin another clip."""
        self.streams, self.mask, self.pose = streams, mask, pose
        self._cache.clear()

    def cached(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return ``compute()``, computed once per clip for every key."""
        if not self.caching:
            return compute()
        if key not in self._cache:
            self._cache[key] = compute()
        value: T = self._cache[key]
        return value

    def mask_for(self, count: int, dtype: torch.dtype) -> Tensor | None:
        """Return the mask on a layer's grid of ``count`` pixels, ``(1, count, 1)``."""
        mask = self.mask
        if mask is None:
            return None

        def resample() -> Tensor:
            size = grid_of(count, mask.shape[-2], mask.shape[-1])
            small = F.interpolate(mask[:, :1], size=size, mode="bicubic", align_corners=False)
            return (small.clamp(0, 1) if self.clamp else small).flatten(1)[..., None].to(dtype)

        return self.cached((count, dtype), resample)


def grid_of(count: int, height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of a grid of ``count`` pixels over a ``height x width`` image."""
    rows = int((count / (width / height)) ** 0.5)
    rows += int(count % rows != 0)
    return rows, count // rows


class AdapterAttention(nn.Module):
    """Attention processor of an ``attn2`` layer of diffusers' UNet.

    Keys and values are projected once per clip (spatial layers), or from the window's mean once per
    window (temporal layers, where all pixels share them and are folded into the query's axis).
    Attribute names are the keys of the published weights.

    Args:
        width: channels of the layer.
        tokens: channels of the streams' tokens.
        conditioning: shared by all layers.
        temporal: whether the layer attends over time.
    """

    def __init__(
        self, width: int, tokens: int, conditioning: Conditioning, *, temporal: bool
    ) -> None:
        super().__init__()
        self.to_k_ip = nn.ModuleList(nn.Linear(tokens, width, bias=False) for _ in STREAMS)
        self.to_v_ip = nn.ModuleList(nn.Linear(tokens, width, bias=False) for _ in STREAMS)
        self.temporal = temporal
        self.conditioning = conditioning

    def copy_projections(self, attn: Any) -> None:  # noqa: ANN401 - a layer of diffusers
        """Initialise from the stock layer's projections, as the published training did."""
        for adapters, stock in ((self.to_k_ip, attn.to_k), (self.to_v_ip, attn.to_v)):
            for linear in adapters:
                linear.load_state_dict({"weight": stock.weight.data})

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any  # noqa: ANN401
    ) -> Tensor:  # fmt: skip
        """Attend ``(B, n, C)``: branches by frames, or branches by pixels over time."""
        conditioning = self.conditioning
        query = attn.to_q(hidden_states)
        added: Tensor | None = None
        for i, stream in enumerate(conditioning.streams):
            attend = self._over_time if self.temporal else self._over_space
            term = attend(query, i, stream, attn.heads)
            term = term if stream.scale == 1 else term * stream.scale
            added = term if added is None else added + term
        if not self.temporal:
            mask = conditioning.mask_for(hidden_states.shape[1], query.dtype)
            added = added if mask is None or added is None else added * mask
        out = attn.to_v(encoder_hidden_states)
        if encoder_hidden_states.shape[1] > 1:  # the softmax over a single token is 1
            out = _attend(query, attn.to_k(encoder_hidden_states), out, attn.heads)
        out = out if added is None else out + added
        projected: Tensor = attn.to_out[1](attn.to_out[0](out))
        return projected

    def _over_space(self, query: Tensor, i: int, stream: Stream, heads: int) -> Tensor:
        key, value = self.conditioning.cached(
            (id(self), i), lambda: (self.to_k_ip[i](stream.table), self.to_v_ip[i](stream.table))
        )
        rows = stream.rows.flatten()
        return _attend(query, key[rows], value[rows], heads)

    def _over_time(self, query: Tensor, i: int, stream: Stream, heads: int) -> Tensor:
        tokens = stream.tokens().mean(1)
        folded = query.reshape(len(tokens), -1, query.shape[-1])
        key, value = self.to_k_ip[i](tokens), self.to_v_ip[i](tokens)
        return _attend(folded, key, value, heads).reshape(query.shape)


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Attention of ``(B, n, C)`` over ``(B, m, C)``."""
    q, k, v = (x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def processors(
    unet: Any,  # noqa: ANN401
    conditioning: Conditioning,
    adapter: type[AdapterAttention] = AdapterAttention,
) -> dict[str, Any]:
    """Return the UNet's attention processors with an adapter in every cross-attention layer."""
    found: dict[str, Any] = dict(unet.attn_processors)
    for name in found:
        if name.endswith("attn2.processor"):
            attn = unet.get_submodule(name.removesuffix(".processor"))
            temporal = "temporal_transformer_blocks" in name
            width, tokens = attn.to_k.weight.shape
            with torch.device(attn.to_k.weight.device):
                found[name] = adapter(width, tokens, conditioning, temporal=temporal)
    return found
