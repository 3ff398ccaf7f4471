"""Frames keep the file's own samples; windows are read as RGB and written back."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mien.errors import InputError
from mien.media.color import ColorSpec
from mien.media.encode import EncodingSettings, choose_encoding
from mien.media.frame import Box
from mien.media.planes import Orientation, VideoPicture, layout_of
from mien.media.read import VideoReader
from mien.media.write import VideoWriter

PLANAR = (
    "yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv411p", "yuv410p", "yuv440p", "yuv420p10le",
    "yuv422p10le", "yuv444p12le", "yuv420p16le", "gray", "gray10le", "gbrp", "gbrp10le",
    "gbrap16le", "yuva420p", "yuva444p12le",
)  # fmt: skip
PACKED = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "p010le": "yuv420p10le",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "rgb24": "gbrp",
    "bgra": "gbrap",
    "argb": "gbrap",
    "rgb48le": "gbrp16le",
    "rgba64le": "gbrap16le",
    "gray16be": "gray16le",
    "yuv420p10be": "yuv420p10le",
    "monow": "gray",
}
SIZE = (75, 53)


def arrays(frame: av.VideoFrame) -> list[np.ndarray]:
    layout = layout_of(frame.format.name)
    assert layout.name == frame.format.name
    out = []
    for component, number in enumerate(layout.planes):
        plane = frame.planes[number]
        across, down = layout.steps(component)
        width, height = -(-frame.width // across), -(-frame.height // down)
        samples = np.frombuffer(plane, layout.dtype)
        rows = samples.reshape(-1, plane.line_size // samples.itemsize)
        out.append(rows[:height, :width])
    return out


def smooth_frame(name: str, size: tuple[int, int] = SIZE, seed: int = 0) -> av.VideoFrame:
    """A frame of soft colours that RGB can show."""
    rng = np.random.default_rng(seed)
    frame = av.VideoFrame(*size, name)
    layout = layout_of(name)
    middle = 2 ** (layout.bits - 1)
    for component, plane in enumerate(arrays(frame)):
        soft = cv2.resize(rng.normal(size=(4, 4)), plane.shape[::-1], interpolation=cv2.INTER_CUBIC)
        reach = 0.3 if component == 0 or layout.kind == "rgb" else 0.1
        plane[...] = np.clip(soft * reach + 1, 0.4, 1.6) * middle
    frame.pts, frame.time_base = 7, Fraction(1, 25)
    return frame


def color_of(name: str) -> ColorSpec:
    return ColorSpec(1, full_range=name.startswith(("yuvj", "gray")), height=SIZE[1])


@pytest.mark.parametrize("name", PLANAR)
def test_an_unedited_frame_is_the_decoded_one(name: str) -> None:
    frame = smooth_frame(name)
    picture = VideoPicture.of(frame, color_of(name))
    assert picture.to_frame() is frame
    window = picture.read(picture.box)
    assert picture.replaced(picture.box, window).to_frame() is frame


@pytest.mark.parametrize("name", PLANAR)
@pytest.mark.parametrize("orientation", [Orientation(), Orientation(1), Orientation(2, True)])
def test_an_edit_changes_its_window_alone(name: str, orientation: Orientation) -> None:
    frame = smooth_frame(name)
    before = [plane.copy() for plane in arrays(frame)]
    picture = VideoPicture.of(frame, color_of(name), orientation)
    box = Box(10, 12, 40, 44)
    window = picture.read(box).copy()
    peak = np.iinfo(window.dtype).max
    assert window.dtype == (np.uint8 if layout_of(name).bits == 8 else np.uint16)
    window[4:20, 6:22] = window[4:20, 6:22] * 0.8 + peak * 0.1
    if layout_of(name).kind == "gray":
        window = window[..., :1].repeat(3, 2)
    edited = picture.replaced(box, window)
    apart = np.abs(edited.read(box).astype(float) - window) / peak
    assert apart[6:18, 8:20].mean() < 0.006
    whole = edited.read(edited.box).astype(int) - picture.read(picture.box)
    outside = np.ones(whole.shape[:2], bool)
    reach = 3 * max(layout_of(name).across, layout_of(name).down)  # chroma covers several pixels
    outside[16 - reach : 32 + reach, 16 - reach : 32 + reach] = False
    assert not whole[outside].any()
    assert all((now == was).all() for now, was in zip(arrays(frame), before, strict=True))
    upright = edited.to_frame()
    assert (upright.width, upright.height) == (picture.width, picture.height)
    if orientation == Orientation():
        assert upright.pts == 7
        for component, (now, was) in enumerate(zip(arrays(upright), before, strict=True)):
            across, down = layout_of(name).steps(component)
            here = np.zeros(now.shape, bool)
            here[4 // down : 44 // down, 4 // across : 44 // across] = True
            assert (now == was)[~here].all()


@pytest.mark.parametrize(("transfer", "primaries", "matrix"), [(1, 1, 1), (16, 9, 9), (18, 9, 9)])
def test_the_copy_of_a_tagged_frame_keeps_samples_and_tags(
    transfer: int, primaries: int, matrix: int
) -> None:
    frame = smooth_frame("yuv420p10le")
    frame.color_trc, frame.color_primaries, frame.colorspace = transfer, primaries, matrix
    before = [plane.copy() for plane in arrays(frame)]
    picture = VideoPicture.of(frame, ColorSpec.of(frame))
    box = Box(20, 20, 24, 24)
    copy = picture.replaced(box, picture.read(box) // 2).to_frame()
    for one in (frame, copy):
        assert (one.color_trc, one.color_primaries, one.colorspace) == (transfer, primaries, matrix)
    for now, was in zip(arrays(copy), before, strict=True):
        assert np.array_equal(now[:8], was[:8])
        assert not np.array_equal(now, was)


@pytest.mark.parametrize(("name", "planar"), PACKED.items())
def test_packed_formats_become_planes_without_loss(name: str, planar: str) -> None:
    layout = layout_of(name)
    assert layout.name == planar
    frame = av.VideoFrame(64, 48, name)
    rng = np.random.default_rng(1)
    for plane in frame.planes:
        samples = np.frombuffer(plane, np.uint8)
        samples[:] = rng.integers(0, 256, samples.size)
    picture = VideoPicture.of(frame, ColorSpec(1))
    again = picture.to_frame().reformat(format=name, src_color_range=1, dst_color_range=1)
    twice = VideoPicture.of(again, ColorSpec(1)).to_frame()
    for a, b in zip(arrays(picture.to_frame()), arrays(twice), strict=True):
        assert (a == b).all()


@pytest.mark.parametrize("matrix", [1, 5, 6, 7, 9])
@pytest.mark.parametrize("full", [False, True])
def test_colours_agree_with_libswscale(matrix: int, full: bool) -> None:
    frame = smooth_frame("yuv444p")
    color = ColorSpec(matrix, full, height=SIZE[1])
    expected = frame.to_ndarray(
        format="rgb24",
        src_colorspace=color.swscale_matrix,
        dst_colorspace=color.swscale_matrix,
        src_color_range=2 if full else 1,
        dst_color_range=2,
        interpolation=4 | 0x40000 | 0x2000,
    )
    got = VideoPicture.of(frame, color).image().astype(int)
    assert np.abs(got - expected).max() <= 2
    assert abs((got - expected).mean()) < 0.2


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_display_matrix_is_undone(turns: int, mirrored: bool) -> None:
    angle = turns * np.pi / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([-1 if mirrored else 1, 1])  # acts on columns (x, y), y down
    (a, c), (b, d) = np.round(linear * 65536).astype(int).tolist()
    orientation = Orientation.of([a, b, 0, c, d, 0, 0, 0, 1 << 30])
    assert orientation == Orientation(turns, mirrored)
    shown = orientation.upright(np.array([[1, 2, 3], [4, 5, 6]]))
    # The top left pixel goes where the matrix sends it.
    x, y = linear @ [-1, -0.5]
    row = 0 if y < 0 else -1
    column = 0 if x < 0 else -1
    assert shown[row, column] == 1


def test_frames_lying_on_their_side_come_out_upright(tmp_path: Path) -> None:
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(-90)
        frame = smooth_frame("yuv420p", (64, 48))
        for i in range(3):
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    out = tmp_path / "out.mkv"
    with VideoReader(path) as reader:
        assert (reader.info.width, reader.info.height) == (48, 64)
        with VideoWriter(out, reader.info, settings=EncodingSettings(lossless=True)) as writer:
            for item in reader:
                writer.write(item.picture, item.time)
    with av.open(str(out)) as container:
        got = arrays(next(container.decode(video=0)))
    for now, was in zip(got, arrays(frame), strict=True):
        assert np.array_equal(now, np.rot90(was, -1))


LOSSLESS = [
    ("yuv420p", "out.mp4", "libx264"),
    ("yuv422p10le", "out.mkv", "ffv1"),
    ("yuv444p", "out.mov", "libx264"),
    ("gbrp", "out.mkv", "ffv1"),
    ("gbrp", "out.mp4", "libx264rgb"),
    ("yuva444p12le", "out.mkv", "ffv1"),
    ("gray16le", "out.mkv", "ffv1"),
    ("yuv420p", "out.webm", "libvpx-vp9"),
    ("yuv420p", "out.avi", "ffv1"),
]


@pytest.mark.parametrize(("name", "target", "encoder"), LOSSLESS)
def test_lossless_output_holds_the_same_samples(
    name: str, target: str, encoder: str, tmp_path: Path
) -> None:
    source = tmp_path / "in.nut"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "bgr0" if name == "gbrp" else name
        for i in range(3):
            frame = smooth_frame(name, (64, 48), seed=i).reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with VideoReader(source) as reader:
        writer = VideoWriter(
            tmp_path / target, reader.info, settings=EncodingSettings(lossless=True)
        )
        assert writer.encoding.encoder == encoder
        originals = []
        with writer:
            for item in reader:
                assert isinstance(item.picture, VideoPicture)
                originals.append([plane.copy() for plane in arrays(item.picture.to_frame())])
                writer.write(item.picture, item.time)
    with VideoReader(tmp_path / target) as reader:
        for item, expected in zip(reader, originals, strict=True):
            assert isinstance(item.picture, VideoPicture)
            for now, was in zip(arrays(item.picture.to_frame()), expected, strict=True):
                assert np.array_equal(now, was)


@pytest.mark.parametrize(
    ("codec", "target", "pixels"),
    [
        (None, "a.mp4", "yuv420p10le"),
        ("hevc", "a.mov", "yuv420p"),
        ("av1", "a.mkv", "yuv420p10le"),
        ("vp9", "a.webm", "yuv444p"),
        ("prores", "a.mov", "yuv422p10le"),
        ("libx264", "a.mkv", "yuv422p"),
    ],
)
def test_codecs_keep_the_pixel_format(
    codec: str | None, target: str, pixels: str, tmp_path: Path
) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
        for i in range(12):
            frame = smooth_frame(pixels, (64, 64))
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with VideoReader(source) as reader:
        settings = EncodingSettings(codec=codec)
        with VideoWriter(tmp_path / target, reader.info, settings=settings) as writer:
            for item in reader:
                writer.write(item.picture, item.time)
    with VideoReader(tmp_path / target) as reader:
        assert reader.info.layout.name == pixels
        assert len(list(reader)) == 12


def test_encoding_settings_act(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 96, 128, 3)).astype(np.uint8)
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    def size(**given: object) -> int:
        target = tmp_path / "out.mp4"
        with VideoReader(source) as reader:
            settings = EncodingSettings(**given)  # type: ignore[arg-type]
            writer = VideoWriter(target, reader.info, settings=settings, overwrite=True)
            with writer:
                for item in reader:
                    writer.write(item.picture, item.time)
        return target.stat().st_size

    usual = size()
    assert size(quality=40) < usual / 3
    assert size(quality=5) > usual
    assert size(lossless=True) > usual
    assert size(preset="slow") != usual
    assert size(codec="hevc", preset="ultrafast") != usual


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"codec": "nonsense"}, "no encoder 'nonsense'"),
        ({"codec": "aac"}, "no encoder|does not encode video"),
        ({"quality": 99}, "0 to 51; got 99"),
        ({"preset": "warp"}, "no preset 'warp'"),
        ({"codec": "ffv1", "quality": 3}, "no quality"),
        ({"codec": "mpeg4", "preset": "fast"}, "no presets"),
        ({"lossless": True, "quality": 3}, "no quality"),
        ({"codec": "mpeg4", "lossless": True}, "never lossless"),
    ],
)
def test_impossible_encodings_are_refused(
    given: dict[str, object], said: str, tmp_path: Path
) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    from mien.media.read import VideoInfo

    info = VideoInfo.new(tmp_path / "x.png", image, Fraction(25), 1)
    with pytest.raises(InputError, match=said):
        choose_encoding(".mkv", info, EncodingSettings(**given))  # type: ignore[arg-type]


def test_a_codec_that_the_container_cannot_hold_is_refused(tmp_path: Path) -> None:
    from mien.media.read import VideoInfo

    info = VideoInfo.new(tmp_path / "x.png", np.zeros((48, 64, 3), np.uint8), Fraction(25), 1)
    writer = VideoWriter(tmp_path / "a.webm", info, settings=EncodingSettings(codec="mpeg4"))
    with pytest.raises(InputError, match=r"\.webm cannot be written"), writer:
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [*PLANAR, *PACKED])
def test_brightness_changes_luma_alone_and_only_in_its_box(name: str) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(60, 190, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
    picture = VideoPicture.from_rgb(image, name, ColorSpec.usual(SIZE[1]))
    box = Box(11, 7, 40, 30)
    brighter = picture.brightened(box, np.full((box.height, box.width), 20, np.float32))
    before, after = arrays(picture.to_frame()), arrays(brighter.to_frame())
    layout = picture.layout
    levels = 20 * 2 ** (layout.bits - 8)
    expected = levels if layout.kind == "rgb" or picture.color.full_range else levels * 219 / 255
    for component, (old, new) in enumerate(zip(before, after, strict=True)):
        change = new.astype(int) - old
        if component == 0 or (layout.kind == "rgb" and component < 3):
            inside = change[box.slices]
            assert np.abs(inside - expected)[old[box.slices] < 0.85 * 2**layout.bits].max() <= 0.5
            change[box.slices] = 0
        assert not change.any()
