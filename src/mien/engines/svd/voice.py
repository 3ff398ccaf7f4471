"""A voice as the UNet hears it: Whisper's hidden states in windows of 0.2 s (dicetalk.md, 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.media.audio import SAMPLE_RATE_HZ, Samples

STATES: Final = 5
"""Whisper-tiny's embedding, three layers and the normalised last one."""

STEPS: Final = 10
"""Hidden states, 50 a second, that a frame hears."""

FRAME_RATE: Final = 12.5
"""Frames a second that the UNet makes."""

_BEFORE, _AFTER = 4, 6
_STRIDE: Final = 4
_PER_STEP: Final = 640
"""Samples of two hidden states."""

_PIECE: Final = 30 * SAMPLE_RATE_HZ
_OVERLAP: Final = 2 * SAMPLE_RATE_HZ

Encode = Callable[[Samples], Tensor]
"""Samples of at most 30 s to hidden states ``(T, 5, C)``, 50 a second."""


def frame_count(samples: int) -> int:
    """Frames of a voice; the last one is held where less than one is left over."""
    return max(1, -(-samples // (2 * _PER_STEP)))


def hidden_states(samples: Samples, encode: Encode) -> Tensor:
    """Hidden states of a voice of any length, ``(T, 5, C)``.

    Whisper hears 30 s at once. Longer voices are heard in pieces that overlap by two seconds and
    join in the middle of that, so that none begins in the middle of a word unprepared.
    """
    steps = 2 * (len(samples) // _PER_STEP)
    kept = [states for _, states in _pieces(samples, encode)]
    return torch.cat(kept)[:steps] if kept else torch.zeros(0, STATES, 1)


def _pieces(samples: Samples, encode: Encode) -> Iterator[tuple[int, Tensor]]:
    rate = SAMPLE_RATE_HZ // 50
    half = _OVERLAP // 2 // rate
    start = 0
    while True:
        piece = samples[start : start + _PIECE]
        states = encode(piece)[: -(-len(piece) // rate)]
        last = start + _PIECE >= len(samples)
        yield start // rate, states[half if start else 0 : None if last else -half]
        if last:
            return
        start += _PIECE - _OVERLAP


def windows(states: Tensor, frames: int | None = None) -> Tensor:
    """What every frame hears, ``(N, 10, 5, C)``.

    Args:
        states: ``(T, 5, C)``.
        frames: how many; as many as there are whole ones by default. The last one is held.
    """
    whole = len(states) // _STRIDE
    padded = F.pad(states, (0, 0, 0, 0, _BEFORE, _AFTER))
    wanted = whole if frames is None else frames
    first = _STRIDE * torch.arange(wanted).clamp(max=max(0, whole - 1))
    return padded[first[:, None] + torch.arange(STEPS)]


def whisper_encoder(net: Any, device: torch.device) -> Encode:  # noqa: ANN401
    """Encoder of Whisper (transformers) as a function of samples."""
    from transformers import WhisperFeatureExtractor

    extract = WhisperFeatureExtractor(feature_size=net.config.num_mel_bins)

    def encode(samples: Samples) -> Tensor:
        given = extract(samples, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt").input_features
        wide = 2 * net.config.max_source_positions
        with torch.inference_mode():
            told = net(
                given[..., :wide].to(device, next(net.parameters()).dtype),
                output_hidden_states=True,
            )
        return torch.stack(told.hidden_states, 2)[0].float()

    return encode
