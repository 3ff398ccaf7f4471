"""The colours of a video: its matrix, range and tags, and conversion between YUV and RGB."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import av

Matrix = npt.NDArray[np.float64]

UNSPECIFIED: Final = 2
"""ITU-T H.273's code for a property that a file does not state."""

_BT709, _BT601, _YCGCO, _BT2020 = 1, 6, 8, 9
_LUMA_WEIGHTS: Final = {
    _BT709: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    _BT601: (0.299, 0.114),
    7: (0.212, 0.087),
    _BT2020: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
"""Weights of red and blue in luma, by H.273's code of the matrix."""

_PQ, _HLG = 16, 18
_SWSCALE_MATRICES: Final = {_BT709: 1, 4: 4, 7: 7, _BT2020: 9, 10: 9}
_HD_HEIGHT: Final = 720


@dataclass(frozen=True, slots=True)
class ColorSpec:
    """How the samples of a video stand for colours; codes of ITU-T H.273, 2 where not stated.

    Attributes:
        matrix: matrix coefficients.
        full_range: whether 8-bit luma uses 0..255 rather than 16..235.
        primaries: colour primaries.
        transfer: transfer characteristics.
        height: shorter side of the video, from which a matrix that is not stated is guessed.
    """

    matrix: int = UNSPECIFIED
    full_range: bool = False
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    height: int = 0

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Self:
        """Read the colours of a decoded frame."""
        name, stated = frame.format.name, int(frame.color_range or 0)
        # FFmpeg's grey has the full range unless it is marked otherwise.
        full = stated == 2 or name.startswith("yuvj") or (name.startswith("gray") and stated != 1)
        matrix, primaries, transfer = (
            UNSPECIFIED if code is None else int(code)
            for code in (frame.colorspace, frame.color_primaries, frame.color_trc)
        )
        return cls(matrix, full, primaries, transfer, min(frame.width, frame.height))

    @classmethod
    def usual(cls, height: int) -> Self:
        """Return what players assume for a new video whose shorter side is ``height``."""
        matrix = _BT709 if height >= _HD_HEIGHT else _BT601
        return cls(matrix, height=height)

    @property
    def used_matrix(self) -> int:
        """The matrix; where it is not stated, BT.601 below 720 lines and BT.709 from there."""
        if self.matrix in _LUMA_WEIGHTS or self.matrix == _YCGCO:
            return self.matrix
        return _BT709 if self.height >= _HD_HEIGHT else _BT601

    @property
    def swscale_matrix(self) -> int:
        """FFmpeg's code of the matrix for conversion by libswscale."""
        return _SWSCALE_MATRICES.get(self.used_matrix, 5)

    @property
    def hdr(self) -> bool:
        """Whether the transfer function is that of HDR10 (PQ) or HLG."""
        return self.transfer in (_PQ, _HLG)


@lru_cache(maxsize=16)
def to_rgb_matrix(matrix: int, full_range: bool, bits: int) -> Matrix:
    """Return the affine map from YUV samples to RGB, ``float64 (3, 4)``.

    Args:
        matrix: H.273's code.
        full_range: as in :class:`ColorSpec`.
        bits: of a sample, 8 to 16. RGB is 0..255 for 8 bits, otherwise 0..65535.
    """
    if matrix == _YCGCO:
        linear = np.array([[1.0, -1.0, 1.0], [1.0, 1.0, 0.0], [1.0, -1.0, -1.0]])
    else:
        red, blue = _LUMA_WEIGHTS[matrix]
        green = 1 - red - blue
        linear = np.array(
            [
                [1, 0, 2 * (1 - red)],
                [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
                [1, 2 * (1 - blue), 0],
            ]
        )
    unit = 2.0 ** (bits - 8)
    low, luma, chroma = (0.0, 2**bits - 1.0, 2**bits - 1.0)
    if not full_range:
        low, luma, chroma = 16 * unit, 219 * unit, 224 * unit
    scaled = linear / [luma, chroma, chroma]
    offset = -scaled @ [low, 128 * unit, 128 * unit]
    peak = 255.0 if bits == 8 else 65535.0
    return np.hstack([scaled, offset[:, None]]) * peak


@lru_cache(maxsize=16)
def from_rgb_difference(matrix: int, full_range: bool, bits: int) -> Matrix:
    """Return the linear map from a difference of RGB to one of YUV samples, ``float64 (3, 3)``.

    The inverse of :func:`to_rgb_matrix` without its offset.
    """
    return np.asarray(np.linalg.inv(to_rgb_matrix(matrix, full_range, bits)[:, :3]), np.float64)
