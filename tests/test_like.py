"""Looks out of voices and faces: requests, timelines, the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.api import _enliven, edit, request_from
from mien.cmet.mesh import Expresser
from mien.cmet.sharpen import clarify
from mien.emotion.expression_track import PRESETS, Look, presets
from mien.emotion.prosody import Living, course, course_of
from mien.emotion.request import Emotion, Timeline
from mien.emotion.resolve_mesh import follow_voice, look_like
from mien.errors import FaceNotFoundError, InputError
from mien.face.facs import ACTION_UNITS, INDEX, RECIPES
from mien.media.still import read_still, write_still

from .speech.voices import buzz, write_sound


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    return write_sound(tmp_path / "voice.wav", buzz(3.0, 230))


@pytest.fixture
def film(tmp_path: Path, demo_clip: Path) -> Path:
    """The demo clip with a voice."""
    import av

    path = tmp_path / "film.mp4"
    sound = np.concatenate([buzz(2.0, 120), buzz(2.0, 260)])
    with av.open(str(demo_clip)) as source, av.open(str(path), "w") as target:
        picture = source.streams.video[0]
        copy = target.add_stream_from_template(picture)
        track = target.add_stream("aac", rate=16_000, layout="mono")
        for packet in source.demux(picture):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
        for start in range(0, len(sound), 1024):
            frame = av.AudioFrame.from_ndarray(
                sound[None, start : start + 1024].astype(np.float32), "fltp", "mono"
            )
            frame.sample_rate, frame.pts = 16_000, start
            target.mux(track.encode(frame))
        target.mux(track.encode(None))
    return path


def test_presets_are_emotions_like_any_other() -> None:
    assert set(PRESETS) < set(presets())
    for name in PRESETS:
        whole = Emotion.parse(name).expression_at()
        assert np.allclose(Emotion.parse(f"{name}:0.5").expression_at(), whole / 2, atol=1e-6)
        assert 0.3 < np.linalg.norm(whole) < 3
        assert Emotion.parse(name).presence_at() == 1
    mix = Emotion.parse("sarcastic:0.5,happy:0.5", au="4=0.2").expression_at()
    parts = 0.5 * presets()["sarcastic"].look.expression_at(0) + 0.5 * RECIPES["happy"].expression()
    parts[[INDEX["4L"], INDEX["4R"]]] += 0.2
    assert np.allclose(mix, parts, atol=1e-6)


def test_presets_differ_from_each_other() -> None:
    faces = np.stack([presets()[name].look.expression_at(0) for name in PRESETS])
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    assert (faces @ faces.T - np.eye(len(faces))).max() < 0.97


def test_presets_were_made_by_these_nets() -> None:
    from importlib.resources import files

    expresser = Expresser()
    with (files("mien") / "assets" / "presets.npz").open("rb") as file:
        stored = dict(np.load(file, allow_pickle=False))
    for vector, heard in zip(stored["vectors"], stored["heard"], strict=True):
        assert np.allclose(expresser.expression(vector), np.clip(heard, -1.6, 1.6), atol=0.08)


def test_a_voice_becomes_a_look(voice: Path) -> None:
    look, _ = look_like([voice])
    assert look.expressions.shape == (1, len(ACTION_UNITS))
    assert np.isfinite(look.expressions).all()
    again, _ = look_like([voice, voice])
    assert np.allclose(look.expression_at(0), again.expression_at(9), atol=1e-3)
    itself, _ = look_like([voice], [voice])
    assert np.abs(itself.expression_at(0)).max() < 0.05


def test_short_and_silent_voices_are_said(tmp_path: Path) -> None:
    short = write_sound(tmp_path / "short.wav", buzz(0.6))
    _, warnings = look_like([short])
    assert any("at least 2 s" in warning for warning in warnings)
    silent = write_sound(tmp_path / "silent.wav", np.zeros(32_000, np.float32))
    look, warnings = look_like([silent])
    assert not look.expressions.any()
    assert any("silent" in warning for warning in warnings)
    with pytest.raises(InputError, match="Nobody speaks"):
        look_like([short], [silent])


def test_a_face_becomes_a_look(demo_face: Path, tmp_path: Path) -> None:
    smiling = tmp_path / "smile.png"
    edit(demo_face, smiling, "happy")
    happy, _ = look_like([smiling])
    plain, _ = look_like([demo_face])
    corner = INDEX["12L"]
    assert happy.expression_at(0)[corner] > plain.expression_at(0)[corner] + 0.3
    with pytest.raises(InputError, match="neutral voice belongs to a voice"):
        look_like([demo_face], [smiling])
    with pytest.raises(InputError, match="one face"):
        look_like([demo_face, smiling])
    nobody = tmp_path / "nobody.png"
    write_still(nobody, np.full((200, 200, 3), 128, np.uint8))
    with pytest.raises(FaceNotFoundError):
        look_like([nobody])


def test_a_silent_clip_is_a_face(demo_clip: Path) -> None:
    look, _ = look_like([demo_clip])
    assert look.expressions.shape == (1, len(ACTION_UNITS))


def test_auto_follows_the_voice(film: Path, demo_clip: Path) -> None:
    look, _ = follow_voice(film)
    assert len(look.times) > 10
    early, late = look.expression_at(0.5), look.expression_at(3.5)
    assert np.abs(early - late).max() > 0.02
    steps = np.abs(np.diff([look.expression_at(t) for t in np.arange(0, 4, 0.04)], axis=0))
    assert steps.max() < 0.12, "no jumps"
    with pytest.raises(InputError, match="no sound"):
        follow_voice(demo_clip)


def test_requests_are_put_together(film: Path, voice: Path, demo_clip: Path) -> None:
    request, _ = request_from(film, "auto:0.8,happy:0.2", au="4=0.1")
    assert isinstance(request, Emotion)
    assert request.describe()["looks"][0]["strength"] == 0.8
    request, _ = request_from(film, "sad:0.3", like=voice, intensity=0.5)
    assert request.describe()["looks"][0]["like"] == [str(voice)]
    half = Emotion.parse("sad:0.3", intensity=0.5).expression_at()
    like, _ = look_like([voice])
    assert np.allclose(request.expression_at(1.0), half + 0.5 * like.expression_at(0), atol=1e-5)
    for arguments, word in (
        ({"neutral": voice}, "neutral belongs"),
        ({"emotion": "sad", "neutral": voice}, "neutral belongs"),
        ({"emotion": "auto"}, "no sound"),
        ({"emotion": "sadd", "like": voice}, "sadd"),
        ({"like": "none.wav"}, "no file"),
        ({"like": voice, "intensity": float("nan")}, "intensity"),
        ({"emotion": Emotion.parse("sad"), "like": voice}, "carries its own"),
    ):
        with pytest.raises(InputError, match=word):
            request_from(demo_clip, **arguments)  # type: ignore[arg-type]


def test_timelines_take_voices_and_auto(film: Path, voice: Path, tmp_path: Path) -> None:
    path = tmp_path / "timeline.json"
    entries = [
        {"at": 0, "emotion": "auto"},
        {"at": 2, "like": voice.name, "fade": 0.5},
        {"at": 3, "emotion": "romantic:0.5"},
    ]
    path.write_text(json.dumps(entries))
    request, _ = request_from(film, timeline=path)
    assert isinstance(request, Timeline)
    like, _ = look_like([voice])
    assert np.allclose(request.expression_at(2.9), like.expression_at(0), atol=1e-4)
    for entry, word in (
        ({"at": 0, "neutral": "a.wav"}, "neutral belongs"),
        ({"at": 0, "like": 3}, "like must be"),
        ({"at": 0, "like": "none.wav"}, "no file"),
    ):
        path.write_text(json.dumps([entry]))
        with pytest.raises(InputError, match=f"Entry 1.*{word}"):
            request_from(film, timeline=path)
    with pytest.raises(InputError, match="auto follows"):
        Emotion.parse("auto")


@given(st.floats(0, 60))
def test_a_moving_look_is_continuous(time: float) -> None:
    rng = np.random.default_rng(0)
    look = Look(
        "x",
        np.arange(0, 20, 0.5),
        rng.normal(0, 1, (40, len(ACTION_UNITS))).astype(np.float32),
        np.linspace(0, 1, 40, dtype=np.float32),
        {},
    )
    before, after = look.expression_at(time), look.expression_at(time + 1e-3)
    assert np.abs(before - after).max() < 0.05
    assert 0 <= look.presence_at(time) <= 1


def test_life_is_slow_and_bounded() -> None:
    rng = np.random.default_rng(0)
    values = course(rng.normal(0, 1, 300).astype(np.float32), rng.random(300).astype(np.float32))
    assert 0.2 < values.min() <= values.max() <= 1.3
    assert np.abs(np.diff(values)).max() < 0.15, "a tenth of a second"
    assert values[0] < values[20:-20].min()
    assert np.array_equal(course(np.full(50, -2.0, np.float32), np.zeros(50)), np.ones(50))


def test_only_what_comes_from_voices_lives(film: Path, demo_clip: Path, demo_face: Path) -> None:
    named, preset = Emotion.parse("sad"), Emotion.parse("romantic")
    assert _enliven(named, film) is named
    assert _enliven(preset, demo_face) is preset
    assert _enliven(preset, demo_clip) is preset, "no sound"
    living = _enliven(preset, film)
    assert isinstance(living, Living)
    factors = [
        float(np.linalg.norm(living.expression_at(t)) / np.linalg.norm(preset.expression_at(t)))
        for t in np.arange(0, 4, 0.1)
    ]
    assert max(factors) - min(factors) > 0.1
    assert len(course_of(film).values) == pytest.approx(40, abs=2)


def test_what_is_clear_becomes_clearer_and_nothing_stays_nothing() -> None:
    assert not clarify(np.zeros(len(ACTION_UNITS), np.float32)).any()
    rng = np.random.default_rng(0)
    for name in ("happy", "angry", "fear"):
        recipe = RECIPES[name].expression()
        noisy = (0.6 * recipe + rng.normal(0, 0.1, len(recipe))).astype(np.float32)

        def near(face: np.ndarray, to: np.ndarray = recipe) -> float:
            return float(face @ to / np.linalg.norm(face) / np.linalg.norm(to))

        assert near(clarify(noisy)) > near(noisy)
    tiny = 0.01 * RECIPES["sad"].expression()
    assert not clarify(tiny).any()
    odd = np.zeros(len(ACTION_UNITS), np.float32)
    odd[INDEX["18"]] = 1.3
    assert np.allclose(clarify(odd), odd), "near no prototype: as it is"


def run(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mien", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)


def test_edit_like_a_voice_from_the_command_line(
    demo_face: Path, voice: Path, tmp_path: Path
) -> None:
    plain = write_sound(tmp_path / "plain.wav", buzz(3.0, 120))
    out = tmp_path / "out.png"
    result = run("edit", demo_face, "-o", out, "--like", voice, "--neutral", plain, "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["emotion"]["looks"][0]["like"] == [str(voice)]
    assert {w["name"] for w in report["weights"]} >= {"listener.onnx", "connector.onnx"}
    assert np.abs(read_still(out).astype(int) - read_still(demo_face)).max() > 3


@pytest.mark.slow
def test_edit_auto_keeps_every_frame(film: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    result = run("edit", film, "-o", out, "--emotion", "auto", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["frames"] == 100


def test_emotions_lists_all_with_valence_and_arousal() -> None:
    listed = json.loads(run("emotions", "--json").stdout)
    assert set(listed) == {*RECIPES, *PRESETS}
    for entry in listed.values():
        assert -1 <= entry["valence"] <= 1
        assert -1 <= entry["arousal"] <= 1
    assert "sarcastic" in run("emotions").stdout


def test_a_text_file_is_no_voice(demo_face: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("not a sound " * 30)
    result = run("edit", demo_face, "-o", tmp_path / "o.png", "--like", text)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "o.png").exists()
