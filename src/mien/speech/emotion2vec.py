"""emotion2vec+ large, the speech embedding of the published C-MET (arXiv 2604.07786, section 3.1).

A forward pass in PyTorch, without the authors' toolkit. Module names are those of the released
file, stripped of prefixes.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.errors import WeightsError
from mien.media.audio import SAMPLE_RATE_HZ, Samples

_SHORTEST: Final = 400
"""Samples of one frame."""

_KERNELS: Final = (10, 3, 3, 3, 3, 2, 2)
_STRIDES: Final = (5, 2, 2, 2, 2, 2, 2)
_POSITION_KERNEL: Final = 19
_POSITION_LAYERS: Final = 5
_POSITION_GROUPS: Final = 16
_EPSILON: Final = 1e-5
_LONGEST: Final = 30 * SAMPLE_RATE_HZ
"""Samples per pass; longer sound is split, as attention is quadratic in its length."""

_AUDIO: Final = "modality_encoders.AUDIO"


@dataclass(frozen=True, slots=True)
class Emotion2vecSpec:
    """Sizes of the net.

    Attributes:
        width: numbers per frame.
        heads: attention heads.
        prenet, blocks: transformer blocks of the audio encoder, and after it.
        channels: channels of the convolutions over the sound.
        extra: learned tokens prepended to the frames.
        classes: outputs of the classifier; 0 without one.
        groups: groups of the position convolutions.
    """

    width: int = 1024
    heads: int = 16
    prenet: int = 8
    blocks: int = 16
    channels: int = 512
    extra: int = 10
    classes: int = 9
    groups: int = _POSITION_GROUPS

    @classmethod
    def of(cls, weights: Mapping[str, Any]) -> Self:
        """Read the sizes from the shapes of tensors with the released names.

        Raises:
            WeightsError: when these are other tensors.
        """
        try:
            _, extra, width = weights[f"{_AUDIO}.extra_tokens"].shape
            heads = weights[f"{_AUDIO}.alibi_scale"].shape[2]
            channels = weights[f"{_AUDIO}.local_encoder.conv_layers.0.0.weight"].shape[0]
            position = weights[f"{_AUDIO}.relative_positional_encoder.1.0.weight"].shape
            classes = weights["proj.weight"].shape[0] if "proj.weight" in weights else 0
        except (KeyError, ValueError, IndexError) as error:
            raise WeightsError(
                f"This is not an emotion2vec checkpoint: {error} is missing or of another shape."
            ) from error

        def count(where: str) -> int:
            pattern = re.escape(where) + r"blocks\.(\d+)\."
            return len({m[1] for name in weights if (m := re.match(pattern, name))})

        return cls(
            width, heads, count(f"{_AUDIO}.context_encoder."), count(""), channels, extra, classes,
            groups=width // position[1],
        )  # fmt: skip


class _ConvLayer(nn.Sequential):
    def __init__(self, inputs: int, channels: int, kernel: int, stride: int) -> None:
        norm = nn.Sequential(nn.Identity(), nn.LayerNorm(channels, eps=_EPSILON))
        conv = nn.Conv1d(inputs, channels, kernel, stride, bias=False)
        super().__init__(conv, nn.Identity(), norm)

    def forward(self, x: Tensor) -> Tensor:
        y = self[2](self[0](x).transpose(1, 2)).transpose(1, 2)
        return F.gelu(y)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.heads = heads

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.qkv(x).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(y.transpose(1, 2).reshape(batch, length, width))


class _Block(nn.Module):
    """Post-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = _Attention(width, heads)
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        fc1, fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(OrderedDict(fc1=fc1, gelu=nn.GELU(), fc2=fc2))
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = self.norm1(x + self.attn(x, bias))
        return self.norm2(x + self.mlp(x))


def _blocks(spec: Emotion2vecSpec, count: int) -> nn.ModuleList:
    return nn.ModuleList(_Block(spec.width, spec.heads) for _ in range(count))


class _AudioEncoder(nn.Module):
    def __init__(self, spec: Emotion2vecSpec) -> None:
        super().__init__()
        width = spec.width
        self.extra_tokens = nn.Parameter(torch.zeros(1, spec.extra, width))
        self.alibi_scale = nn.Parameter(torch.ones(1, 1, spec.heads, 1, 1))
        inputs = [1] + [spec.channels] * (len(_KERNELS) - 1)
        forms = zip(inputs, _KERNELS, _STRIDES, strict=True)
        convs = nn.Sequential(*(_ConvLayer(a, spec.channels, k, s) for a, k, s in forms))
        self.local_encoder = nn.ModuleDict({"conv_layers": convs})
        self.project_features = nn.Sequential(
            nn.Identity(),
            nn.LayerNorm(spec.channels, eps=_EPSILON),
            nn.Linear(spec.channels, width),
        )
        pad = _POSITION_KERNEL // 2
        near = (
            nn.Conv1d(width, width, _POSITION_KERNEL, padding=pad, groups=spec.groups)
            for _ in range(_POSITION_LAYERS)
        )
        self.relative_positional_encoder = nn.Sequential(nn.Identity(), *map(nn.Sequential, near))
        norm, blocks = nn.LayerNorm(width, eps=_EPSILON), _blocks(spec, spec.prenet)
        self.context_encoder = nn.ModuleDict({"norm": norm, "blocks": blocks})

    def positions(self, x: Tensor) -> Tensor:
        """Compute relative positions of frames ``(B, T, width)``, to be added to them."""
        y = x.transpose(1, 2)
        for conv in list(self.relative_positional_encoder)[1:]:
            y = F.layer_norm(conv(y).transpose(1, 2), x.shape[-1:], eps=_EPSILON)
            y = F.gelu(y.transpose(1, 2))
        return y.transpose(1, 2)


class Output(NamedTuple):
    """``frames (T, width)``, their mean ``utterance (width,)`` and ``logits (classes,)``."""

    frames: Tensor
    utterance: Tensor
    logits: Tensor | None


class Emotion2vec(nn.Module):
    """Waveform to emotion embedding."""

    def __init__(self, spec: Emotion2vecSpec) -> None:
        super().__init__()
        self.spec = spec
        self.modality_encoders: Any = nn.Module()
        self.modality_encoders.AUDIO = _AudioEncoder(spec)
        self.blocks = _blocks(spec, spec.blocks)
        self.proj = nn.Linear(spec.width, spec.classes) if spec.classes else None

    def local(self, sound: Tensor) -> Tensor:
        """Compute convolutional features ``(T, width)`` of standardised sound ``(samples,)``."""
        audio = self.modality_encoders.AUDIO
        features = audio.local_encoder["conv_layers"](sound[None, None]).transpose(1, 2)
        out: Tensor = audio.project_features(features)[0]
        return out

    def forward(self, samples: Tensor) -> Output:
        """Embed one utterance ``(samples,)``, 16 kHz mono, at least 400 samples."""
        audio = self.modality_encoders.AUDIO
        sound = F.layer_norm(samples, samples.shape, eps=_EPSILON)
        x = self.local(sound)[None]
        x = x + audio.positions(x)
        x = torch.cat([audio.extra_tokens, x], 1)
        bias = self._alibi(x.shape[1]).to(x)
        x = audio.context_encoder["norm"](x)
        for block in (*audio.context_encoder["blocks"], *self.blocks):
            x = block(x, bias)
        frames = x[0, self.spec.extra :]
        utterance = frames.mean(0)
        return Output(frames, utterance, None if self.proj is None else self.proj(utterance))

    def _alibi(self, length: int) -> Tensor:
        """Attention bias ``(heads, length, length)`` that falls with distance."""
        extra = self.spec.extra
        scale = self.modality_encoders.AUDIO.alibi_scale.clamp(min=0).reshape(-1, 1, 1)
        place = torch.arange(length - extra, device=scale.device, dtype=scale.dtype)
        gap = (place[:, None] - place[None]).abs()
        slopes = torch.tensor(_slopes(self.spec.heads), device=scale.device, dtype=scale.dtype)
        bias = scale.new_zeros(self.spec.heads, length, length)
        bias[:, extra:, extra:] = -slopes[:, None, None] * gap * scale
        return bias


def _slopes(heads: int) -> list[float]:
    """ALiBi's slopes (Press et al. 2022), also for head counts that are not a power of two."""
    lower = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * k / lower) for k in range(1, lower + 1)]
    if lower == heads:
        return slopes
    return slopes + _slopes(2 * lower)[0::2][: heads - lower]


def frames_of(net: Emotion2vec, samples: Samples) -> npt.NDArray[np.float32]:
    """Compute the features of every frame, ``float32 (T, width)``, 50 per second.

    Args:
        net: in evaluation mode.
        samples: ``float32 (samples,)``, 16 kHz mono; less than a frame is padded with silence,
            more than 30 s is split into equal pieces.
    """
    return np.concatenate(list(frames_by_piece(net, samples)))


def frames_by_piece(net: Emotion2vec, samples: Samples) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the parts of :func:`frames_of`, one per piece."""
    pieces = max(1, -(-len(samples) // _LONGEST))
    size = max(_SHORTEST, -(-len(samples) // pieces))
    weight = net.modality_encoders.AUDIO.extra_tokens
    for start in range(0, max(1, len(samples)), size):
        piece = samples[start : start + size]
        piece = np.pad(piece, (0, max(0, _SHORTEST - len(piece))))
        with torch.no_grad():
            yield net(torch.from_numpy(piece).to(weight)).frames.float().cpu().numpy()


def embed(net: Emotion2vec, samples: Samples) -> npt.NDArray[np.float32]:
    """Compute the utterance embedding ``float32 (width,)``, not normalised, as in C-MET.

    Args:
        net: in evaluation mode.
        samples: as for :func:`frames_of`; pieces are weighted by their length.
    """
    return frames_of(net, samples).mean(0, dtype=np.float64).astype(np.float32)
