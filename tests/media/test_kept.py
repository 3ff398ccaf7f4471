"""What media handling preserves: sound offset, pixel aspect, orientation; and noticed damage."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mien.media.read import VideoReader
from mien.media.still import read_still
from mien.media.write import VideoWriter

RATE = 48_000


def copy(source: Path, target: Path) -> Path:
    with (
        VideoReader(source) as reader,
        VideoWriter(target, reader.info, audio_from=source, overwrite=True) as writer,
    ):
        for frame in reader:
            writer.write(frame.image, frame.time)
    return target


def clip(
    path: Path,
    *,
    frames: int = 50,
    sound_from: float | None = None,
    sound_rate: int = RATE,
    codec: str = "libx264",
    audio_codec: str = "pcm_s16le",
    aspect: Fraction | None = None,
    movflags: str = "",
) -> Path:
    """A grey clip of two seconds; its sound is a click every half second of the frames' time."""
    options = {"movflags": movflags} if movflags else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuv420p"
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        track = None
        if sound_from is not None:
            track = container.add_stream(audio_codec, rate=sound_rate, layout="mono")
        for i in range(frames):
            image = np.full((48, 64, 3), (40 + 3 * i) % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None:
            first = round(sound_from * sound_rate)
            time = np.arange(first, 2 * sound_rate) / sound_rate
            sound = np.where(np.mod(time, 0.5) < 0.004, 20_000, 0).astype(np.int16)
            for at in range(0, len(sound), 960):
                piece = av.AudioFrame.from_ndarray(sound[None, at : at + 960], "s16", "mono")
                piece.sample_rate, piece.time_base = sound_rate, Fraction(1, sound_rate)
                piece.pts = first + at
                container.mux(track.encode(piece))
            container.mux(track.encode(None))
    return path


def clicks(path: Path) -> list[float]:
    """Times of clicks, seconds after the first frame."""
    out: list[float] = []
    with av.open(str(path)) as container:
        picture = container.streams.video[0]
        zero = float((picture.start_time or 0) * picture.time_base)
        mono = av.AudioResampler("flt", "mono", RATE)
        for frame in container.decode(audio=0):
            start = frame.pts * float(frame.time_base) - zero
            for piece in mono.resample(frame):
                values = np.abs(piece.to_ndarray().reshape(-1))
                for place in np.flatnonzero(values > 0.25):
                    at = start + place / RATE
                    if not out or at > out[-1] + 0.1:
                        out.append(at)
    return out


@pytest.mark.parametrize("start", [0.0, 0.4])
@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.webm"])
def test_re_encoded_sound_keeps_its_offset(tmp_path: Path, start: float, name: str) -> None:
    source = clip(tmp_path / "in.mov", sound_from=start)
    if name.endswith("mkv"):
        source = clip(tmp_path / "in.avi", sound_from=0.0, audio_codec="pcm_s16le")
    want = [t for t in (0.0, 0.5, 1.0, 1.5) if t >= (start if not name.endswith("mkv") else 0)]
    got = clicks(copy(source, tmp_path / name))
    got = [t for t in got if t > 0.2] if want[0] == 0 else got
    want = [t for t in want if t > 0.2]
    assert len(got) == len(want)
    assert np.allclose(got, want, atol=0.003)


@pytest.mark.parametrize(
    ("name", "rate"), [("a.mpg", 8000), ("a.mpg", 96_000), ("a.avi", 96_000), ("a.webm", 8000)]
)
def test_sound_of_any_sample_rate_is_kept(tmp_path: Path, name: str, rate: int) -> None:
    source = clip(tmp_path / "in.mkv", sound_from=0.0, sound_rate=rate, audio_codec="flac")
    got = clicks(copy(source, tmp_path / name))
    assert len(got) >= 3


def test_a_truncated_file_is_noticed(tmp_path: Path) -> None:
    whole = clip(tmp_path / "a.mp4", frames=200, movflags="+faststart").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) * 6 // 10])
    with VideoReader(cut) as reader:
        count = sum(1 for _ in reader)
        assert 0 < count < 200
        assert reader.damaged is not None


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi", ".webm", ".mpg", ".ts"])
def test_a_complete_file_is_not_reported_as_damaged(tmp_path: Path, suffix: str) -> None:
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4", ".mpg": "mpeg2video"}.get(suffix, "libx264")
    with VideoReader(clip(tmp_path / f"a{suffix}", codec=codec)) as reader:
        assert sum(1 for _ in reader) >= 49
        assert reader.damaged is None


def test_real_files_are_not_reported_as_damaged(shared: Path) -> None:
    for path in sorted((shared / "media" / "videos").iterdir()):
        with VideoReader(path) as reader:
            for _ in reader:
                pass
            assert reader.damaged is None, path.name


def test_the_pixel_aspect_ratio_is_kept(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", aspect=Fraction(16, 11))
    for name in ("b.mp4", "b.mkv"):
        with VideoReader(copy(source, tmp_path / name)) as reader:
            assert reader.info.pixel_aspect == Fraction(16, 11)


def test_variable_rate_is_written_to_containers_with_a_constant_rate(
    tmp_path: Path, make_clip: Callable[..., Path]
) -> None:
    stamps = (0, 400, 1000, 1024, 1600, 3000, 3100, 4000, 5200, 6000)
    source = make_clip("vfr.mp4", stamps=stamps)
    for name in ("a.avi", "a.mpg"):
        with VideoReader(copy(source, tmp_path / name)) as reader:
            assert sum(1 for _ in reader) >= 5
    odd = make_clip("odd.mp4", rate=Fraction(17))
    with VideoReader(copy(odd, tmp_path / "b.mpg")) as reader:
        assert reader.info.rate == Fraction(24000, 1001)


def exif(how: int, order: str) -> bytes:
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HI", 42, 8)
    return head + struct.pack(f"{order}HHHIHHI", 1, 0x0112, 3, 1, how, 0, 0)


def with_exif(data: bytes, block: bytes) -> bytes:
    """Insert an EXIF block into JPEG or PNG data."""
    import zlib

    if data.startswith(b"\xff\xd8"):
        body = b"Exif\0\0" + block
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
    chunk = b"eXIf" + block
    whole = struct.pack(">I", len(block)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:33] + whole + data[33:]


def encoded(suffix: str, pixels: np.ndarray, block: bytes) -> bytes:
    """An image file with an EXIF block, without loss where the format can."""
    if suffix == ".webp":
        kinds, blocks = [cv2.IMAGE_METADATA_EXIF], [np.frombuffer(block, np.uint8)]
        options = [cv2.IMWRITE_WEBP_QUALITY, 101]
        return cv2.imencodeWithMetadata(suffix, pixels, kinds, blocks, options)[1].tobytes()
    options = [cv2.IMWRITE_JPEG_QUALITY, 100] if suffix == ".jpg" else []
    return with_exif(cv2.imencode(suffix, pixels, options)[1].tobytes(), block)


def stored_as(image: np.ndarray, how: int) -> np.ndarray:
    """The pixels that a file with this EXIF orientation stores for an upright image."""
    if how >= 5:
        image = image.swapaxes(0, 1)
    steps = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (-1, 1), 7: (-1, -1), 8: (1, -1)}
    down, across = steps.get(how, (1, 1))
    return np.ascontiguousarray(image[::down, ::across])


@pytest.mark.parametrize("how", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_images_are_read_upright(tmp_path: Path, suffix: str, how: int) -> None:
    small = np.zeros((4, 6, 3), np.uint8)
    small[0, 0] = 255
    small[0, 5, 0] = 200
    true = cv2.resize(small, (96, 64), interpolation=cv2.INTER_NEAREST)
    for order in "<>":
        path = tmp_path / f"a{suffix}"
        path.write_bytes(encoded(suffix, stored_as(true, how)[..., ::-1], exif(how, order)))
        assert np.abs(read_still(path).astype(int) - true).mean() < 4


def test_known_orientations(tmp_path: Path) -> None:
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, 2)
    data = cv2.imencode(".png", stored)[1].tobytes()
    for how, upright in {
        6: [[3, 0], [4, 1], [5, 2]],  # a quarter turn clockwise
        8: [[2, 5], [1, 4], [0, 3]],
        2: [[2, 1, 0], [5, 4, 3]],
        4: [[3, 4, 5], [0, 1, 2]],
        5: [[0, 3], [1, 4], [2, 5]],
        7: [[5, 2], [4, 1], [3, 0]],
    }.items():
        path = tmp_path / "a.png"
        path.write_bytes(with_exif(data, exif(how, "<")))
        assert read_still(path)[..., 0].tolist() == upright, how


@pytest.mark.parametrize("how", range(1, 9))
@pytest.mark.parametrize(
    ("suffix", "depth"), [(".png", np.uint8), (".png", np.uint16), (".webp", np.uint8)]
)
def test_transparency_turns_with_the_colours(
    tmp_path: Path, suffix: str, how: int, depth: type
) -> None:
    true = np.zeros((6, 10, 4), depth)
    true[..., 3] = np.iinfo(depth).max
    true[:3, :4, 3] = 0  # white after blending
    true[1, 7, 3] = 0
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(suffix, stored_as(true, how), exif(how, ">")))
    assert np.array_equal(read_still(path)[..., 1], np.where(true[..., 3] == 0, 255, 0))


def test_transparency_turns_along(tmp_path: Path) -> None:
    image = np.zeros((20, 40, 4), np.uint8)
    image[:, :20, 3] = 255
    data = cv2.imencode(".png", image)[1].tobytes()
    path = tmp_path / "a.png"
    path.write_bytes(with_exif(data, exif(6, "<")))
    out = read_still(path)
    assert out.shape == (40, 20, 3)
    assert out[:20].max() == 0
    assert out[20:].min() == 255


def test_corrupt_exif_blocks_do_not_change_the_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    path = tmp_path / "a.png"
    for head in (b"II*\0", b"MM\0*", b"Exif\0\0", b""):
        for _ in range(40):
            block = head + rng.integers(0, 256, int(rng.integers(0, 80))).astype(np.uint8).tobytes()
            path.write_bytes(with_exif(data, block))
            assert np.array_equal(read_still(path), image)
