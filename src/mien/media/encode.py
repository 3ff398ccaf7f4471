"""Choose the encoder of a video: codec, pixel format, options; by default near the input's own."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from mien.errors import InputError
from mien.media.planes import Layout, layout_of
from mien.media.read import VideoInfo

if TYPE_CHECKING:
    import av

QUALITY: Final = 18
"""Default constant rate factor of H.264 and HEVC, visually lossless; higher compresses more."""

CODECS: Final = {
    "h264": "libx264",
    "h265": "libx265",
    "hevc": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "vp8": "libvpx",
    "prores": "prores_ks",
    "mpeg4": "mpeg4",
    "mpeg2": "mpeg2video",
}
"""Short names of codecs and the encoders they stand for."""

_SUFFIX_CODECS: Final = {
    ".webm": "libvpx-vp9",
    ".avi": "mpeg4",
    ".mpg": "mpeg2video",
    ".mpeg": "mpeg2video",
    ".gif": "gif",
    ".png": "apng",
    ".apng": "apng",
    ".webp": "libwebp_anim",
}
_QUICKTIME: Final = (".mp4", ".mov", ".m4v")

_MPEG_RATES: Final = tuple(
    map(Fraction, ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60"))
)
_LARGE: Final = 4_000_000
"""Pixels of a frame beyond which H.264 looks fewer frames ahead."""

_X26X_PRESETS: Final = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow",
    "placebo",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Family:
    """How the encoders of a family take their options.

    Attributes:
        preset: the option for speed, its default.
        quality: the option for quality, its default, least and greatest value; None without one.
        options: further options.
        signals_range: whether the stream says that luma has the full range.
        interlaces: whether it codes fields.
        even: whether sides must be even where chroma is subsampled.
        constant_rate: whether frames lie on a grid of equal steps.
        ticks: units of a second in which times are stored; 0 for any.
        least_ticks: shortest time of a frame.
        formats: the pixel formats that are used; empty for all.
    """

    preset: tuple[str, str] | None = None
    quality: tuple[str, int, int, int] | None = None
    options: tuple[tuple[str, str], ...] = ()
    signals_range: bool = True
    interlaces: bool = False
    even: bool = False
    constant_rate: bool = False
    ticks: int = 0
    least_ticks: int = 0
    formats: tuple[str, ...] = ()


_FAMILIES: Final = {
    "libx264": _Family(("preset", "veryfast"), ("crf", QUALITY, 0, 51), interlaces=True, even=True),
    "libx264rgb": _Family(("preset", "veryfast"), ("crf", QUALITY, 0, 51)),
    "libx265": _Family(
        ("preset", "veryfast"), ("crf", QUALITY, 0, 51), (("x265-params", "log-level=error"),),
        even=True,
    ),
    "libsvtav1": _Family(("preset", "8"), ("crf", 26, 0, 63), even=True),
    "libvpx-vp9": _Family(
        ("cpu-used", "6"), ("crf", 26, 0, 63),
        (("deadline", "realtime"), ("row-mt", "1"), ("b", "0")),
    ),
    "libvpx": _Family(("cpu-used", "6"), ("crf", 10, 4, 63), (("b", "20M"),), signals_range=False),
    "prores_ks": _Family(None, ("qscale", 4, 1, 31), signals_range=False, interlaces=True),
    "ffv1": _Family(options=(("level", "3"), ("slicecrc", "1"))),
    "mpeg4": _Family(None, ("qscale", 2, 1, 31), (), False, True, False, True),
    "mpeg2video": _Family(None, ("qscale", 2, 1, 31), (), False, True, False, True),
    "mjpeg": _Family(None, ("qscale", 2, 1, 31), even=False),
    # Browsers slow frames of less than 20 ms down.
    "gif": _Family(ticks=100, least_ticks=2, formats=("pal8",)),
    "apng": _Family(),
    # Of YUV it knows BT.601 alone.
    "libwebp_anim": _Family(
        None, ("quality", 90, 0, 100), ticks=1000, least_ticks=1, formats=("bgra",)
    ),
    "_nvenc": _Family(("preset", "p4"), ("cq", 19, 0, 51), even=True),
    "_qsv": _Family(("preset", "medium"), ("global_quality", 20, 1, 51), even=True),
    "_videotoolbox": _Family(None, ("q:v", 65, 1, 100), even=True),
    "_amf": _Family(("quality", "balanced"), ("qp_p", 20, 0, 51), even=True),
    "_vaapi": _Family(None, ("qp", 20, 0, 51), even=True),
}  # fmt: skip
"""By encoder, or by the ending of hardware encoders' names."""


@dataclass(frozen=True, slots=True)
class EncodingSettings:
    """How a video is written.

    Attributes:
        codec: ``h264``, ``hevc``, ``av1``, ``vp9``, ``prores``, ``ffv1``, or the name of any
            encoder of FFmpeg (``h264_nvenc``, ``hevc_videotoolbox`` …); None for the container's
            usual one: H.264, or for transparency ProRes 4444 (MOV) and FFV1 (MKV).
        quality: on the codec's own scale (constant rate factor 0 to 51 for H.264 and HEVC, 0 to 63
            for VP9 and AV1, quantiser 1 to 31 for MPEG and ProRes), lower is better; None for
            visually lossless.
        preset: speed against size, as the encoder names it (``ultrafast`` … ``veryslow``).
        lossless: encode the samples exactly.
    """

    codec: str | None = None
    quality: int | None = None
    preset: str | None = None
    lossless: bool = False


@dataclass(frozen=True, slots=True)
class Encoding:
    """A chosen encoder.

    Attributes:
        encoder: FFmpeg's name.
        pixel_format: of the frames it gets.
        full_range: range of luma in these frames.
        options: its options.
        rate: frames per second.
        time_base: seconds per tick of the time stamps.
        least_step: ticks between two frames at least.
        interlaced: whether it codes two fields.
        warnings: properties of the input that are lost.
    """

    encoder: str
    pixel_format: str
    full_range: bool
    options: dict[str, str]
    rate: Fraction
    time_base: Fraction
    least_step: int = 0
    interlaced: bool = False
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a short description, such as ``libx264, yuv420p, crf 18, preset veryfast``."""
        shown = ("crf", "qp", "qscale", "cq", "preset", "cpu-used", "quality", "lossless")
        parts = [f"{key} {self.options[key]}" for key in shown if key in self.options]
        return ", ".join([self.encoder, self.pixel_format, *parts])


def choose_encoding(suffix: str, info: VideoInfo, settings: EncodingSettings) -> Encoding:
    """Choose the encoder for a video.

    Args:
        suffix: of the output, which selects the container.
        info: the video whose frames are encoded.
        settings: what the user wants.

    Raises:
        InputError: for a codec, quality or preset that does not exist or does not fit.
    """
    suffix = suffix.lower()
    name = _encoder_name(suffix, info, settings)
    family = _family(name)
    formats = list(family.formats) or _formats(name)
    layout = _upright_layout(info)
    if name == "libwebp_anim" and info.exact and layout.bits == 8 and settings.quality is None:
        settings = replace(settings, lossless=True)
    pixel_format = _pixel_format(layout, info, family, formats, exact=settings.lossless)
    if pixel_format is None:
        raise InputError(
            f"{name} cannot store {layout.name} without loss; use an .mkv output (FFV1)."
        )
    warnings = []
    chosen = layout_of(pixel_format)
    if chosen.bits < layout.bits:
        warnings.append(f"{name} takes {chosen.bits} bits per sample; the input has {layout.bits}.")
    if info.interlaced and not family.interlaces:
        warnings.append(f"{name} is progressive: the output is not marked as interlaced.")
    options = _options(name, family, settings, layout)
    usual = settings.preset is None and not settings.lossless
    if name.startswith("libx264") and usual and info.width * info.height > _LARGE:
        options["rc-lookahead"] = "5"  # half of the preset's: such frames take much memory
    if info.color.hdr and (info.mastering or info.light_level):
        params = _hdr_parameters(info)
        if name in ("libx264", "libx265"):
            key = f"{name[3:]}-params"
            options[key] = ":".join(filter(None, (options.get(key, ""), *params[name])))
        else:
            warnings.append(f"The data of the mastering display cannot be stored by {name}.")
    rate = info.rate
    if name == "mpeg2video":
        rate = min(_MPEG_RATES, key=lambda one: abs(one - info.rate))
    return Encoding(
        encoder=name,
        pixel_format=pixel_format,
        full_range=_full_range(layout, info, family, chosen),
        options=options,
        rate=rate,
        time_base=1 / rate
        if family.constant_rate
        else Fraction(1, family.ticks)
        if family.ticks
        else info.time_base,
        least_step=1 if family.constant_rate else family.least_ticks,
        interlaced=info.interlaced and family.interlaces,
        warnings=tuple(warnings),
    )


def _encoder_name(suffix: str, info: VideoInfo, settings: EncodingSettings) -> str:
    import av

    if settings.codec is not None:
        name = CODECS.get(settings.codec.lower(), settings.codec)
        try:
            codec = av.Codec(name, "w")
        except (av.codec.codec.UnknownCodecError, ValueError) as error:
            raise InputError(
                f"There is no encoder {settings.codec[:60]!r}. Use one of "
                f"{', '.join(CODECS)}, ffv1, or the name of a video encoder of FFmpeg."
            ) from error
        if codec.type != "video":
            raise InputError(f"{settings.codec!r} does not encode video.")
        return name
    usual = _SUFFIX_CODECS.get(suffix)
    layout = info.layout
    if settings.lossless:
        if suffix in (".mpg", ".mpeg", ".gif"):
            raise InputError(f"{suffix} cannot hold a video without loss; use .mkv or .mp4.")
        if usual is not None and suffix != ".avi":
            return usual
        for name in ("libx264", "libx264rgb"):
            even = _FAMILIES[name]
            if suffix in _QUICKTIME and _pixel_format(
                _upright_layout(info), info, even, _formats(name), exact=True
            ):
                return name
        return "ffv1"
    if usual is not None:
        return usual
    if layout.alpha and suffix == ".mov":
        return "prores_ks"
    if layout.alpha and suffix == ".mkv":
        return "ffv1"
    return "libx264"


def _family(name: str) -> _Family:
    for ending, family in _FAMILIES.items():
        if name == ending or (ending.startswith("_") and name.endswith(ending)):
            return family
    return _Family()


def _formats(encoder: str) -> list[str]:
    import av

    formats = av.Codec(encoder, "w").video_formats or ()
    # libvpx names further formats with alpha, but opens with 4:2:0 alone.
    refused = r"gbrap|yuva(?!420p$)" if encoder.startswith("libvpx") else "$"
    return [one.name for one in formats if not re.match(refused, one.name)]


def _upright_layout(info: VideoInfo) -> Layout:
    """Return the layout of upright frames: a quarter turn exchanges the subsampling factors."""
    layout = info.layout
    if not info.orientation.sideways or layout.across == layout.down:
        return layout
    name = layout.name.replace("422", "440").replace("411", "444")
    return replace(layout, name=name, across=layout.down, down=layout.across)


def _pixel_format(
    layout: Layout, info: VideoInfo, family: _Family, formats: list[str], *, exact: bool
) -> str | None:
    """Return the format of an encoder that is nearest to ``layout``; None without an exact one."""
    from av.codec.codec import find_best_pix_fmt_of_list

    def fits(name: str) -> bool:
        across, down = _subsampling(name)
        return not family.even or (info.width % across == 0 and info.height % down == 0)

    usable = [name for name in formats if fits(name)] or formats or [layout.name]
    plain = layout.name.replace("yuvj", "yuv")
    for name in (layout.name, plain):
        if name in usable:
            return name
    same = {
        "gbrp": ("bgr0", "rgb24", "bgr24", "bgra"),
        "gbrap": ("bgra", "rgba", "argb", "abgr"),
        "gbrp16le": ("rgb48le", "rgb48be"),
        "gbrap16le": ("rgba64le", "rgba64be"),
    }
    for name in same.get(layout.name, ()):
        if name in usable:
            return name
    if exact:
        return None
    planar = [name for name in usable if not name.startswith(("nv", "p0", "p2", "p4", "yuvj"))]
    alpha = layout.alpha and any(layout_of(name).alpha for name in planar)
    if layout.kind == "rgb" and "yuv420p" in planar and not alpha:
        return "yuv420p"  # what every player shows
    found, _ = find_best_pix_fmt_of_list(planar or usable, layout.name, layout.alpha)
    return found.name if found is not None else usable[0]


def _subsampling(name: str) -> tuple[int, int]:
    from av.video.format import VideoFormat

    chroma = [part for part in VideoFormat(name, 64, 64).components if part.is_chroma]
    return (64 // chroma[0].width, 64 // chroma[0].height) if chroma else (1, 1)


def _full_range(layout: Layout, info: VideoInfo, family: _Family, chosen: Layout) -> bool:
    if chosen.kind == "rgb":
        return True
    if layout.kind == "rgb":
        return False
    return info.color.full_range and family.signals_range


def _options(
    name: str, family: _Family, settings: EncodingSettings, layout: Layout
) -> dict[str, str]:
    options = dict(family.options)
    if family.preset is not None:
        key, default = family.preset
        preset = settings.preset or default
        if name in ("libx264", "libx264rgb", "libx265") and preset not in _X26X_PRESETS:
            raise InputError(
                f"There is no preset {preset[:40]!r} of {name}. Valid: {', '.join(_X26X_PRESETS)}."
            )
        options[key] = preset
    elif settings.preset is not None:
        raise InputError(f"The encoder {name} has no presets.")
    if settings.lossless:
        if settings.quality is not None:
            raise InputError("Lossless encoding has no quality; leave one of the two out.")
        return options | _lossless(name)
    if family.quality is not None:
        key, usual, least, greatest = family.quality
        value = usual if settings.quality is None else settings.quality
        if not least <= value <= greatest:
            raise InputError(
                f"The quality of {name} is a number from {least} to {greatest}; got {value}."
            )
        options[key] = str(value)
    elif settings.quality is not None:
        raise InputError(f"The encoder {name} has no quality to set.")
    if name == "prores_ks":
        options["profile"] = "4444" if layout.alpha or layout.across == 1 else "hq"
    return options


def _lossless(name: str) -> dict[str, str]:
    ways = {
        "libx264": {"qp": "0"},
        "libx264rgb": {"qp": "0"},
        "libx265": {"x265-params": "log-level=error:lossless=1"},
        "libvpx-vp9": {"lossless": "1"},
        "libwebp_anim": {"lossless": "1"},
        "ffv1": {},
        "apng": {},
        "qtrle": {},
        "png": {},
    }
    if name not in ways:
        raise InputError(
            f"The encoder {name} is never lossless; use libx264, libx265, libvpx-vp9 or ffv1."
        )
    return ways[name]


def _hdr_parameters(info: VideoInfo) -> dict[str, list[str]]:
    """Return what x264 and x265 are given of the mastering display and the light level."""
    display, light = "", ""
    if len(info.mastering) >= 88:
        numbers = struct.unpack_from("<22i", info.mastering)
        values = [numbers[i] / max(numbers[i + 1], 1) for i in range(0, 20, 2)]
        has_primaries, has_luminance = numbers[20:22]
        if has_primaries and has_luminance:
            points = [round(value * 50_000) for value in values[:8]]
            low, high = (round(value * 10_000) for value in values[8:10])
            (rx, ry, gx, gy, bx, by, wx, wy) = points
            display = f"G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({high},{low})"
    if len(info.light_level) >= 8:
        light = ",".join(map(str, struct.unpack_from("<2I", info.light_level)))
    names = {"libx264": ("mastering-display", "cll"), "libx265": ("master-display", "max-cll")}
    return {
        encoder: [
            f"{key}={value}" for key, value in zip(keys, (display, light), strict=True) if value
        ]
        for encoder, keys in names.items()
    }


def configure(
    context: av.VideoCodecContext, encoding: Encoding, info: VideoInfo, suffix: str
) -> None:
    """Set size, colours, fields and time base of an encoder's context."""
    from av.codec.context import Flags

    context.width, context.height = info.width, info.height
    context.pix_fmt = encoding.pixel_format
    context.time_base = encoding.time_base
    if info.pixel_aspect != 1:
        context.sample_aspect_ratio = info.pixel_aspect
    color = info.color
    rgb = layout_of(encoding.pixel_format).kind == "rgb"
    from_rgb = info.layout.kind == "rgb" and not rgb
    context.colorspace = 0 if rgb else color.used_matrix if from_rgb else color.matrix
    context.color_primaries, context.color_trc = color.primaries, color.transfer
    context.color_range = 2 if encoding.full_range else 1
    if encoding.interlaced:
        context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        context.field_order = 3 if info.bottom_first else 2
    if suffix in _QUICKTIME and (encoding.encoder == "libx265" or "hevc" in encoding.encoder):
        context.codec_tag = "hvc1"  # the tag that Apple's players want
    if encoding.encoder.startswith("libx264"):
        context.thread_count = 2
