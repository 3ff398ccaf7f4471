from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien.errors import InputError
from mien.media.encode import EncodingSettings
from mien.media.read import VideoReader
from mien.media.write import VideoWriter

from ..conftest import MakeClip


def copy(
    source: Path, target: Path, audio: bool = True, settings: EncodingSettings | None = None
) -> list[Fraction]:
    with VideoReader(source) as reader:
        writer = VideoWriter(
            target,
            reader.info,
            audio_from=source if audio else None,
            overwrite=True,
            settings=settings,
        )
        times = []
        with writer:
            for frame in reader:
                writer.write(frame.image, frame.time)
                times.append(frame.time)
    return times


def times_of(path: Path) -> list[Fraction]:
    with VideoReader(path) as reader:
        return [frame.time for frame in reader]


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(container.streams.audio[0]) if p.size]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    gaps=st.lists(st.integers(1, 4000), min_size=1, max_size=14),
    start=st.integers(0, 5000),
)
def test_any_stamps_come_out_as_they_went_in(
    make_clip: MakeClip, tmp_path: Path, gaps: list[int], start: int
) -> None:
    stamps = [0, *np.cumsum(gaps).tolist()]
    clip = make_clip("in.mp4", stamps=[start + s for s in stamps])
    expected = [Fraction(s, 12800) for s in stamps]
    assert times_of(clip) == expected
    copy(clip, tmp_path / "out.mp4")
    assert times_of(tmp_path / "out.mp4") == expected


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(50)])
def test_broadcast_rates_stay_exact(make_clip: MakeClip, tmp_path: Path, rate: Fraction) -> None:
    base = 1 / (rate * 1000)
    clip = make_clip("in.mp4", stamps=range(0, 20_000, 1000), time_base=base, rate=rate)
    copy(clip, tmp_path / "out.mp4")
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert reader.info.rate == rate
        assert [f.time for f in reader] == [i / rate for i in range(20)]


@pytest.mark.parametrize("size", [(63, 47), (64, 47), (63, 48), (65, 65)])
def test_odd_sizes_are_kept(make_clip: MakeClip, tmp_path: Path, size: tuple[int, int]) -> None:
    clip = make_clip("in.mp4", size=size, pixel_format="yuv444p")
    copy(clip, tmp_path / "out.mp4")
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert (reader.info.width, reader.info.height) == size
        assert next(iter(reader)).image.shape == (size[1], size[0], 3)


def test_colour_survives_a_round_trip(make_clip: MakeClip, tmp_path: Path) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :20], image[:, 20:40], image[:, 40:] = (200, 90, 60), (60, 150, 80), (128, 128, 128)
    clip = make_clip("in.mp4", images=[image] * 3, stamps=[0, 512, 1024])
    with VideoReader(clip) as reader:
        before = next(iter(reader)).image.astype(int)
    copy(clip, tmp_path / "out.mp4")
    with VideoReader(tmp_path / "out.mp4") as reader:
        after = next(iter(reader)).image.astype(int)
    parts = (slice(4, 16), slice(24, 36), slice(46, 60))
    drift = np.stack([(after - before)[8:40, part].mean((0, 1)) for part in parts])
    assert np.abs(drift).max() < 1.6  # one step of 8-bit YUV
    assert abs(drift.mean()) < 0.5  # no overall darkening


def test_ten_bit_is_read(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("in.mp4", pixel_format="yuv420p10le")
    assert len(copy(clip, tmp_path / "out.mp4")) == 10
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert next(iter(reader)).image.dtype == np.uint8


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.mov"])
def test_sound_is_copied_bit_for_bit(make_clip: MakeClip, tmp_path: Path, name: str) -> None:
    clip = make_clip("in.mp4", audio="aac")
    copy(clip, tmp_path / name)
    assert packets(tmp_path / name) == packets(clip)


def test_sound_is_encoded_anew_where_it_must(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip(
        "in.mkv", audio="pcm_s16le", time_base=Fraction(1, 1000), stamps=range(0, 400, 40)
    )
    copy(clip, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        seconds = sum(f.samples for f in container.decode(audio=0)) / 44_100
    assert seconds == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("name", ["out.webm", "out.avi", "out.mpg"])
def test_other_containers(make_clip: MakeClip, tmp_path: Path, name: str) -> None:
    clip = make_clip("in.mp4", audio="aac")
    copy(clip, tmp_path / name)
    assert len(times_of(tmp_path / name)) == 10


def test_no_sound_stays_no_sound(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("in.mp4")
    copy(clip, tmp_path / "out.mp4")
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert not reader.info.has_audio


def test_reading_twice_gives_the_same(make_clip: MakeClip) -> None:
    with VideoReader(make_clip()) as reader:
        first, second = [f.image for f in reader], [f.image for f in reader]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_first_look_spreads_over_the_clip(make_clip: MakeClip) -> None:
    with VideoReader(make_clip()) as reader:
        looks = list(reader.first_look(5, 10.0))
        everything = [f.image for f in reader]
    assert len(looks) == 5
    assert np.array_equal(looks[1].image(), everything[2])


def test_a_first_look_leaves_reading_as_it_is(make_clip: MakeClip) -> None:
    images = [np.full((48, 64, 3), 4 * i, np.uint8) for i in range(60)]
    with VideoReader(make_clip(stamps=range(0, 60 * 512, 512), images=images)) as reader:
        looks = [look.image().mean() / 4 for look in reader.first_look(6, 10.0)]
        assert len(list(reader)) == 60
    assert np.abs(np.array(looks) - np.arange(0, 60, 10)).max() < 6
    assert len(looks) == 6


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt()])
def test_a_failed_write_leaves_nothing(
    make_clip: MakeClip, tmp_path: Path, error: BaseException
) -> None:
    clip = make_clip("in.mp4", audio="aac")
    with VideoReader(clip) as reader:
        frames = list(reader)
        writer = VideoWriter(tmp_path / "out.mp4", reader.info, audio_from=clip)
        with pytest.raises(type(error)), writer:
            writer.write(frames[0].image, frames[0].time)
            raise error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4"]


def test_a_failed_write_keeps_the_old_file(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("in.mp4")
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    with VideoReader(clip) as reader:
        writer = VideoWriter(target, reader.info, overwrite=True)
        with pytest.raises(RuntimeError), writer:
            raise RuntimeError
    assert target.read_bytes() == b"old"


def test_what_is_no_video(tmp_path: Path) -> None:
    for name, content in {"a.mp4": b"", "b.mp4": b"hello" * 99, "c.mp4": bytes(5000)}.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=name):
            VideoReader(path)
    with pytest.raises(InputError, match="no file"):
        VideoReader(tmp_path / "none.mp4")
    with pytest.raises(InputError, match="folder"):
        VideoReader(tmp_path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000)
        block = av.AudioFrame.from_ndarray(
            np.zeros((1, 1600), np.int16), format="s16", layout="mono"
        )
        block.sample_rate = 16_000
        container.mux(stream.encode(block))
    with pytest.raises(InputError, match="no video stream"):
        VideoReader(path)


def test_real_clips_keep_count_and_stamps(shared: Path, tmp_path: Path) -> None:
    for source in sorted((shared / "media" / "videos").iterdir()):
        target = tmp_path / f"{source.stem}.mp4"
        times = copy(source, target, settings=EncodingSettings(preset="ultrafast", quality=40))
        assert times, source.name
        assert times == times_of(target), source.name


def test_rotation_is_undone(shared: Path) -> None:
    folder = shared / "media" / "videos"
    with VideoReader(folder / "rotated_flag_256.mp4") as turned:
        assert turned.info.orientation.sideways
        image = next(iter(turned)).image
    with VideoReader(folder / "hdtf_radio_256_25fps.mp4") as plain:
        raw = next(iter(plain)).image
    quarter = np.rot90(raw, -turned.info.orientation.turns)
    assert np.abs(image.astype(int) - quarter).mean() < 1
