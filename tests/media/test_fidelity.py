"""Colour, depth, fields, transparency and geometry of a video survive an edit's way."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.codec.context import Flags

from mien.media.encode import EncodingSettings
from mien.media.frame import Frame
from mien.media.planes import VideoPicture
from mien.media.read import VideoReader
from mien.media.write import VideoWriter

Images = Iterable[np.ndarray]


def clip(
    path: Path,
    frames: Iterable[av.VideoFrame],
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    **context: Any,
) -> Path:
    """Write frames, 25 per second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        for i, frame in enumerate(frames):
            if i == 0:
                stream.width, stream.height = frame.width, frame.height
                stream.pix_fmt = frame.format.name
                for name, value in context.items():
                    setattr(stream.codec_context, name, value)
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def ramps(pixel_format: str, count: int = 4, size: tuple[int, int] = (96, 64)) -> list[Any]:
    """Frames whose brightness rises from left to right."""
    ramp = np.linspace(0, 255, size[0]).astype(np.uint8)[None, :, None]
    out = []
    for i in range(count):
        image = np.broadcast_to(ramp, (size[1], size[0], 3)).copy()
        image[: size[1] // 2, :, 0] //= 1 + i
        out.append(av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixel_format))
    return out


def copied(source: Path, target: Path, **settings: Any) -> tuple[VideoReader, tuple[str, ...]]:
    """Send a clip through reader and writer; return a reader of the result, and the warnings."""
    with VideoReader(source) as reader:
        writer = VideoWriter(target, reader.info, settings=EncodingSettings(**settings))
        with writer:
            for frame in reader:
                writer.write(frame.picture, frame.time)
        warnings = (*reader.warnings, *writer.warnings)
    return VideoReader(target), warnings


def images(reader: VideoReader) -> list[np.ndarray]:
    with reader:
        return [frame.image.astype(int) for frame in reader]


def mastering() -> bytes:
    """FFmpeg's record of a mastering display: P3 primaries, 0.005 to 1000 cd/m2."""
    points = (34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450)
    rationals = [part for value in points for part in (value, 50_000)]
    return struct.pack("<22i", *rationals, 50, 10_000, 10_000_000, 10_000, 1, 1)


@pytest.mark.parametrize("codec", [None, "hevc"])
@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_keeps_depth_tags_and_mastering_data(
    codec: str | None, transfer: int, tmp_path: Path
) -> None:
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    source = clip(
        tmp_path / "in.mkv",
        ramps("yuv420p10le", 12),  # x265 fails at times on fewer than it reorders
        options={"x264-params": f"mastering-display={display}:cll=1000,400"},
        color_primaries=9,
        color_trc=transfer,
        colorspace=9,
        color_range=1,
    )
    with VideoReader(source) as reader:
        assert reader.info.color.hdr
        assert reader.info.mastering[:88] == mastering()
    result, warnings = copied(source, tmp_path / "out.mkv", codec=codec, preset="ultrafast")
    with result:
        color = result.info.color
        assert (color.matrix, color.primaries, color.transfer) == (9, 9, transfer)
        assert result.info.layout.bits == 10
        assert result.info.mastering[:88] == mastering()
        assert struct.unpack("<2I", result.info.light_level[:8]) == (1000, 400)
    assert not warnings


def test_mastering_data_that_is_lost_is_said(tmp_path: Path) -> None:
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    source = clip(
        tmp_path / "in.mkv",
        ramps("yuv420p10le", 2),
        options={"x264-params": f"mastering-display={display}"},
        color_trc=16,
    )
    _, warnings = copied(source, tmp_path / "out.webm")
    assert any("mastering display" in text for text in warnings)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "avi", "mpg", "webm"])
def test_the_full_range_keeps_its_brightness(suffix: str, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.avi", ramps("yuvj420p"), "mjpeg", {"qscale": "1"})
    before = images(VideoReader(source))
    result, _ = copied(source, tmp_path / f"out.{suffix}", quality=4)
    for was, now in zip(before, images(result), strict=True):
        # AVI and MPEG cannot say that the range is full: 256 levels become 219.
        assert abs((now - was).mean()) < (0.9 if suffix in ("avi", "mpg") else 0.5)
        assert np.abs(now - was).mean() < 3.5


@pytest.mark.parametrize(("suffix", "codec"), [("mpg", None), ("mp4", None), ("mkv", "mpeg2")])
def test_interlaced_stays_interlaced(suffix: str, codec: str | None, tmp_path: Path) -> None:
    source = interlaced(tmp_path / "in.mpg")
    result, warnings = copied(source, tmp_path / f"out.{suffix}", codec=codec)
    with result:
        assert result.info.interlaced
        assert all(
            isinstance(frame.picture, VideoPicture) and frame.picture.interlaced for frame in result
        )
    assert not warnings


def test_a_progressive_codec_says_that_fields_are_lost(tmp_path: Path) -> None:
    result, warnings = copied(interlaced(tmp_path / "in.mpg"), tmp_path / "out.webm")
    result.close()
    assert any("progressive" in text for text in warnings)


def interlaced(path: Path) -> Path:
    frames = ramps("yuv420p", size=(96, 96))
    for frame in frames:
        frame.make_writable()
    return clip(
        path,
        frames,
        "mpeg2video",
        {"qscale": "2", "flags": "+ildct+ilme"},
        flags=Flags.interlaced_dct | Flags.interlaced_me,
        field_order=2,
    )


def translucent(pixel_format: str) -> list[Any]:
    out = []
    for frame in ramps("rgba"):
        image = frame.to_ndarray()
        image[:, :48, 3] = 64
        out.append(av.VideoFrame.from_ndarray(image, "rgba").reformat(format=pixel_format))
    return out


@pytest.mark.parametrize("target", ["out.mov", "out.mkv"])
def test_transparency_is_kept_where_it_can_be(target: str, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mkv", translucent("yuva444p"), "ffv1")
    result, warnings = copied(source, tmp_path / target)
    with result:
        picture = next(iter(result)).picture
        assert isinstance(picture, VideoPicture)
        alpha = picture.alpha()
        assert alpha is not None
        peak = 2**result.info.layout.bits - 1
        assert np.abs(alpha[:, :40] / peak - 64 / 255).max() < 0.02
        assert alpha[:, 56:].min() / peak > 0.99
    assert not warnings


def test_transparency_of_vp9_is_read_and_written(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mkv", translucent("yuva420p"), "ffv1")
    first, warnings = copied(source, tmp_path / "one.webm")
    first.close()
    second, more = copied(tmp_path / "one.webm", tmp_path / "two.mkv")
    assert (warnings, more) == ((), ())
    with second:
        frames = list(second)
        assert [frame.time for frame in frames] == [Fraction(i, 25) for i in range(4)]
        assert isinstance(frames[0].picture, VideoPicture)
        alpha = frames[0].picture.alpha()
        assert alpha is not None
        assert np.abs(alpha[4:60, :40].astype(int) - 64).mean() < 8
        assert alpha[4:60, 60:].min() > 230


def test_transparency_that_is_lost_is_blended_and_said(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mkv", translucent("yuva444p"), "ffv1")
    with VideoReader(source) as reader:
        shown = next(iter(reader)).image.astype(float)
    result, warnings = copied(source, tmp_path / "out.mp4")
    got = images(result)[0]
    assert any("ransparency" in text for text in warnings)
    assert np.abs(got[:, 4:40] - shown[:, 4:40] * 64 / 255).mean() < 6
    assert np.abs(got[:, 60:92] - shown[:, 60:92]).mean() < 6


def test_opaque_alpha_is_dropped_without_a_word(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mkv", ramps("yuva444p"), "ffv1")
    result, warnings = copied(source, tmp_path / "out.mp4")
    result.close()
    assert not warnings


def test_frames_of_another_size_are_fitted_with_bars(tmp_path: Path) -> None:
    parts = []
    for name, size in (("a.h264", (96, 64)), ("b.h264", (64, 64))):
        white = np.full((size[1], size[0], 3), 235, np.uint8)
        frames = [av.VideoFrame.from_ndarray(white, "rgb24").reformat(format="yuv420p")] * 3
        parts.append(clip(tmp_path / name, frames).read_bytes())
    source = tmp_path / "in.h264"
    source.write_bytes(b"".join(parts))
    result, warnings = copied(source, tmp_path / "out.mp4")
    assert len(warnings) == 1
    assert "96x64 to 64x64" in warnings[0]
    shown = images(result)
    assert len(shown) == 6
    assert shown[0].min() > 200
    assert shown[-1][:, :12].max() < 30
    assert shown[-1][:, 20:76].min() > 200


def test_b_frames_in_avi_get_their_own_times(tmp_path: Path) -> None:
    frames = ramps("yuv420p", 12)
    source = clip(tmp_path / "in.avi", frames, options={"bf": "3", "x264-params": "b-adapt=0"})
    with VideoReader(source) as reader:
        seen: list[Frame] = list(reader)
    assert [frame.time for frame in seen] == [Fraction(i, 25) for i in range(12)]


def test_slots_without_a_packet_are_no_damage(tmp_path: Path) -> None:
    source = tmp_path / "in.avi"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i, frame in enumerate(ramps("yuv420p", 8)):
            frame.pts, frame.time_base = 3 * i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with VideoReader(source) as reader:
        assert [frame.time for frame in reader] == [Fraction(3 * i, 25) for i in range(8)]
        assert reader.damaged is None


def test_a_picture_that_starts_late_is_no_damage(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        block = av.AudioFrame.from_ndarray(np.zeros((1, 32_000), np.int16), "s16", "mono")
        block.sample_rate, block.pts, block.time_base = 16_000, 0, Fraction(1, 16_000)
        container.mux(sound.encode(block))
        for i, frame in enumerate(ramps("yuv420p", 20)):
            frame.pts, frame.time_base = i + 20, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with VideoReader(source) as reader:
        assert reader.info.start == Fraction(4, 5)
        assert [frame.time for frame in reader][:2] == [0, Fraction(1, 25)]
        assert reader.damaged is None


def test_an_untagged_video_stays_untagged(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", ramps("yuv420p"))
    with VideoReader(source) as reader:
        before = reader.info.color
    result, _ = copied(source, tmp_path / "out.mp4")
    with result:
        assert (result.info.color.matrix, result.info.color.transfer) == (
            before.matrix,
            before.transfer,
        )
