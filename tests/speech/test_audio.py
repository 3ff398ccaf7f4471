from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import InputError
from mien.media.audio import SAMPLE_RATE_HZ, has_sound, read_speech, stream_speech
from mien.speech.features import (
    FEATURES,
    FEATURES_PER_SECOND,
    MELS,
    feature_chunks,
    features,
    speech_span,
)

from .voices import buzz, write_sound


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000, 192000])
def test_any_rate_becomes_16_khz(tmp_path: Path, rate: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32) * 0.5
    samples = read_speech(write_sound(tmp_path / "a.wav", tone, rate))
    assert len(samples) == pytest.approx(SAMPLE_RATE_HZ, abs=2)
    spectrum = np.abs(np.fft.rfft(samples[2000:-2000] * np.hanning(len(samples) - 4000)))
    assert spectrum.argmax() / (len(samples) - 4000) * SAMPLE_RATE_HZ == pytest.approx(440, abs=3)
    assert np.abs(samples[2000:-2000]).max() == pytest.approx(0.5, abs=0.02)


def test_channels_are_averaged(tmp_path: Path) -> None:
    one = buzz(0.5)
    many = read_speech(write_sound(tmp_path / "a.wav", one, channels=12))
    assert np.allclose(many, one, atol=1e-3)


def test_a_stream_is_the_whole(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.flac", buzz(23.0, rate=22050), 22050)
    blocks = list(stream_speech(path))
    assert len(blocks) >= 3
    assert max(map(len, blocks)) <= 11 * SAMPLE_RATE_HZ
    assert np.array_equal(np.concatenate(blocks), read_speech(path))
    assert len(read_speech(path, 2.5)) == 2.5 * SAMPLE_RATE_HZ


def test_films_and_wrong_suffixes(tmp_path: Path, make_clip: object, demo_clip: Path) -> None:
    film = make_clip("a.mp4", audio="aac")  # type: ignore[operator]
    assert has_sound(film)
    assert len(read_speech(film)) > 1000
    renamed = tmp_path / "b.wav"
    renamed.write_bytes(film.read_bytes())
    assert len(read_speech(renamed)) == len(read_speech(film))
    assert not has_sound(make_clip("c.mp4"))  # type: ignore[operator]


def test_what_is_no_sound(tmp_path: Path, make_clip: object) -> None:
    text, empty = tmp_path / "text.wav", tmp_path / "empty.wav"
    text.write_text("This is a letter." * 50)
    empty.touch()
    silent = make_clip("silent.mp4")  # type: ignore[operator]
    for path, word in (
        (text, "is damaged: it cannot be decoded as sound"),
        (empty, "0 bytes"),
        (tmp_path / "none.wav", "no file"),
        (tmp_path, "folder"),
        (silent, "no sound"),
    ):
        with pytest.raises(InputError, match=word):
            read_speech(path)


def test_bits_that_were_flipped(tmp_path: Path) -> None:
    whole = write_sound(tmp_path / "a.ogg", buzz(1.0)).read_bytes()
    rng = np.random.default_rng(0)
    for case in range(60):
        data = bytearray(whole[: rng.integers(1, len(whole))] if case % 2 else whole)
        for place in rng.integers(0, len(data), 8):
            data[place] = int(rng.integers(256))
        path = tmp_path / "broken.ogg"
        path.write_bytes(bytes(data))
        try:
            samples = read_speech(path)
        except InputError:
            continue
        assert np.isfinite(features(samples)).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 20_000), st.floats(0, 1))
def test_features_have_one_row_per_10_ms(count: int, level: float) -> None:
    rows = features((level * buzz(2.0))[:count])
    assert rows.shape == (-(-count // 160), FEATURES)
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("pitch", [80.0, 120.0, 220.0, 400.0])
def test_pitch_is_heard(pitch: float) -> None:
    time = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    voice = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 8)) * 0.2
    rows = features(np.float32(voice))[10:-10]
    assert (rows[:, MELS + 1] > 0.9).all()
    assert np.allclose(160 * 2 ** rows[:, MELS], pitch, rtol=0.02)


def test_noise_has_no_pitch() -> None:
    noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE_HZ).astype(np.float32) * 0.1
    assert (features(noise)[:, MELS + 1] < 0.5).mean() > 0.95


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = buzz(3.0)
    whole = features(samples)
    monkeypatch.setattr("mien.speech.features._CHUNK", 37)
    assert np.allclose(features(samples), whole, atol=1e-5)


@pytest.mark.parametrize("block", [1, 999, 16_000, 200_000])
def test_blocks_of_any_size_give_the_features_of_the_whole(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.speech.features._CHUNK", 70)
    samples = buzz(0.2 if block == 1 else 3.017)
    blocks = [samples[i : i + block] for i in range(0, len(samples), block)]
    chunks = list(feature_chunks(blocks))
    assert np.array_equal(np.concatenate([chunk.rows for chunk in chunks]), features(samples))
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), samples)
    assert list(feature_chunks([])) == []


def test_silence_around_a_voice_is_cut() -> None:
    samples = np.concatenate([np.zeros(16000), buzz(1.0), np.zeros(8000)]).astype(np.float32)
    start, end = speech_span(features(samples))
    assert start / FEATURES_PER_SECOND == pytest.approx(1.0, abs=0.15)
    assert end / FEATURES_PER_SECOND == pytest.approx(2.0, abs=0.3)
