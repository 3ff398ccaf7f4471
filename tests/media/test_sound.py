"""Sound of written videos: copied bit for bit or encoded at its place, and what is listened to."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mien.errors import InputError
from mien.media.audio import has_sound, read_speech, sound_start
from mien.media.read import VideoInfo, VideoReader
from mien.media.sound import can_hold
from mien.media.write import VideoWriter
from mien.speech.analysis import VoiceAnalysis

from .films import CLICKS, RATE, Sound, clicks, film, heard, packets, rewritten

COPIES = [
    ("a.mkv", "pcm_s24le", "b.mkv"),
    ("a.mkv", "pcm_s16be", "b.mkv"),
    ("a.mkv", "pcm_f32le", "b.mov"),
    ("a.mov", "pcm_s16be", "b.mov"),
    ("a.mov", "pcm_s24be", "b.mov"),
    ("a.mov", "pcm_s32le", "b.avi"),
    ("a.mov", "alac", "b.mp4"),
    ("a.mkv", "alac", "b.m4v"),
    ("a.mkv", "flac", "b.mp4"),
    ("a.mkv", "flac", "b.avi"),
    ("a.mkv", "libopus", "b.webm"),
    ("a.mkv", "libopus", "b.mp4"),
    ("a.mkv", "mp2", "b.mpg"),
    ("a.mkv", "mp2", "b.mp4"),
    ("a.mkv", "ac3", "b.mov"),
    ("a.mkv", "eac3", "b.mp4"),
    ("a.mkv", "wavpack", "b.mkv"),
]


@pytest.mark.parametrize(("name", "codec", "other"), COPIES)
def test_sound_is_copied_bit_for_bit_at_its_time(
    tmp_path: Path, name: str, codec: str, other: str
) -> None:
    source = film(tmp_path / name, Sound(codec))
    assert rewritten(source, tmp_path / other) == ()
    assert b"".join(packets(tmp_path / other)) == b"".join(packets(source))
    # MPEG audio decoders and AVI do not tell the delay of an encoder.
    assert np.allclose(clicks(tmp_path / other)[:3], CLICKS, atol=0.03)


@pytest.mark.parametrize(
    ("codec", "name", "into"),
    [
        ("pcm_s16le", "b.mp4", "aac"),
        ("libopus", "b.mov", "aac"),
        ("aac", "b.webm", "opus"),
        ("alac", "b.avi", "pcm_s32le"),
        ("flac", "b.mov", "pcm_s16le"),
        ("eac3", "b.avi", "mp3"),
        ("aac", "b.mpg", "mp2"),
    ],
)
def test_sound_is_encoded_where_a_container_cannot_hold_it(
    tmp_path: Path, codec: str, name: str, into: str
) -> None:
    source = film(tmp_path / "a.mkv", Sound(codec))
    assert rewritten(source, tmp_path / name) == ()
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == into
    assert np.allclose(clicks(tmp_path / name)[:3], CLICKS, atol=0.03)


def test_sound_without_loss_stays_so(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", Sound("flac"))
    rewritten(source, tmp_path / "b.mov")
    with av.open(str(tmp_path / "b.mov")) as container:
        got = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert np.array_equal(got.reshape(-1, 2), Sound("flac").samples())


@pytest.mark.parametrize("name", ["b.mp4", "b.webm", "b.avi", "b.mpg"])
@pytest.mark.parametrize("layout", ["5.1", "quad"])
def test_channels_are_kept(tmp_path: Path, layout: str, name: str) -> None:
    source = film(tmp_path / "a.mkv", Sound("pcm_s16le", layout=layout))
    assert rewritten(source, tmp_path / name) == ()
    with av.open(str(tmp_path / name)) as container:
        got = container.streams.audio[0].codec_context
        assert got.channels == av.AudioLayout(layout).nb_channels


def test_channels_that_no_encoder_takes_are_mixed_with_a_warning(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", Sound("flac", layout="7.1"))
    warnings = rewritten(source, tmp_path / "b.mpg")
    assert warnings == ("Sound of 8 channels was mixed down to 6: MPG holds no more of it.",)
    assert heard(tmp_path / "b.mpg").shape[0] == 6


@pytest.mark.parametrize(
    ("rate", "name", "got"),
    [(192_000, "b.mp4", 96_000), (8000, "b.webm", 8000), (96_000, "b.mpg", 48_000)],
)
def test_the_nearest_sample_rate_is_used(tmp_path: Path, rate: int, name: str, got: int) -> None:
    source = film(tmp_path / "a.mkv", Sound("pcm_s16le", rate=rate))
    warnings = rewritten(source, tmp_path / name)
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.audio[0]
        assert name == "b.webm" or stream.codec_context.sample_rate == got
    assert any(f"{rate} Hz was resampled to {got}" in one for one in warnings) == (got < rate)
    assert np.allclose(clicks(tmp_path / name)[:3], CLICKS, atol=0.03)


@pytest.mark.parametrize("name", ["b.mp4", "b.webm"])
def test_the_end_of_the_sound_is_kept(tmp_path: Path, name: str) -> None:
    source = film(tmp_path / "a.wmv", Sound("wmav2"))
    rewritten(source, tmp_path / name)
    # The decoder holds 2048 samples back until there are no more packets.
    assert heard(tmp_path / name).shape[1] == pytest.approx(heard(source).shape[1], abs=1024)


@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.webm", "b.avi", "b.mpg"])
@pytest.mark.parametrize(("sound", "picture"), [(0.0, 0.4), (0.4, 0.0)])
def test_sound_keeps_its_place_to_the_picture(
    tmp_path: Path, sound: float, picture: float, name: str
) -> None:
    source = film(tmp_path / "a.mkv", Sound("aac", start=sound), picture_start=picture)
    rewritten(source, tmp_path / name)
    assert np.allclose(clicks(tmp_path / name)[:3], np.array(CLICKS) - picture, atol=0.03)


def test_an_avi_file_begins_with_the_first_frame(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", Sound("aac"))
    rewritten(source, tmp_path / "b.avi")
    assert packets(tmp_path / "b.avi") == packets(source)[1:]  # the first one is before time 0


def test_sound_before_the_first_frame_is_cut_to_the_sample(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", Sound("flac"), picture_start=0.48)
    rewritten(source, tmp_path / "b.mov")
    with av.open(str(tmp_path / "b.mov")) as container:
        first = next(container.decode(audio=0)).to_ndarray().reshape(-1, 2)
    assert np.array_equal(first[:, 0], Sound().samples()[round(0.48 * RATE) :][: len(first), 0])


@pytest.mark.parametrize("name", ["b.mp4", "b.webm"])
def test_gaps_stay_gaps(tmp_path: Path, name: str) -> None:
    source = tmp_path / "a.mkv"
    film(tmp_path / "whole.mkv", Sound("flac"))
    with av.open(str(tmp_path / "whole.mkv")) as whole, av.open(str(source), "w") as out:
        copies = {s.index: out.add_stream_from_template(s) for s in whole.streams}
        for packet in whole.demux():
            if packet.size and not (packet.stream_index and 0.6 < packet.pts / 1000 < 0.9):
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    rewritten(source, tmp_path / name)
    assert np.allclose(clicks(tmp_path / name)[:3], CLICKS, atol=0.03)
    assert len(read_speech(source)) == pytest.approx(2 * 16_000, abs=1600)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transport stream with its key frames a second apart."""
    path = tmp_path_factory.mktemp("ts") / "a.ts"
    return film(path, Sound("aac"), codec="mpeg2video")


def remuxed(source: Path, target: Path, shift: float, pause: tuple[float, float]) -> Path:
    """A copy with a later clock, without its sound between two times."""
    with av.open(str(source)) as whole, av.open(str(target), "w") as out:
        copies = [out.add_stream_from_template(stream) for stream in whole.streams]
        zero = whole.start_time / 1_000_000
        for packet in whole.demux():
            if not packet.size:
                continue
            time, ticks = float(packet.dts * packet.time_base) - zero, 1 / packet.time_base
            if packet.stream_index and pause[0] < time < pause[1]:
                continue
            packet.pts += round(shift * ticks)
            packet.dts += round(shift * ticks)
            packet.stream = copies[packet.stream_index]
            out.mux(packet)
    return target


@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.webm"])
@pytest.mark.parametrize("shifts", [(0, 0), (100, 0), (0, 100)])
def test_joined_recordings_sound_to_the_end(
    tmp_path: Path, recording: Path, name: str, shifts: tuple[float, float]
) -> None:
    joined = tmp_path / "joined.ts"
    parts = [remuxed(recording, tmp_path / f"{by}.ts", by, (0, 0)) for by in shifts]
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with VideoReader(joined) as reader:
        times = [float(frame.time) for frame in reader]
    assert np.allclose(np.diff(times), 0.04, atol=0.001)
    assert len(read_speech(joined)) == pytest.approx(4 * 16_000, abs=3200)
    assert rewritten(joined, tmp_path / name) == ()
    got = clicks(tmp_path / name)
    for click in CLICKS:
        assert min(abs(time - click) for time in got) < 0.03
        assert min(abs(time - click - 2.0) for time in got) < 0.06


def test_broken_time_stamps_of_the_sound_move_nothing_else(tmp_path: Path, recording: Path) -> None:
    source, pts = tmp_path / "a.ts", b""
    data = bytearray(recording.read_bytes())
    starts = [at for at in range(0, len(data), 188) if data[at + 1] & 0x40]
    heads = [data.find(b"\0\0\1\xc0", at, at + 188) for at in starts]
    sounds = [head for head in heads if head > 0]
    assert len(sounds) > 12
    for head in sounds[6:8]:
        pts = bytes(data[head + 9 : head + 14])
        data[head + 9] = pts[0] ^ 0x08  # 2^32 ticks: 13 hours
    source.write_bytes(data)
    for name in ("b.mp4", "b.mkv"):
        rewritten(source, tmp_path / name)
        got = clicks(tmp_path / name)
        assert all(min(abs(time - click) for time in got) < 0.03 for click in CLICKS[1:])
        assert max(got) < 2.1


def test_a_pause_of_the_sound_is_no_join(tmp_path: Path) -> None:
    film(tmp_path / "whole.ts", Sound("aac", end=15.0), frames=375, codec="mpeg2video")
    source = remuxed(tmp_path / "whole.ts", tmp_path / "a.ts", 0, (1.2, 13.0))
    rewritten(source, tmp_path / "b.mp4")
    got = clicks(tmp_path / "b.mp4")
    assert np.allclose(got, [0.5, 1.0, 15.0], atol=0.06)


def test_a_recording_that_starts_between_key_frames(tmp_path: Path, recording: Path) -> None:
    data = recording.read_bytes()
    start = len(data) // 188 // 10 * 188
    source = tmp_path / "cut.ts"
    source.write_bytes(data[: 188 * 3] + data[start:])
    with av.open(str(recording)) as container:
        whole = float(next(container.decode(video=0)).time)
    with av.open(str(source)) as container:
        first = float(next(container.decode(video=0)).time) - whole
    assert first > 0.2  # up to the next key frame
    for name in ("b.mp4", "b.webm"):
        rewritten(source, tmp_path / name)
        wanted = [click - first for click in CLICKS if click > first + 0.05]
        got = [time for time in clicks(tmp_path / name) if time > 0.02]
        assert np.allclose(got[: len(wanted)], wanted, atol=0.03)


@pytest.mark.parametrize("name", ["b.mp4", "b.webm"])
def test_speech_begins_with_its_first_sample(tmp_path: Path, name: str) -> None:
    late = film(tmp_path / "late.mkv", Sound("aac", start=0.3))
    picture = film(tmp_path / "a.mp4")
    rewritten(picture, tmp_path / name, sound=late)
    assert np.allclose(clicks(tmp_path / name)[:3], np.array(CLICKS) - 0.3, atol=0.03)
    assert float(sound_start(late)) == pytest.approx(0.3, abs=0.001)
    loud = np.flatnonzero(np.abs(read_speech(late)) > 0.25) / 16_000
    assert loud[0] == pytest.approx(CLICKS[0] - 0.3, abs=0.03)


@pytest.mark.parametrize(("sound", "picture"), [(0.0, 0.4), (0.4, 0.0)])
def test_a_voice_is_heard_on_the_clock_of_its_picture(
    tmp_path: Path, sound: float, picture: float
) -> None:
    source = film(tmp_path / "a.mkv", Sound("flac", start=sound), picture_start=picture)
    own = VoiceAnalysis(source, "samples", with_picture=True).samples
    alone = VoiceAnalysis(source, "samples").samples
    for samples, zero in ((own, picture), (alone, sound)):
        loud = np.flatnonzero(np.abs(samples) > 0.25) / 16_000
        assert loud[0] == pytest.approx(CLICKS[0] - zero, abs=0.003)


def test_the_default_track_is_heard(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", Sound("flac", end=1.0), Sound("flac", end=2.0, disposition=1))
    assert len(read_speech(source)) == pytest.approx(2 * 16_000, abs=160)
    other = film(tmp_path / "b.mkv", Sound("flac", end=1.0), Sound("flac", end=2.0))
    assert len(read_speech(other)) == pytest.approx(16_000, abs=160)


def wav(path: Path, samples: np.ndarray, rate: int = 16_000, *, code: int = 1) -> Path:
    """A WAV file of ``(N, channels)``: ``int16``, or ``float32`` with the code 3."""
    channels, width = samples.shape[1], samples.dtype.itemsize
    numbers = ((code, 2), (channels, 2), (rate, 4), (rate * width * channels, 4))
    head = b"".join(number.to_bytes(size, "little") for number, size in numbers)
    head += (width * channels).to_bytes(2, "little") + (8 * width).to_bytes(2, "little")
    data = samples.tobytes()
    body = b"WAVEfmt \x10\0\0\0" + head + b"data" + len(data).to_bytes(4, "little") + data
    path.write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    return path


def tone(seconds: float = 0.5) -> np.ndarray:
    time = np.arange(round(16_000 * seconds)) / 16_000
    return (8000 * np.sin(2 * np.pi * 300 * time)).astype(np.int16)


def test_channels_that_cancel_out_are_heard(tmp_path: Path) -> None:
    voice = tone()
    inverted = wav(tmp_path / "a.wav", np.stack([voice, -voice], 1))
    assert np.allclose(read_speech(inverted), voice / 32768, atol=1e-4)
    half = wav(tmp_path / "b.wav", np.stack([voice, voice * 0], 1))
    assert np.allclose(read_speech(half), voice / 65536, atol=1e-4)


@pytest.mark.parametrize("stated", [0, 1 << 31, 0xFFFFFFFF])
def test_a_wrong_length_of_a_wav_file_does_not_matter(tmp_path: Path, stated: int) -> None:
    path = wav(tmp_path / "a.wav", tone()[:, None])
    data = bytearray(path.read_bytes())
    data[40:44] = stated.to_bytes(4, "little")
    path.write_bytes(data)
    assert has_sound(path)
    assert len(read_speech(path)) == 8000


def test_samples_that_are_no_numbers_are_silence(tmp_path: Path) -> None:
    voice = (tone() / 32768).astype(np.float32)[:, None]
    voice[100:110] = np.inf
    voice[200:210] = np.nan
    voice[300:310] = -np.inf
    voice[400] = 3e38
    samples = read_speech(wav(tmp_path / "a.wav", voice, code=3))
    assert np.isfinite(samples).all()
    assert np.abs(samples[100:110]).max() == 0
    assert np.abs(samples).max() <= 16


@pytest.mark.parametrize("rate", [1, 100, 2_000_000_000])
def test_absurd_sample_rates_are_refused(tmp_path: Path, rate: int) -> None:
    path = wav(tmp_path / "a.wav", tone()[:, None], rate)
    with pytest.raises(InputError, match=r"damaged|no sound"):
        read_speech(path)


@pytest.mark.parametrize("name", ["b.mp4", "b.mov", "b.webm", "b.avi", "b.mpg"])
def test_many_channels_without_a_layout(tmp_path: Path, name: str) -> None:
    voice = wav(tmp_path / "a.wav", np.repeat(tone()[:, None], 12, 1))
    rewritten(film(tmp_path / "a.mp4", frames=10), tmp_path / name, sound=voice)
    assert np.abs(heard(tmp_path / name)).max() == pytest.approx(8000 / 32768, rel=0.2)


SOUNDS = {
    "a.wav": "pcm_s16le",
    "a.flac": "flac",
    "a.mp3": "libmp3lame",
    "a.ogg": "libopus",
    "a.m4a": "aac",
    "a.aiff": "pcm_s16be",
    "a.au": "pcm_s16be",
    "a.mka": "ac3",
}


@pytest.mark.parametrize("name", SOUNDS)
def test_damaged_sound_gives_a_plain_error_or_what_is_left(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as out:
        track = out.add_stream(SOUNDS[name], rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.repeat(tone(0.3), 3)[None], "s16", "mono")
        frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), 0
        out.mux(track.encode(frame))
        out.mux(track.encode(None))
    whole, rng = path.read_bytes(), np.random.default_rng(len(name))
    for case in range(13):
        data = bytearray(whole[: rng.integers(1, len(whole))] if case % 3 == 0 else whole)
        size = len(data) if case % 2 else min(len(data), 96)  # the head matters most
        for place in rng.integers(0, size, 10):
            data[place] = int(rng.integers(256))
        path.write_bytes(data)
        try:
            has_sound(path)
            samples = read_speech(path)
        except InputError:
            continue
        assert np.isfinite(samples).all()


def test_damaged_sound_is_a_warning(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", Sound("ac3"))
    data = source.read_bytes()
    every = packets(source)
    broken = [one for one in every if every.count(one) == 1]
    for packet in broken:
        data = data.replace(packet, bytes(len(packet)))
    source.write_bytes(data)
    warnings = rewritten(source, tmp_path / "b.webm")
    assert warnings == (
        f"{source}: {len(broken)} damaged parts of the sound could not be decoded.",
    )


def test_what_a_container_can_hold(tmp_path: Path) -> None:
    with av.open(str(film(tmp_path / "a.mkv", Sound("libopus")))) as container:
        stream = container.streams.audio[0]
        first = [packet for packet in container.demux(stream) if packet.size][:4]
        held = {name for name in ("mp4", "mov", "webm", "mpeg") if can_hold(name, stream, first)}
    assert held == {"mp4", "webm"}


def test_a_film_without_sound_has_none(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4")
    assert rewritten(source, tmp_path / "b.mp4") == ()
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert not container.streams.audio
    with pytest.raises(InputError, match="no sound"):
        read_speech(source)


def test_a_sound_file_named_for_a_missing_track(tmp_path: Path) -> None:
    silent = film(tmp_path / "a.mp4")
    with VideoWriter(tmp_path / "b.mp4", _info(silent), audio_from=silent) as writer:
        assert writer.warnings == ()


def _info(path: Path) -> VideoInfo:
    with VideoReader(path) as reader:
        return reader.info
