"""Frames, and the conversion of their colours between a video's YUV and RGB."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import av

RGBImage = npt.NDArray[np.uint8]
"""``uint8 (H, W, 3)``, red first, upright (rotation already applied)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a video.

    Attributes:
        image: RGB, ``uint8 (H, W, 3)``.
        time: presentation time in seconds, exact, counted from the start of the video.
        index: 0 for the first frame of the video.
    """

    image: RGBImage
    time: Fraction
    index: int


_BT601, _BT709, _BT2020 = 5, 1, 9  # codes of ITU-T H.273, as FFmpeg uses them
_HD_HEIGHT: Final = 720
_UNKNOWN: Final = (0, 2, 3)


@dataclass(frozen=True, slots=True)
class ColorSpec:
    """Colour matrix and range of a video.

    Attributes:
        matrix: ``"bt601"``, ``"bt709"`` or ``"bt2020"``; where a video does not specify it, bt601
            below 720 lines and bt709 from there, as players assume.
        full_range: whether luma uses 0..255 rather than 16..235.
    """

    matrix: str
    full_range: bool

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Self:
        """Read the matrix and range of a decoded frame."""
        number = int(frame.colorspace) if frame.colorspace is not None else 2
        if number in _UNKNOWN:
            number = _BT709 if min(frame.width, frame.height) >= _HD_HEIGHT else _BT601
        matrix = {_BT709: "bt709", _BT2020: "bt2020", 10: "bt2020"}.get(number, "bt601")
        full = int(frame.color_range or 0) == 2 or frame.format.name.startswith("yuvj")
        return cls(matrix, full)

    @classmethod
    def usual(cls, height: int) -> Self:
        """Return what players assume for a new video of this height."""
        return cls("bt709" if height >= _HD_HEIGHT else "bt601", full_range=False)

    @property
    def number(self) -> int:
        """FFmpeg's code of the matrix in the stream header."""
        return {"bt601": 6, "bt709": 1, "bt2020": 9}[self.matrix]

    @property
    def swscale(self) -> int:
        """FFmpeg's code of the matrix for conversion."""
        return {"bt601": _BT601, "bt709": _BT709, "bt2020": _BT2020}[self.matrix]


def _exact(filter_name: str) -> int:
    """Return swscale flags with full chroma and rounding, without which each pass darkens."""
    from av.video.reformatter import Interpolation

    exact = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    return int(Interpolation[filter_name] | exact)


def to_rgb(frame: av.VideoFrame, color: ColorSpec) -> RGBImage:
    """Convert a decoded frame to RGB ``uint8 (H, W, 3)``; 10 bits are rounded to 8."""
    return frame.to_ndarray(
        format="rgb24",
        src_colorspace=color.swscale,
        dst_colorspace=color.swscale,
        src_color_range=2 if color.full_range else 1,
        dst_color_range=2,
        interpolation=_exact("AREA"),
    )


def from_rgb(image: RGBImage, pixel_format: str, color: ColorSpec) -> av.VideoFrame:
    """Convert RGB ``uint8 (H, W, 3)`` to a frame of ``pixel_format`` with the given colours."""
    import av

    rgb = av.VideoFrame.from_ndarray(image, format="rgb24")
    return rgb.reformat(
        format=pixel_format,
        src_colorspace=color.swscale,
        dst_colorspace=color.swscale,
        src_color_range=2,
        dst_color_range=2 if color.full_range else 1,
        interpolation=_exact("BICUBIC"),
    )
