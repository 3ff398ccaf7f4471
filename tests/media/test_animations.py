from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

import mien
from mien.errors import InputError
from mien.media.encode import EncodingSettings
from mien.media.frame import Box, Frame
from mien.media.kinds import image_kind, webp_chunks
from mien.media.palette import PaletteMapper
from mien.media.read import VideoReader
from mien.media.still import is_still, open_still, read_still, write_still
from mien.media.write import VideoWriter

Image = npt.NDArray[np.uint8]
TIMES = (0, 70, 100, 400)
"""Of the frames, milliseconds."""

LAST = 550
"""How long the last frame is shown, milliseconds."""


def pictures(*, alpha: bool = False) -> Iterator[Image]:
    """Yield four small frames of odd size and few colours: RGB, and alpha of 0 or 255."""
    for i in range(len(TIMES)):
        image = np.full((33, 45, 4), 255, np.uint8)
        image[..., :3] = 90, 60, 30
        image[4:12, 3 + 5 * i : 12 + 5 * i, :3] = 30, 200, 220
        if alpha:
            image[25:, : 10 + 4 * i, 3] = 0
        yield image if alpha else np.ascontiguousarray(image[..., :3])


ANIMATED = {
    ".gif": ("gif", "pal8", {"loop": "2", "final_delay": "55"}, {}),
    ".apng": ("apng", "rgba", {"plays": "3", "final_delay": "55/100"}, {}),
    ".png": ("apng", "rgba", {"plays": "3", "final_delay": "55/100"}, {}),
    ".webp": ("libwebp_anim", "bgra", {"loop": "3"}, {"lossless": "1"}),
}


def animation(path: Path, *, alpha: bool = False) -> Path:
    """Write the frames, shown three times."""
    codec, pixels, muxer, encoder = ANIMATED[path.suffix]
    container = "apng" if codec == "apng" else None
    with av.open(str(path), "w", format=container, options=muxer) as out:
        stream = out.add_stream(codec, rate=25, options=encoder)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = 45, 33, pixels
        context.time_base = Fraction(1, 1000)
        for image, time in zip(pictures(alpha=alpha), TIMES, strict=True):
            if pixels == "pal8":
                frame = PaletteMapper().frame(image[..., :3])
                if alpha:
                    frame = with_alpha(image)
            else:
                name = "rgba" if alpha else "rgb24"
                frame = av.VideoFrame.from_ndarray(image, format=name).reformat(format=pixels)
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def with_alpha(image: Image) -> av.VideoFrame:
    colors = np.zeros((256, 4), np.uint8)
    colors[:3] = [[255, 90, 60, 30], [255, 30, 200, 220], [0, 0, 0, 0]]
    codes = np.where(image[..., 3] == 0, 2, image[..., 0] == 30).astype(np.uint8)
    return av.VideoFrame.from_ndarray((codes, colors), format="pal8")


def read(path: Path) -> tuple[VideoReader, list[Frame]]:
    with VideoReader(path) as reader:
        return reader, list(reader)


def copy(source: Path, target: Path, **settings: object) -> VideoWriter:
    with (
        VideoReader(source) as reader,
        VideoWriter(
            target,
            reader.info,
            audio_from=source,
            streams_from=source,
            **settings,  # type: ignore[arg-type]
        ) as writer,
    ):
        for frame in reader:
            writer.write(frame.picture, frame.time)
    return writer


def alpha_of(frame: Frame) -> Image | None:
    picture = frame.picture
    return picture.alpha() if hasattr(picture, "alpha") else None


def check(path: Path, *, alpha: bool, last: int = LAST) -> None:
    """Check that a file holds the pictures, with their times and number of plays."""
    reader, frames = read(path)
    assert [round(1000 * frame.time) for frame in frames] == list(TIMES)
    assert reader.damaged is None
    assert reader.info.frames == len(TIMES)
    assert reader.info.plays == 3
    if last:
        assert reader.info.last_delay == Fraction(last, 1000)
        assert reader.info.duration == Fraction(TIMES[-1] + last, 1000)
    for frame, true in zip(frames, pictures(alpha=alpha), strict=True):
        seen = np.ones(true.shape[:2], bool)
        if alpha:
            assert np.array_equal(alpha_of(frame), true[..., 3])  # type: ignore[arg-type]
            seen = true[..., 3] > 0
        assert np.array_equal(frame.image[seen], true[..., :3][seen])


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("suffix", ANIMATED)
def test_animations_are_read_with_their_own_times(tmp_path: Path, suffix: str, alpha: bool) -> None:
    path = animation(tmp_path / f"a{suffix}", alpha=alpha)
    assert not is_still(path)
    check(path, alpha=alpha, last=0 if suffix == ".webp" else LAST)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("target", ANIMATED)
@pytest.mark.parametrize("source", ANIMATED)
def test_animations_become_each_other_without_loss(
    tmp_path: Path, source: str, target: str, alpha: bool
) -> None:
    path = animation(tmp_path / f"a{source}", alpha=alpha)
    writer = copy(path, tmp_path / f"b{target}")
    assert writer.warnings == ()
    check(tmp_path / f"b{target}", alpha=alpha, last=0 if source == ".webp" else LAST)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_videos_become_animations(
    tmp_path: Path, make_clip: Callable[..., Path], suffix: str
) -> None:
    source = make_clip("a.mp4", audio="aac")
    target = tmp_path / f"a{suffix}"
    writer = copy(source, target)
    assert f"Sound (aac) was not kept: {suffix[1:].upper()} cannot hold it." in writer.warnings
    kind = image_kind(target)
    assert kind is not None
    assert kind.plays == 0
    _, before = read(source)
    _, after = read(target)
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert abs(one.time - other.time) <= Fraction(1, 100)
        smooth = [cv2.blur(frame.image, (9, 9)).astype(int) for frame in (one, other)]
        assert np.abs(smooth[0] - smooth[1]).mean() < 3


def test_an_animation_becomes_a_video(tmp_path: Path) -> None:
    source = animation(tmp_path / "a.gif", alpha=True)
    for name in ("a.mp4", "a.mkv", "a.webm", "a.mov"):
        writer = copy(source, tmp_path / name)
        assert any("blended over black" in text for text in writer.warnings) == (name == "a.mp4")
        _, frames = read(tmp_path / name)
        assert [round(1000 * frame.time) for frame in frames] == list(TIMES)
        for frame, true in zip(frames, pictures(alpha=True), strict=True):
            image = frame.image.astype(int)
            assert image.shape == (33, 45, 3)
            assert np.abs(image[2:20] - true[2:20, :, :3]).mean() < 6
            if name == "a.mp4":
                assert image[28:, :8].max() < 12


def test_frames_too_fast_for_gif_are_left_out(tmp_path: Path) -> None:
    source = tmp_path / "a.webp"
    reader, frames = read(animation(source))
    with VideoWriter(tmp_path / "a.gif", reader.info) as writer:
        for i in range(12):
            writer.write(frames[i % 4].picture, Fraction(i, 60))
    assert "4 frames came too fast for GIF and were left out." in writer.warnings
    kind = image_kind(tmp_path / "a.gif")
    assert kind is not None
    assert min(kind.delays) >= Fraction(2, 100)


def test_the_last_frame_of_webp_keeps_its_length(tmp_path: Path) -> None:
    copy(animation(tmp_path / "a.gif"), tmp_path / "a.webp")
    _, durations, _ = webp_frames(tmp_path / "a.webp")
    assert durations == [70, 30, 300, LAST]


def webp_frames(path: Path) -> tuple[list[Image], list[int], int]:
    """Read an animation with libwebp's own composition: images, milliseconds, loops."""
    _, found = cv2.imreadanimation(str(path))
    return list(found.frames), [int(one) for one in found.durations], int(found.loop_count)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(body)) + body + bytes(len(body) % 2)


def test_webp_is_composed_as_libwebp_does(tmp_path: Path) -> None:
    """Translucent frames that cover a part, replace it or are cleared, lossless and lossy."""
    rng = np.random.default_rng(0)
    body = chunk(b"VP8X", b"\x12\0\0\0" + (40).to_bytes(3, "little") + (30).to_bytes(3, "little"))
    body += chunk(b"ANIM", bytes(6))
    boxes = [(0, 0, 41, 31), (4, 6, 20, 18), (10, 2, 31, 29), (0, 0, 8, 8), (6, 6, 20, 20)]
    for i, (left, top, width, height) in enumerate(boxes):
        image = rng.integers(0, 256, (height, width, 4)).astype(np.uint8)
        image[: height // 2, ::3, 3] = 0
        image[height // 2 :, ::4, 3] = 255
        lossy = i % 2 == 1
        options = [cv2.IMWRITE_WEBP_QUALITY, 80 if lossy else 101]
        data = cv2.imencode(".webp", image, options)[1].tobytes()
        kept = b"".join(
            chunk(kind, data[at : at + size])
            for kind, at, size in webp_chunks(data)
            if kind in (b"ALPH", b"VP8 ", b"VP8L")
        )
        numbers = (left // 2, top // 2, width - 1, height - 1, 40 + i)
        head = b"".join(number.to_bytes(3, "little") for number in numbers)
        body += chunk(b"ANMF", head + bytes([i % 4]) + kept)
    path = tmp_path / "a.webp"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body)
    true, durations, _ = webp_frames(path)
    assert len(true) == len(boxes)
    reader, frames = read(path)
    assert not reader.info.exact
    assert [1000 * frame.time for frame in frames] == [sum(durations[:i]) for i in range(5)]
    for frame, image in zip(frames, true, strict=True):
        alpha = alpha_of(frame)
        assert alpha is not None
        assert np.abs(alpha.astype(int) - image[..., 3]).max() <= 1
        seen = image[..., 3] > 24  # a level of a colour that hardly shows may differ more
        apart = np.abs(frame.image.astype(int) - image[..., 2::-1])
        assert apart[seen].max() <= 3


@pytest.mark.parametrize("suffix", ANIMATED)
def test_cut_animations_give_what_is_there(tmp_path: Path, suffix: str) -> None:
    path = animation(tmp_path / f"a{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[:-24])
    reader, frames = read(path)
    true = list(pictures())
    assert 3 <= len(frames) <= 4
    for frame, image in zip(frames[:3], true, strict=False):
        assert np.array_equal(frame.image, image)
    assert len(frames) == 4 or reader.damaged is not None


def test_an_animation_above_the_limit_is_refused(tmp_path: Path) -> None:
    for suffix in ANIMATED:
        with pytest.raises(InputError, match="45x33, above the limit"):
            VideoReader(animation(tmp_path / f"a{suffix}"), 1000)


def test_animations_of_one_picture_are_stills(tmp_path: Path) -> None:
    for suffix, (codec, _, _, encoder) in ANIMATED.items():
        path = tmp_path / f"a{suffix}"
        with av.open(str(path), "w", format="apng" if codec == "apng" else None) as out:
            stream = out.add_stream(codec, rate=25, options=encoder)
            first = next(pictures())
            frame = av.VideoFrame.from_ndarray(first, format="rgb24")
            pixels = {"gif": "pal8", "apng": "rgb24"}.get(codec, "bgra")
            frame = (
                PaletteMapper().frame(first) if codec == "gif" else frame.reformat(format=pixels)
            )
            stream.width, stream.height, stream.pix_fmt = 45, 33, pixels
            frame.pts = 0
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        assert is_still(path), suffix
        assert np.abs(read_still(path).astype(int) - first).max() == 0, suffix


def test_the_first_picture_stands_for_an_animation_where_one_is_needed(tmp_path: Path) -> None:
    for suffix in (".gif", ".apng", ".webp"):
        path = animation(tmp_path / f"a{suffix}")
        assert np.array_equal(open_still(path).array, next(pictures())), suffix


def test_metadata_of_animations_are_reported(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.webp")
    data = path.read_bytes() + chunk(b"EXIF", b"II*\0") + chunk(b"XMP ", b"<x/>")
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    reader, frames = read(path)
    assert len(frames) == 4
    assert reader.warnings == (f"{path}: EXIF, XMP of the animation cannot be kept.",)


def test_an_edit_of_a_gif_leaves_all_other_pixels_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    colors = rng.integers(0, 256, (250, 3)).astype(np.uint8)
    image = colors[rng.integers(0, 250, (60, 80))]
    path = tmp_path / "a.gif"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 80, 60, "pal8"
        for i in range(3):
            frame = PaletteMapper().frame(np.roll(image, i, axis=1))
            frame.pts = i
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    box = Box(20, 10, 50, 40)
    with (
        VideoReader(path) as reader,
        VideoWriter(tmp_path / "b.gif", reader.info) as writer,
    ):
        for frame in reader:
            window = np.full((30, 30, 3), 128, np.uint8)
            writer.write(frame.picture.replaced(box, window), frame.time)
    assert writer.warnings == ()
    _, frames = read(tmp_path / "b.gif")
    for i, frame in enumerate(frames):
        true = np.roll(image, i, axis=1)
        same = np.ones((60, 80), bool)
        same[box.slices] = False
        assert np.array_equal(frame.image[same], true[same])
        # The new colour is mixed of those that are there.
        assert np.abs(frame.image[box.slices].mean((0, 1)) - 128).max() < 16


def test_what_stands_still_does_not_flicker(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:96, :128]
    still = np.stack([x * 2, y * 2, 255 - x], axis=-1).astype(np.uint8)
    mapper = PaletteMapper()
    shown = []
    for _ in range(3):
        image = still.copy()
        image[30:60, 40:80] = rng.integers(100, 140, (30, 40, 3))
        shown.append(mapper.frame(image).to_ndarray(format="rgb24"))
    assert mapper.reduced
    same = np.ones((96, 128), bool)
    same[30:60, 40:80] = False
    assert np.array_equal(shown[0][same], shown[2][same])
    # A new scene gets colours of its own.
    other = np.stack([255 - x, x, y], axis=-1).astype(np.uint8)[::-1]
    for scene, seen in ((still, shown[0]), (other, mapper.frame(other).to_ndarray(format="rgb24"))):
        apart = cv2.blur(scene, (7, 7)).astype(int) - cv2.blur(seen, (7, 7))
        assert np.abs(apart)[same].mean() < 4


def test_half_transparent_pixels_are_reported_for_gif(tmp_path: Path) -> None:
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "bgra"
        for i in range(2):
            image = np.full((16, 16, 4), (10, 200, 30, 255), np.uint8)
            image[:8, :, 3], image[8:12, :, 3] = 100, 200
            frame = av.VideoFrame.from_ndarray(image, format="rgba").reformat(format="bgra")
            frame.pts = i
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    writer = copy(source, tmp_path / "a.gif")
    assert any("half transparent" in text for text in writer.warnings)
    _, frames = read(tmp_path / "a.gif")
    alpha = alpha_of(frames[0])
    assert alpha is not None
    assert (alpha[:8] == 0).all()
    assert (alpha[8:] == 255).all()


def test_lossless_webp_stays_so_and_quality_can_be_set(tmp_path: Path) -> None:
    exact = copy(animation(tmp_path / "a.webp"), tmp_path / "b.webp")
    assert "lossless 1" in str(exact.encoding)
    lossy = EncodingSettings(quality=50)
    assert "quality 50" in str(
        copy(tmp_path / "a.webp", tmp_path / "c.webp", settings=lossy).encoding
    )
    assert "quality 90" in str(copy(tmp_path / "c.webp", tmp_path / "d.webp").encoding)


def jpegs(count: int, size: int = 64) -> list[bytes]:
    images = [np.full((48, size, 3), 20 + 30 * i, np.uint8) for i in range(count)]
    return [cv2.imencode(".jpg", image)[1].tobytes() for image in images]


@pytest.mark.parametrize("name", ["a.mjpeg", "a.mjpg", "a.jpg", "a"])
def test_raw_motion_jpeg_is_a_video(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"".join(jpegs(5)))
    assert not is_still(path)
    reader, frames = read(path)
    assert reader.info.codec == "mjpeg"
    assert [frame.time for frame in frames] == [Fraction(i, 25) for i in range(5)]
    for i, frame in enumerate(frames):
        assert np.abs(frame.image.astype(int) - (20 + 30 * i)).max() <= 2


def test_large_motion_jpeg_is_not_taken_for_one_picture(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [cv2.resize(rng.integers(0, 256, (48, 64, 3)).astype(np.uint8), (640, 480))] * 3
    path = tmp_path / "a.mjpeg"
    path.write_bytes(b"".join(cv2.imencode(".jpg", image)[1].tobytes() for image in images))
    _, frames = read(path)
    assert len(frames) == 3
    assert all(np.abs(one.image[..., ::-1].astype(int) - images[0]).mean() < 3 for one in frames)


def test_jpeg_files_with_something_behind_the_picture_are_stills(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    first, second = jpegs(2)
    (smaller,) = jpegs(1, size=32)
    mark = b"\xff\xe2" + struct.pack(">H", 6) + b"MPF\0"
    for data in (first, first + smaller, first[:2] + mark + first[2:] + second, first + bytes(99)):
        path.write_bytes(data)
        assert is_still(path)
        assert abs(int(read_still(path)[5, 5, 0]) - 20) <= 1


def test_motion_jpeg_with_exif_is_upright(tmp_path: Path) -> None:
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    body = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    block = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    path = tmp_path / "a.mjpeg"
    path.write_bytes(b"".join(one[:2] + block + one[2:] for one in jpegs(3)))
    reader, frames = read(path)
    assert (reader.info.width, reader.info.height) == (48, 64)
    assert len(frames) == 3


def test_images_of_other_kinds_are_refused_plainly(tmp_path: Path) -> None:
    path = tmp_path / "a.jp2"
    cv2.imwrite(str(path), next(pictures()))
    assert not is_still(path)
    with pytest.raises(InputError, match="converted to PNG first"):
        VideoReader(path)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("a.gif", "b.jpg", "must end in one of .* .gif .webp .apng .png for this input"),
        ("a.webp", "b.bmp", "must end in one of"),
        ("still.png", "b.mp4", "must end in one of .png .jpg .* for this input"),
        ("still.png", "b.gif", "must end in one of .png .jpg .* for this input"),
        ("clip.mp4", "b.png", "must end in one of .mp4 .* for this input"),
    ],
)
def test_the_output_must_suit_the_input(
    tmp_path: Path, make_clip: Callable[..., Path], source: str, target: str, message: str
) -> None:
    path = tmp_path / source
    if source == "still.png":
        write_still(path, next(pictures()))
    elif source == "clip.mp4":
        path = make_clip(source)
    else:
        animation(path)
    with pytest.raises(InputError, match=message):
        mien.edit(path, tmp_path / target, "sad")


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_are_edited(tmp_path: Path, demo_face: Path, suffix: str) -> None:
    face = cv2.resize(read_still(demo_face), (160, 160), interpolation=cv2.INTER_AREA)
    source = tmp_path / f"a{suffix}"
    codec, pixels, muxer, encoder = ANIMATED[suffix]
    with av.open(
        str(source), "w", format="apng" if codec == "apng" else None, options=muxer
    ) as out:
        stream = out.add_stream(codec, rate=10, options=encoder)
        stream.width, stream.height, stream.pix_fmt = 160, 160, pixels
        mapper = PaletteMapper()
        for i in range(3):
            moved = np.roll(face, i, axis=1)
            frame = av.VideoFrame.from_ndarray(moved, format="rgb24").reformat(format="bgra")
            frame = mapper.frame(moved) if pixels == "pal8" else frame.reformat(format=pixels)
            frame.pts = i
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    report = mien.edit(source, tmp_path / f"b{suffix}", "happy")
    assert report.frames == 3
    assert report.faces == 1
    _, before = read(source)
    _, after = read(tmp_path / f"b{suffix}")
    changed = [
        np.abs(a.image.astype(int) - b.image).max(2) for a, b in zip(before, after, strict=True)
    ]
    assert all(one[100:130, 50:110].max() > 20 for one in changed)
    assert all(one[:4].max() == 0 for one in changed)
