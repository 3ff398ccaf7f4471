"""Colour between a video's YUV and mien's RGB, the same way in and out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from mien.media.frame import RGBImage

if TYPE_CHECKING:
    import av

_BT601, _BT709, _BT2020 = 5, 1, 9  # numbers of ITU-T H.273 as FFmpeg uses them
_HD_HEIGHT: Final = 720
_UNKNOWN: Final = (0, 2, 3)


@dataclass(frozen=True, slots=True)
class ColorSpec:
    """Matrix and range of a picture.

    Attributes:
        matrix: ``"bt601"``, ``"bt709"`` or ``"bt2020"``; where a video does not say, small
            pictures are taken as bt601 and large ones as bt709, as players do.
        full_range: whether luma uses 0..255 rather than 16..235.
    """

    matrix: str
    full_range: bool

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Self:
        """Read it off a decoded picture."""
        number = int(frame.colorspace) if frame.colorspace is not None else 2
        if number in _UNKNOWN:
            number = _BT709 if min(frame.width, frame.height) >= _HD_HEIGHT else _BT601
        matrix = {_BT709: "bt709", _BT2020: "bt2020", 10: "bt2020"}.get(number, "bt601")
        full = int(frame.color_range or 0) == 2 or frame.format.name.startswith("yuvj")
        return cls(matrix, full)

    @classmethod
    def usual(cls, height: int) -> Self:
        """What players expect of a new video of a height."""
        return cls("bt709" if height >= _HD_HEIGHT else "bt601", full_range=False)

    @property
    def number(self) -> int:
        """FFmpeg's number of the matrix for the stream header."""
        return {"bt601": 6, "bt709": 1, "bt2020": 9}[self.matrix]

    @property
    def swscale(self) -> int:
        """FFmpeg's number of the matrix for conversion."""
        return {"bt601": _BT601, "bt709": _BT709, "bt2020": _BT2020}[self.matrix]


def _exact(filter_name: str) -> int:
    """Conversion flags: full chroma and rounding, else every pass darkens by more than a level."""
    from av.video.reformatter import Interpolation

    exact = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    return int(Interpolation[filter_name] | exact)


def to_rgb(frame: av.VideoFrame, color: ColorSpec) -> RGBImage:
    """Decoded picture to RGB ``uint8 (H, W, 3)``; 10-bit pictures are rounded to 8."""
    return frame.to_ndarray(
        format="rgb24",
        src_colorspace=color.swscale,
        dst_colorspace=color.swscale,
        src_color_range=2 if color.full_range else 1,
        dst_color_range=2,
        interpolation=_exact("AREA"),
    )


def from_rgb(image: RGBImage, pixel_format: str, color: ColorSpec) -> av.VideoFrame:
    """RGB ``uint8 (H, W, 3)`` to a picture of ``pixel_format`` with the given matrix and range."""
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
