"""The single pass over a voice: same results as part by part, decoded once, constant memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mien.errors import InputError
from mien.media.audio import read_speech
from mien.speech.analysis import VoiceAnalysis
from mien.speech.articulation import Articulator, RowStore, loudness_of, stress
from mien.speech.features import Chunk, feature_chunks, features
from mien.speech.listener import EmotionStream, Listener

from .voices import RATE, buzz, count_decodings, write_sound


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    sound = np.concatenate([buzz(9.3), np.zeros(2 * RATE, np.float32), buzz(6.1, 210)])
    return write_sound(tmp_path / "voice.wav", sound)


@pytest.mark.parametrize("memory", [1 << 24, 1])
def test_one_pass_gives_the_results_of_the_parts(
    memory: int, voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.speech.articulation._MEMORY", memory)
    opened = count_decodings(monkeypatch)
    analysis = VoiceAnalysis(voice, "emotion", "articulation", "prosody")
    analysis.require("samples")
    emotion, articulation = analysis.emotion, analysis.articulation
    assert len(analysis.prosody.level) == analysis.sample_count // 1600
    assert opened == {voice: 1}
    samples = read_speech(voice)
    assert np.array_equal(analysis.samples, samples)
    assert np.array_equal(articulation.codes, Articulator().articulate(samples))
    assert np.array_equal(articulation.stress, stress(loudness_of(features(samples))))
    alone = Listener().analyse(samples)
    assert np.array_equal(emotion.embedding, alone.embedding)
    assert np.array_equal(emotion.emotion, alone.emotion)
    assert [m.valence for m in emotion.curve] == [m.valence for m in alone.curve]


def test_pieces_within_a_voice_are_as_if_alone(voice: Path) -> None:
    """Windows at the edge of a piece do not reach into the neighbouring one."""
    samples = read_speech(voice)
    stream = EmotionStream(Listener())
    seen: list[np.ndarray] = []
    stream._analyse_piece = lambda start, rows: seen.append(rows)  # type: ignore[method-assign]
    for chunk in feature_chunks([samples]):
        stream.feed(chunk)
    stream.result()
    half = len(samples) // 2 // RATE * RATE
    for rows, piece in zip(seen, (samples[:half], samples[half:]), strict=True):
        assert np.abs(rows - features(piece)).max() < 1e-6


def test_parts_are_named_before_the_pass(voice: Path, tmp_path: Path) -> None:
    analysis = VoiceAnalysis(voice, "prosody")
    assert len(analysis.prosody.movement)
    analysis.require("prosody")
    with pytest.raises(RuntimeError, match="already without emotion"):
        analysis.require("emotion")
    with pytest.raises(RuntimeError, match="not required"):
        _ = analysis.samples
    nothing = VoiceAnalysis(write_sound(tmp_path / "none.wav", np.zeros(0)), "prosody", "samples")
    assert not len(nothing.prosody.level)
    with pytest.raises(InputError, match="no sound that can be decoded"):
        _ = nothing.samples


def test_stored_rows_are_read_like_an_array(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).random((50, 82)).astype(np.float32)
    store = RowStore()
    for start in range(0, 50, 17):
        store.feed(Chunk(rows[start : start + 17], np.zeros(0, np.float32)))
    assert len(store) == 50
    for part in (slice(0, 50), slice(3, 20), slice(40, 90), slice(60, 70), slice(9, 5)):
        assert np.array_equal(store[part], rows[part])
    store.close()


def test_memory_hardly_grows_with_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.speech.articulation._MEMORY", 1)
    monkeypatch.setattr("mien.speech.features._CHUNK", 1000)

    def peak(minutes: int) -> int:
        path = write_sound(tmp_path / "voice.wav", np.tile(buzz(10.0), 6 * minutes))
        tracemalloc.start()
        analysis = VoiceAnalysis(path, "emotion", "articulation", "prosody")
        assert len(analysis.articulation.codes) == 3000 * minutes
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    per_second = (peak(2) - peak(1)) / 60
    assert per_second < 10_000, "features are 33 kB per second, samples 64 kB"
