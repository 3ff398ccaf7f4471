from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import mien
from mien.errors import InputError, WeightsError
from mien.face.facs import NAMED
from mien.speech.listener import AFFECT, VOICE_EMOTIONS, Listener

from .. import command
from .voices import buzz, count_decodings, write_sound


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()


def test_results_are_in_range(listener: Listener) -> None:
    result = listener.analyse(buzz(3.4))
    assert result.embedding.dtype == np.float32
    assert np.linalg.norm(result.embedding) == pytest.approx(1, abs=1e-3)
    assert result.emotion.sum() == pytest.approx(1, abs=1e-5)
    assert list(result.probabilities) == list(VOICE_EMOTIONS)
    assert result.emotion.shape == (len(VOICE_EMOTIONS),)
    assert (np.abs(result.affect) <= 1).all()
    assert 0 <= result.intensity <= 1
    assert result.seconds == pytest.approx(3.4, abs=0.01)
    assert [round(m.time, 1) for m in result.curve] == [0.5, 1.5, 2.5, 3.2]
    assert set(AFFECT) == {*VOICE_EMOTIONS, *NAMED}


def test_batches_are_single_voices_side_by_side(listener: Listener) -> None:
    from mien.speech.features import features

    voices = [features(buzz(seconds, pitch)) for seconds, pitch in ((1.0, 110), (2.0, 200))]
    both = listener.embed(voices)
    alone = np.concatenate([listener.embed([rows]) for rows in voices])
    assert ((both * alone).sum(1) > 0.995).all()  # padding leaks in a little


def test_louder_is_the_same_voice(listener: Listener) -> None:
    quiet, loud = (listener.analyse(gain * buzz(3.0)) for gain in (0.6, 1.0))
    assert quiet.embedding @ loud.embedding > 0.9


def test_a_file_is_its_samples(listener: Listener, tmp_path: Path) -> None:
    samples = buzz(2.5)
    path = write_sound(tmp_path / "a.wav", samples)
    assert listener.analyse(path).embedding @ listener.analyse(samples).embedding > 0.99


def test_a_neutral_voice_matters(listener: Listener) -> None:
    voice = buzz(3.0, 200)
    plain = listener.analyse(buzz(3.0, 120)).embedding
    alone, beside = listener.analyse(voice), listener.analyse(voice, plain)
    assert np.abs(alone.emotion - beside.emotion).max() > 1e-4
    assert np.array_equal(alone.embedding, beside.embedding)


@pytest.mark.parametrize(
    ("sound", "word"),
    [
        (np.zeros(48_000), "silent"),
        (np.zeros(1600), "silent"),
        (buzz(0.2), "Only 0."),
        (np.random.default_rng(0).standard_normal(48_000) * 0.1, "Hardly any voice"),
    ],
)
def test_uncertain_results_have_a_warning(listener: Listener, sound: np.ndarray, word: str) -> None:
    result = listener.analyse(sound.astype(np.float32))
    assert any(word in warning for warning in result.warnings)
    assert result.emotion.sum() == pytest.approx(1, abs=1e-5)
    if word == "silent":
        assert VOICE_EMOTIONS[int(result.emotion.argmax())] == "neutral"
        assert result.intensity == 0


def test_no_samples_are_refused(listener: Listener) -> None:
    with pytest.raises(InputError, match="0 samples"):
        listener.analyse(np.zeros(0, np.float32))


def test_long_voices_have_long_curves(listener: Listener) -> None:
    result = listener.analyse(np.tile(buzz(5.0), 4))
    assert len(result.curve) == 20
    assert np.allclose(np.diff([m.time for m in result.curve]), 1, atol=0.02)


def test_missing_and_broken_nets_are_reported(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="missing"):
        Listener(tmp_path)
    for name in ("listener.onnx", "listener_says.onnx"):
        (tmp_path / name).write_bytes(b"not a net")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        Listener(tmp_path)


def test_views_beside_a_neutral_voice(listener: Listener) -> None:
    plain = listener.views(buzz(2.0, 120))
    assert plain.shape == (3, listener.size)
    assert np.allclose(np.linalg.norm(plain, axis=1), 1, atol=1e-3)
    assert plain[0] @ listener.analyse(buzz(2.0, 120)).embedding > 0.99
    assert (plain[1:] @ plain[0]).max() < 0.9999
    result = listener.analyse(buzz(2.5, 220), plain)
    assert result.emotion.sum() == pytest.approx(1, abs=1e-5)
    assert np.abs(result.emotion - listener.analyse(buzz(2.5, 220), plain[0]).emotion).max() > 1e-6
    with pytest.raises(InputError, match="Nobody speaks"):
        listener.views(np.zeros(32_000, np.float32))


def test_feel_lists_several_files_in_one_go(tmp_path: Path) -> None:
    paths = [write_sound(tmp_path / f"{i}.wav", buzz(2.2, 100 + 60 * i)) for i in range(2)]
    feelings = list(mien.feel(paths))
    assert [f.file for f in feelings] == paths
    single = next(mien.feel(str(paths[1]), neutral=paths[0]))
    assert single.file == paths[1]
    assert sum(single.emotion.values()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", ["none.wav", "text.wav"])
def test_feel_checks_its_files_at_the_call(name: str, tmp_path: Path) -> None:
    good = write_sound(tmp_path / "a.wav", buzz(2.0))
    (tmp_path / "text.wav").write_text("no sound " * 40)
    with pytest.raises(InputError, match="no file|is damaged|no sound"):
        mien.feel([good, tmp_path / name])
    with pytest.raises(InputError, match="no file|is damaged|no sound"):
        mien.feel(good, neutral=tmp_path / name)
    with pytest.raises(InputError, match="files must be a file or a list of files; got 3"):
        mien.feel(3)  # type: ignore[arg-type]


def test_feel_decodes_every_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = count_decodings(monkeypatch)
    voice, neutral = (write_sound(tmp_path / f"{i}.wav", buzz(2.0, 100 * i)) for i in (1, 2))
    assert len(list(mien.feel([voice], neutral=neutral))) == 1
    assert opened == {voice: 1, neutral: 1}


def run(*args: object) -> command.Done:
    return command.mien("feel", *args, cache=Path("none"))


def test_feel_prints_one_object_per_line(tmp_path: Path) -> None:
    paths = [write_sound(tmp_path / f"{i}.wav", buzz(3.2, 100 + 60 * i)) for i in range(2)]
    result = run(*paths, "--json")
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["file"] for line in lines] == [str(p) for p in paths]
    for line in lines:
        assert set(line) >= {
            "file", "emotion", "valence", "arousal", "intensity", "seconds", "curve",
        }  # fmt: skip
        assert len(line["curve"]) == 4


def test_feel_draws_a_curve(tmp_path: Path) -> None:
    voice = write_sound(tmp_path / "a.wav", buzz(4.0))
    out = tmp_path / "curve.png"
    result = run(voice, "--plot", out)
    assert result.returncode == 0, result.stderr
    assert "valence" in result.stdout
    picture = cv2.imread(str(out))
    assert picture.shape == (420, 960, 3)
    assert (picture != 255).any(2).mean() > 0.005
    again = run(voice, "--plot", out)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize("name", ["none.wav", "text.wav", "."])
def test_feel_refuses_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.wav").write_text("no sound " * 40)
    result = run(tmp_path / name)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


def test_a_quiet_voice_is_not_taken_for_silence(listener: Listener) -> None:
    quiet, fainter = (buzz(2.0) * np.float32(10 ** (db / 20)) for db in (-42, -50))
    assert listener.analyse(quiet).has_speech
    assert not listener.analyse(fainter).has_speech
