"""Emotions that refer to voices and faces: requests, timelines, the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.api import edit, talk
from mien.cmet.mesh import MeshConnector
from mien.emotion.expression_track import ExpressionTrack, GainCurve, gain
from mien.emotion.references import FaceReference, OwnVoice, VoiceReference
from mien.emotion.request import Emotion, Request, Timeline, build_request
from mien.emotion.resolve_mesh import EmotionTarget, MeshResolver
from mien.errors import FaceNotFoundError, InputError
from mien.face.facs import ACTION_UNITS, EXTENDED, INDEX, NAMED, RECIPES
from mien.media.audio import read_speech
from mien.media.still import write_still
from mien.pipelines.mesh_talk import TalkSettings
from mien.speech.analysis import PROSODY_SECONDS, VoiceAnalysis
from mien.speech.listener import VOICE_EMOTIONS
from mien.utils.affect import AFFECT

from .command import mien
from .speech.voices import buzz, count_decodings, write_sound


def target(request: Request, time: float = 0.0) -> EmotionTarget:
    return MeshResolver(request).at(time)


def like(*paths: Path, neutral: Path | None = None) -> np.ndarray:
    """The expression of voices or a face, action units."""
    return target(Emotion.parse(like=paths, neutral=neutral)).expression


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


def test_extended_emotions_are_emotions_like_any_other() -> None:
    assert not set(EXTENDED) & set(RECIPES)
    for name, recipe in EXTENDED.items():
        whole = target(Emotion.parse(name))
        assert np.allclose(whole.expression, recipe.expression())
        assert np.allclose(
            target(Emotion.parse(f"{name}:0.5")).expression, whole.expression / 2, atol=1e-6
        )
        assert 0.7 < np.linalg.norm(whole.expression) < 3
        assert whole.presence == 1
    mix = target(Emotion.parse("sarcastic:0.5,happy:0.5", au="4=0.2")).expression
    parts = 0.5 * EXTENDED["sarcastic"].expression() + 0.5 * RECIPES["happy"].expression()
    parts[[INDEX["4L"], INDEX["4R"]]] += 0.2
    assert np.allclose(mix, parts, atol=1e-6)


def test_no_two_named_emotions_look_alike() -> None:
    faces = np.stack([recipe.expression() for name, recipe in NAMED.items() if name != "neutral"])
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    assert (faces @ faces.T - np.eye(len(faces))).max() < 0.95


def test_valence_is_what_a_person_would_say() -> None:
    pleasant = {"happy", "amused", "charismatic", "desirous", "empathetic", "interested", "proud",
                "romantic", "surprised"}  # fmt: skip
    for name in NAMED:
        if name != "neutral":
            assert (AFFECT[name][0] > 0) == (name in pleasant), name
    assert AFFECT["bored"][1] < AFFECT["romantic"][1] < AFFECT["happy"][1]


def test_a_voice_becomes_an_expression(voice: Path) -> None:
    assert like(voice).shape == (len(ACTION_UNITS),)
    assert np.isfinite(like(voice)).all()
    assert np.allclose(like(voice), like(voice, voice), atol=1e-3)
    assert np.abs(like(voice, neutral=voice)).max() < 0.05


def test_short_and_silent_voices_are_reported(tmp_path: Path) -> None:
    short = write_sound(tmp_path / "short.wav", buzz(0.6))
    resolver = MeshResolver(Emotion.parse(like=short))
    resolver.check()
    assert any("at least 2 s" in warning for warning in resolver.warnings)
    silent = write_sound(tmp_path / "silent.wav", np.zeros(32_000, np.float32))
    resolver = MeshResolver(Emotion.parse(like=silent))
    assert not resolver.at(0.0).expression.any()
    assert any("silent" in warning for warning in resolver.warnings)
    with pytest.raises(InputError, match="Nobody speaks"):
        MeshResolver(Emotion.parse(like=short, neutral=silent)).check()


def test_a_face_becomes_an_expression(demo_face: Path, tmp_path: Path) -> None:
    smiling = tmp_path / "smile.png"
    edit(demo_face, smiling, "happy")
    corner = INDEX["12L"]
    assert like(smiling)[corner] > like(demo_face)[corner] + 0.3
    with pytest.raises(InputError, match="neutral voice belongs to a voice"):
        Emotion.parse(like=demo_face, neutral=smiling)
    with pytest.raises(InputError, match="one face"):
        Emotion.parse(like=[demo_face, smiling])
    nobody = tmp_path / "nobody.png"
    write_still(nobody, np.full((200, 200, 3), 128, np.uint8))
    with pytest.raises(FaceNotFoundError):
        MeshResolver(Emotion.parse(like=nobody)).check()


def test_a_silent_clip_is_a_face(demo_clip: Path) -> None:
    request = Emotion.parse(like=demo_clip)
    assert request.references == ((FaceReference(demo_clip), 1.0),)
    assert target(request).expression.shape == (len(ACTION_UNITS),)


def test_a_clip_counts_with_voice_and_face(film: Path, tmp_path: Path) -> None:
    happy = tmp_path / "happy.mp4"
    edit(film, happy, "happy:1.5")
    resolver = MeshResolver(Emotion.parse(like=happy))
    resolver.check()
    description = resolver.describe()
    assert description["seen"][str(happy)]["emotion"] == "happy"
    assert str(happy) in description["heard"]
    sound = write_sound(tmp_path / "sound.wav", read_speech(happy))
    assert "seen" not in MeshResolver(Emotion.parse(like=sound)).describe()
    smile = RECIPES["happy"].expression()

    def smiles(*files: Path, neutral: Path | None = None) -> float:
        shown = like(*files, neutral=neutral)
        return float(shown @ smile / np.linalg.norm(smile))

    assert np.abs(like(happy) - like(sound)).max() > 0.02
    assert smiles(happy, neutral=film) > smiles(happy, neutral=happy) + 0.2


def test_the_command_says_what_it_recognised(film: Path, demo_face: Path, tmp_path: Path) -> None:
    result = mien(
        "edit", demo_face, "-o", tmp_path / "out.png", "--like", film, cache=tmp_path
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert re.search(rf"{re.escape(str(film))} sounds \w+ \(0\.\d\d\) and looks \w+ \(0\.\d\d\)",
                     result.stdout)  # fmt: skip


def test_a_clip_without_a_face_counts_with_its_voice(tmp_path: Path, voice: Path) -> None:
    import av

    path = tmp_path / "landscape.mp4"
    sound = read_speech(voice)
    with av.open(str(path), "w") as target:
        picture, track = target.add_stream("mpeg4", rate=5), target.add_stream("aac", rate=16_000)
        picture.width = picture.height = 64
        track.layout = "mono"
        for _ in range(15):
            grey = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), "rgb24")
            target.mux(picture.encode(grey))
        frame = av.AudioFrame.from_ndarray(sound[None], "fltp", "mono")
        frame.sample_rate = 16_000
        target.mux([*track.encode(frame), *track.encode(None), *picture.encode(None)])
    resolver = MeshResolver(Emotion.parse(like=path))
    resolver.check()
    assert "seen" not in resolver.describe()
    assert any("no face was found" in warning for warning in resolver.warnings)
    assert np.allclose(resolver.at(0).expression, like(voice), atol=0.3)


def test_auto_follows_the_voice(film: Path, demo_clip: Path) -> None:
    resolver = MeshResolver(Emotion.parse("auto"), VoiceAnalysis(film))
    resolver.check()
    early, late = resolver.at(1.0).expression, resolver.at(3.0).expression
    assert np.abs(early - late).max() > 1e-3, "moments move around the whole"
    shown = [resolver.at(t).expression for t in np.arange(0.5, 3.5, 0.04)]
    assert np.abs(np.diff(shown, axis=0)).max() < 0.12, "no jumps"
    with pytest.raises(InputError, match="no sound"):
        MeshResolver(Emotion.parse("auto"), VoiceAnalysis(demo_clip)).check()
    with pytest.raises(InputError, match="auto follows"):
        MeshResolver(Emotion.parse("auto")).check()


def test_requests_are_put_together(film: Path, voice: Path, demo_clip: Path) -> None:
    request = build_request("auto:0.8,happy:0.2", au="4=0.1", neutral=voice)
    assert isinstance(request, Emotion)
    assert request.references == ((OwnVoice((voice,)), 0.8),)
    description = request.describe(film)
    assert description["looks"] == [
        {"name": "auto", "strength": 0.8, "by": "voice", "voice": str(film)}
    ]
    request = build_request("sad:0.3", like=voice, intensity=0.5)
    assert request.describe()["looks"][0]["like"] == [str(voice)]
    half = target(Emotion.parse("sad:0.3", intensity=0.5)).expression
    assert np.allclose(target(request, 1.0).expression, half + 0.5 * like(voice), atol=1e-5)
    for arguments, word in (
        ({"neutral": voice}, "neutral belongs"),
        ({"emotion": "sad", "neutral": voice}, "neutral belongs"),
        ({"emotion": "sadd", "like": voice}, "sadd"),
        ({"like": "none.wav"}, "no file"),
        ({"like": voice, "intensity": float("nan")}, "intensity"),
        ({"emotion": Emotion.parse("sad"), "like": voice}, "carries its own"),
    ):
        with pytest.raises(InputError, match=word):
            build_request(**arguments)  # type: ignore[arg-type]
    for request in (
        build_request("auto", neutral="none.wav"),
        build_request(Emotion(references=((VoiceReference((Path("none.wav"),)), 1.0),))),
    ):
        with pytest.raises(InputError, match="no file"):
            MeshResolver(request, VoiceAnalysis(film)).check()


def test_timelines_take_voices_and_auto(film: Path, voice: Path, tmp_path: Path) -> None:
    path = tmp_path / "timeline.json"
    entries = [
        {"at": 0, "emotion": "auto"},
        {"at": 2, "like": voice.name, "fade": 0.5},
        {"at": 3, "emotion": "romantic:0.5"},
    ]
    path.write_text(json.dumps(entries))
    request = build_request(timeline=path, neutral=voice)
    assert isinstance(request, Timeline)
    assert request.keys[0].emotion.references == ((OwnVoice((voice,)), 1.0),)
    assert request.keys[1].emotion.references == ((VoiceReference((voice,)), 1.0),)
    resolver = MeshResolver(request, VoiceAnalysis(film, "prosody"))
    factor = GainCurve.of(VoiceAnalysis(film, "prosody").prosody).at(2.9)
    assert np.allclose(resolver.at(2.9).expression, factor * like(voice), atol=1e-4)
    for entry, word in (
        ({"at": 0, "emotion": "sad", "neutral": "a.wav"}, "neutral belongs"),
        ({"at": 0, "like": 3}, "like must be"),
        ({"at": 0, "like": "none.wav"}, "no file"),
    ):
        path.write_text(json.dumps([entry]))
        with pytest.raises(InputError, match=f"Entry 1.*{word}"):
            build_request(timeline=path)
    path.write_text(json.dumps([{"at": 0, "like": voice.name}]))
    with pytest.raises(InputError, match="neutral belongs"):
        build_request(timeline=path, neutral=voice)


@given(st.floats(0, 60))
def test_a_track_is_continuous(time: float) -> None:
    rng = np.random.default_rng(0)
    track = ExpressionTrack(
        np.arange(0, 20, 0.5),
        rng.normal(0, 1, (40, len(ACTION_UNITS))).astype(np.float32),
        np.linspace(0, 1, 40, dtype=np.float32),
    )
    before, after = track.expression_at(time), track.expression_at(time + 1e-3)
    assert np.abs(before - after).max() < 0.05
    assert 0 <= track.presence_at(time) <= 1


def test_the_gain_is_slow_and_bounded() -> None:
    rng = np.random.default_rng(0)
    values = gain(rng.normal(0, 1, 300).astype(np.float32), rng.random(300).astype(np.float32))
    assert 0.2 < values.min() <= values.max() <= 1.3
    assert np.abs(np.diff(values)).max() < 0.15, "a tenth of a second"
    assert values[0] < values[20:-20].min()
    silence = np.full(50, -2.0, np.float32)
    assert np.array_equal(gain(silence, np.zeros(50, np.float32)), np.ones(50))
    place = np.arange(len(values)) * PROSODY_SECONDS
    for time in (-1.0, 0.0, 0.05, 3.21, 29.87, 29.9, 40.0):
        assert GainCurve(values).at(time) == float(np.interp(time, place, values))


def test_only_what_comes_from_voices_follows_prosody(
    film: Path, demo_clip: Path, demo_face: Path, voice: Path
) -> None:
    named, heard = Emotion.parse("sad"), Emotion.parse(like=voice)

    def factors(emotion: Emotion, clip: Path, **more: bool) -> list[float]:
        resolver = MeshResolver(emotion, VoiceAnalysis(clip), **more)
        whole = np.linalg.norm(target(emotion).expression)
        times = np.arange(0, 4, 0.1)
        return [float(np.linalg.norm(resolver.at(t).expression) / whole) for t in times]

    assert np.allclose(factors(named, film), 1)
    assert np.allclose(factors(heard, demo_face), 1)
    assert np.allclose(factors(heard, demo_clip), 1), "no sound"
    assert np.ptp(factors(heard, film)) > 0.1
    assert np.ptp(factors(named, film, scale_all=True)) > 0.1
    assert len(VoiceAnalysis(film, "prosody").prosody.level) == pytest.approx(40, abs=2)


# Decoding


def test_a_clip_is_decoded_once_for_an_edit(
    film: Path, voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = count_decodings(monkeypatch)
    report = edit(film, tmp_path / "out.mp4", "auto", like=voice, neutral=voice)
    assert report.emotion["follows"] == "loudness and pitch of the clip's own voice"
    assert [look["name"] for look in report.emotion["looks"]] == ["like", "auto"]
    assert opened == {film: 1, voice: 1}
    opened.clear()
    edit(film, tmp_path / "sad.mp4", "sad")
    assert not opened


def test_a_speech_is_decoded_once_for_a_portrait(
    demo_face: Path, voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = count_decodings(monkeypatch)
    settings = TalkSettings(side=128)
    for emotion, more in ((None, {}), ("sad", {}), (None, {"like": voice})):
        opened.clear()
        out = tmp_path / "out.mp4"
        talk(demo_face, voice, out, emotion, settings=settings, overwrite=True, **more)
        assert opened == {voice: 1}


def test_a_sure_voice_is_shown_like_the_named_emotion_and_a_doubtful_one_faintly() -> None:
    connector = MeshConnector()
    nothing = np.zeros(len(connector.neutral_voice.embedding) + 3, np.float32)

    def shown(*, speaking: bool = False, **odds: float) -> np.ndarray:
        rest = (1 - sum(odds.values())) / (len(VOICE_EMOTIONS) - len(odds))
        values = np.array([odds.get(name, rest) for name in VOICE_EMOTIONS], np.float32)
        return connector.expression(nothing, values, speaking=speaking)

    for name in ("happy", "sad", "angry", "fear", "disgusted", "contempt", "romantic", "sarcastic"):
        for speaking in (False, True) if name != "disgusted" else (False,):
            face = NAMED[name].expression(speaking=speaking)
            sure = shown(speaking=speaking, **{name: 0.8})
            doubtful = shown(speaking=speaking, **{name: 0.25})
            assert np.allclose(sure, face, atol=0.05), "as strong as the named emotion"
            assert near(doubtful, face) > 0.9
            assert np.linalg.norm(doubtful) < 0.5 * np.linalg.norm(sure)
    surprised = shown(speaking=True, surprised=0.8)
    assert surprised[INDEX["2L"]] > 1.5 * surprised[INDEX["1L"]], "raised inner brows alone are sad"
    disgusted = shown(speaking=True, disgusted=0.8)
    assert disgusted[INDEX["10L"]] > disgusted[INDEX["9L"]], "a wrinkled nose alone is angry"
    happy = shown(happy=0.8)
    rivals = shown(happy=0.5, sad=0.4)
    assert near(rivals, happy) > 0.8, "the likeliest wins over a mixture"
    assert np.linalg.norm(rivals) < 0.4 * np.linalg.norm(happy), "two labels nearly as likely"
    assert np.linalg.norm(shown(neutral=0.8)) < 0.2


def near(face: np.ndarray, to: np.ndarray) -> float:
    return float(face @ to / np.linalg.norm(face) / np.linalg.norm(to))
