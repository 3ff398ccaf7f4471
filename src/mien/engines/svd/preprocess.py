"""Prepare a portrait and a voice for the networks, as published (arXiv 2504.18087)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.media.audio import SAMPLE_RATE_HZ, Samples
from mien.media.frame import RGBImage

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]
Array = npt.NDArray[np.float32]

_MULTIPLE: Final = 64
_CLIP_SIDE: Final = 224
_CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
_CLIP_DEVIATION: Final = (0.26862954, 0.26130258, 0.27577711)
_MASK_SCALE: Final = 1.1

HIDDEN_STATES: Final = 5
"""Whisper-tiny's embedding, three layers and the normalised last one."""

STATES_PER_FRAME: Final = 10
"""Time steps of hidden states, 50 per second, in a frame's window."""

_STATES_PER_SECOND: Final = 50
_SAMPLES_PER_STATE: Final = SAMPLE_RATE_HZ // _STATES_PER_SECOND
_STATE_STRIDE: Final = 4
_BEFORE: Final = 4
_PIECE: Final = 30 * SAMPLE_RATE_HZ
_OVERLAP: Final = 2 * SAMPLE_RATE_HZ

Encode = Callable[[Samples], Tensor]
"""Samples of at most 30 s to hidden states ``(T, 5, C)``, 50 per second."""


@dataclass(frozen=True, slots=True)
class PreparedPortrait:
    """A portrait as input of the networks.

    Attributes:
        reference: ``float32 (3, H, W)``, -1..1.
        mask: the face, ``float32 (3, H, W)``, 0..1, with soft edges.
        clip: ``float32 (3, 224, 224)``, normalised for CLIP.
    """

    reference: Array
    mask: Array
    clip: Array


def working_size(width: int, height: int, shorter_side: int = 512) -> tuple[int, int]:
    """Return width and height to generate: multiples of 64, the shorter one near the given."""
    scale = shorter_side / min(width, height)
    return (
        max(1, round(width * scale / _MULTIPLE)) * _MULTIPLE,
        max(1, round(height * scale / _MULTIPLE)) * _MULTIPLE,
    )


def mask_box(box: Box, width: int, height: int, scale: float = _MASK_SCALE) -> tuple[int, ...]:
    """Return corners ``x0, y0, x1, y1`` of the mask for a face box ``x, y, w, h``."""
    x, y, w, h = box
    centre = (int((x + x + w) // 2), int((y + y + h) // 2))
    half = (int(w * scale // 2), int(h * scale // 2))
    return (
        max(0, centre[0] - half[0]),
        max(0, centre[1] - half[1]),
        min(width, centre[0] + half[0]),
        min(height, centre[1] + half[1]),
    )


def crop_box(corners: Box, width: int, height: int, grow: float) -> tuple[int, int, int, int]:
    """Return a square around a face.

    The box grows on every side, is clipped to the image, then shortened to a square on the side
    farther from the face.

    Args:
        corners: ``x0, y0, x1, y1`` of the face.
        width: of the image.
        height: of the image.
        grow: share of the box's width and height added on every side.
    """
    x0, y0, x1, y1 = corners
    w, h = x1 - x0, y1 - y0
    left, right = max(0, x0 - grow * w), min(width, x1 + grow * w)
    top, bottom = max(0, y0 - grow * h), min(height, y1 + grow * h)
    side = min(right - left, bottom - top)
    left, right = _shorten(left, right, side, (x0 + x1) / 2)
    top, bottom = _shorten(top, bottom, side, (y0 + y1) / 2)
    return round(left), round(top), round(right), round(bottom)


def _shorten(low: float, high: float, side: float, face: float) -> tuple[float, float]:
    spare = (high - low - side) / 2
    middle = (low + high) / 2
    middle += min(max(face - middle, -spare), spare)
    return middle - side / 2, middle + side / 2


def prepare_portrait(
    image: RGBImage, box: Box, *, shorter_side: int = 512, mask_scale: float = _MASK_SCALE
) -> PreparedPortrait:
    """Prepare a portrait.

    Args:
        image: ``uint8 (h, w, 3)``.
        box: the face's ``x, y, w, h`` in it.
        shorter_side: shorter side to generate, pixels.
        mask_scale: size of the mask relative to the box.
    """
    from PIL import Image

    height, width = image.shape[:2]
    size = working_size(width, height, shorter_side)
    x0, y0, x1, y1 = mask_box(box, width, height, mask_scale)
    mask = np.zeros_like(image)
    mask[y0:y1, x0:x1] = 255
    picture = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    masked = Image.fromarray(mask).resize(size, Image.Resampling.LANCZOS)
    small = picture.resize((_CLIP_SIDE, _CLIP_SIDE), Image.Resampling.LANCZOS)
    return PreparedPortrait(
        _planes(picture) * 2 - 1,
        _planes(masked),
        (_planes(small) - _column(_CLIP_MEAN)) / _column(_CLIP_DEVIATION),
    )


def _planes(picture: Image) -> Array:
    values: npt.NDArray[Any] = np.asarray(picture, np.float32) / 255
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def _column(values: Sequence[float]) -> Array:
    return np.array(values, np.float32)[:, None, None]


def frame_count(samples: int) -> int:
    """Return the frames of a voice, at least one; a partial last frame counts."""
    return max(1, -(-samples // (_STATE_STRIDE * _SAMPLES_PER_STATE)))


def hidden_states(samples: Samples, encode: Encode) -> Tensor:
    """Compute Whisper's hidden states of a voice of any length, ``(T, 5, C)``.

    Whisper takes 30 s at once. Longer voices are encoded in pieces that overlap by two seconds and
    are joined in the middle of the overlap, so that no state lacks context.
    """
    return torch.cat(list(hidden_states_by_piece(samples, encode)))


def hidden_states_by_piece(samples: Samples, encode: Encode) -> Iterator[Tensor]:
    """Yield the parts of :func:`hidden_states`, one per piece."""
    left = 2 * (len(samples) // (2 * _SAMPLES_PER_STATE))
    half = _OVERLAP // 2 // _SAMPLES_PER_STATE
    for start in range(0, max(1, len(samples) - _OVERLAP), _PIECE - _OVERLAP):
        piece = samples[start : start + _PIECE]
        states = encode(piece)[: -(-len(piece) // _SAMPLES_PER_STATE)]
        last = start + _PIECE >= len(samples)
        states = states[half if start else 0 : None if last else -half][:left]
        left -= len(states)
        yield states


def audio_windows(states: Tensor, frames: int | None = None) -> Tensor:
    """Return the hidden states around every frame, ``(N, 10, 5, C)``.

    Args:
        states: ``(T, 5, C)``.
        frames: N; the number of whole frames by default. The last window repeats beyond them.
    """
    count = len(states) // _STATE_STRIDE if frames is None else frames
    return audio_windows_at(torch.arange(count), len(states), lambda a, b: states[a:b])


def audio_windows_at(frames: Tensor, total: int, read: Callable[[int, int], Tensor]) -> Tensor:
    """Return the hidden states around some frames, ``(N, 10, 5, C)``, reading no others.

    Args:
        frames: their numbers, ``int (N,)``, in rising order.
        total: number of hidden states of the voice.
        read: called with a range of them, ``(T, 5, C)``.
    """
    first = _STATE_STRIDE * frames.clamp(max=max(0, total // _STATE_STRIDE - 1)) - _BEFORE
    low, high = (int(first[0]), int(first[-1]) + STATES_PER_FRAME) if len(first) else (0, 0)
    states = read(max(0, low), min(total, high))
    padded = F.pad(states, (0, 0, 0, 0, max(0, -low), max(0, high - total)))
    return padded[(first - low)[:, None] + torch.arange(STATES_PER_FRAME)]


def whisper_encoder(net: Any, device: torch.device) -> Encode:  # noqa: ANN401
    """Return an encoder of transformers' Whisper as a function of samples."""
    from transformers import WhisperFeatureExtractor

    extract = WhisperFeatureExtractor(feature_size=net.config.num_mel_bins)

    def encode(samples: Samples) -> Tensor:
        mel = extract(samples, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt").input_features
        length = 2 * net.config.max_source_positions
        with torch.inference_mode():
            out = net(
                mel[..., :length].to(device, next(net.parameters()).dtype),
                output_hidden_states=True,
            )
        return torch.stack(out.hidden_states, 2)[0].float()

    return encode
