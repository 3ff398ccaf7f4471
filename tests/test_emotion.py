from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.emotion.request import EASINGS, NAMES, Emotion, Request, Timeline, build_request
from mien.emotion.resolve_mesh import EmotionTarget, MeshResolver
from mien.emotion.synonyms import suggest
from mien.errors import InputError
from mien.face.facs import ACTION_UNITS, INDEX, RECIPES

BASIC = [name for name in RECIPES if name != "neutral"]


def target(request: Request, time: float = 0.0) -> EmotionTarget:
    return MeshResolver(request).at(time)


def test_every_form_is_read() -> None:
    assert np.allclose(target(Emotion.parse("sad")).expression, RECIPES["sad"].expression())
    assert np.allclose(
        target(Emotion.parse(" Sad : 0.5 ")).expression, RECIPES["sad"].expression() / 2
    )
    mix = target(Emotion.parse("happy:0.7,surprised:0.4")).expression
    expected = 0.7 * RECIPES["happy"].expression() + 0.4 * RECIPES["surprised"].expression()
    assert np.allclose(mix, expected)
    units = target(Emotion.parse(au="12L=0.8,4=0.5,AU45")).expression
    assert units[INDEX["12L"]] == np.float32(0.8)
    assert units[INDEX["12R"]] == 0
    assert units[INDEX["4L"]] == units[INDEX["4R"]] == np.float32(0.5)
    assert units[INDEX["43L"]] == 1
    both = target(Emotion.parse("angry", au="12=0.3", intensity=0.5)).expression
    assert both[INDEX["12L"]] == pytest.approx(0.15)


@pytest.mark.parametrize("name", ["sadd", "joy", "", " , ", "12"])
def test_unknown_emotions_list_the_valid_ones(name: str) -> None:
    with pytest.raises(InputError, match="neutral, happy, sad, angry"):
        Emotion.parse(name)


def test_a_speaking_face_gets_the_strengths_for_speech() -> None:
    for name in ("angry", "happy"):
        shown = MeshResolver(Emotion.parse(name), speaking=True).at(0).expression
        assert np.allclose(shown, RECIPES[name].expression(speaking=True))
    angry = RECIPES["angry"]
    assert not np.allclose(angry.expression(speaking=True), angry.expression())


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(InputError, match="Did you mean surprised"):
        Emotion.parse("suprised")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("afraid", "fear"), ("scared", "fear"), ("anxious", "fear"), ("joy", "happy"),
        ("glad", "happy"), ("calm", "neutral"), ("relaxed", "neutral"), ("excited", "happy"),
        ("skeptical", "doubtful"), ("mad", "angry"), ("furious", "angry"), ("upset", "sad"),
        ("unhappy", "sad"), ("shocked", "surprised"), ("astonished", "surprised"),
        ("grossed out", "disgusted"), ("unhapy", "sad"), ("anoyed", "angry"),
        ("disgustd", "disgusted"), ("content", "neutral"), ("unsurprised", None),
        ("unafraid", None), ("fearless", None),
        ("discontent", None), ("undisgusted", None), ("qwerty", None), ("", None),
    ],
)  # fmt: skip
def test_suggestions_know_synonyms_and_never_name_the_opposite(
    name: str, meant: str | None
) -> None:
    assert suggest(name, NAMES) == meant
    with pytest.raises(InputError) as error:
        Emotion(((name, 1.0),))
    assert (f"Did you mean {meant}?" in str(error.value)) == (meant is not None)


def test_suggestions_are_valid_names() -> None:
    assert suggest("joy", ["sad", "angry"]) is None
    assert suggest("sadd", ["sad", "angry"]) == "sad"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"emotion": 3}, "emotion must be text such as"),
        ({"emotion": np.zeros(3)}, "emotion must be text .* got ndarray"),
        ({"emotion": "sad", "au": 12}, "au must be text"),
        ({"emotion": "sad", "intensity": "high"}, "from 0 to 1.5; got 'high'"),
        ({"emotion": "sad", "intensity": True}, "from 0 to 1.5; got True"),
        ({"like": 3}, "like must be a file or a list of files; got 3"),
        ({"like": [3]}, "like must be a file or a list of files"),
        ({"emotion": "auto", "neutral": 3}, "neutral must be a file or a list of files"),
        ({"timeline": 3}, "timeline must be the path of a file; got 3"),
        ({"timeline": "t.json", "emotion": "sad"}, "--timeline excludes --emotion"),
        ({"timeline": "t.json", "intensity": float("nan")}, "cannot be opened|from 0 to 1.5"),
        ({}, "No emotion was named"),
    ],
)
def test_arguments_of_other_types_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_request(**arguments)  # type: ignore[arg-type]


def test_unknown_units_list_the_valid_ones() -> None:
    with pytest.raises(InputError, match="valid|Valid: 1, 2, 4"):
        Emotion.parse(au="99=1")
    with pytest.raises(InputError):
        Emotion.parse(au="17L=1")


@pytest.mark.parametrize("value", [-0.1, 1.51, math.nan, math.inf, -math.inf])
def test_intensities_out_of_range(value: float) -> None:
    with pytest.raises(InputError, match="from 0 to 1.5"):
        Emotion.parse("sad", intensity=value)
    with pytest.raises(InputError, match="from 0 to 1.5"):
        Emotion.parse(f"sad:{value}")
    with pytest.raises(InputError, match="from 0 to 1.5"):
        Emotion.parse(au=f"12={value}")


def test_words_are_no_numbers() -> None:
    with pytest.raises(InputError, match="'much'"):
        Emotion.parse("sad:much")


@given(st.sampled_from(BASIC), st.floats(0, 1.5), st.floats(0, 1.5))
def test_intensity_is_monotone(name: str, a: float, b: float) -> None:
    low, high = sorted((a, b))
    size = [
        np.linalg.norm(target(Emotion.parse(name, intensity=i)).expression) for i in (low, high)
    ]
    assert size[0] <= size[1]
    assert not target(Emotion.parse(name, intensity=0)).expression.any()
    assert target(Emotion.parse(name, intensity=0)).presence == 0


KEYS = st.lists(
    st.fixed_dictionaries(
        {
            "at": st.floats(0, 10),
            "emotion": st.sampled_from(list(RECIPES)),
            "intensity": st.floats(0, 1.5),
            "fade": st.floats(0.1, 2),
            "easing": st.sampled_from(EASINGS),
        }
    ),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=60)
@given(KEYS)
def test_a_timeline_never_jumps(keys: list[dict[str, object]]) -> None:
    timeline = Timeline.from_data(keys)
    step = 1 / 200
    fastest = 2.0 / min(float(k["fade"]) for k in keys)  # type: ignore[arg-type]
    largest = 2 * 1.5 * max(np.abs(RECIPES[n].expression()).max() for n in BASIC)
    times = np.arange(0, 12.5, step)
    resolver = MeshResolver(timeline)
    values = np.stack([resolver.at(t).expression for t in times])
    assert np.abs(np.diff(values, axis=0)).max() <= fastest * largest * step * len(keys) + 1e-4
    assert not target(timeline, 0).expression.any()
    last = timeline.keys[-1]
    if all(k is last or k.at + k.fade <= 12.4 for k in timeline.keys):
        assert np.allclose(
            target(timeline, 99).expression, target(last.emotion).expression, atol=1e-5
        )


def test_a_timeline_file(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"timeline": [{"at": 1, "emotion": "sad", "fade": 1}]}))
    timeline = Timeline.load(path, intensity=0.5)
    assert not target(timeline, 1.0).expression.any()
    assert np.allclose(target(timeline, 3).expression, RECIPES["sad"].expression() / 2)
    assert target(timeline, 3).presence == 0.5
    assert json.dumps(timeline.describe())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "list of entries"),
        ("sad", "list of entries"),
        ([3], "Entry 1"),
        ([{"emotion": "sad"}], "Entry 1.*at"),
        ([{"at": 0, "emotion": "sad"}, {"at": 1, "emotion": "glad"}], "Entry 2.*glad"),
        ([{"at": -1, "emotion": "sad"}], "Entry 1.*at"),
        ([{"at": True, "emotion": "sad"}], "Entry 1.*at"),
        ([{"at": 0, "emotion": "sad", "easing": "bounce"}], "Entry 1.*easing.*linear"),
        ([{"at": 0, "emotion": "sad", "intensity": 9}], "Entry 1.*intensity.*1.5"),
        ([{"at": 0, "emotion": "sad", "fade": "long"}], "Entry 1.*fade"),
        ([{"at": 0, "emotion": "sad", "speed": 1}], "Entry 1.*speed.*valid"),
        ([{"at": 0, "emotion": 5}], "Entry 1.*emotion"),
    ],
)
def test_timelines_that_are_refused(data: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Timeline.from_data(data)


@pytest.mark.parametrize("text", ["", "{", "[1,", "\x00", "[" * 5000])
def test_what_is_no_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(InputError, match="JSON"):
        Timeline.load(path)
    with pytest.raises(InputError, match="cannot be opened"):
        Timeline.load(tmp_path / "none.json")


def test_recipes_name_their_source() -> None:
    for name, recipe in RECIPES.items():
        assert recipe.source, name
        assert set(np.flatnonzero(recipe.expression())) <= set(range(len(ACTION_UNITS)))


SRT = """1
00:00:00,500 --> 00:00:02,000
<i>[Happy: 0.7]</i> You came! [music]

2
00:00:02,500 --> 01:00:04,000
[sad, surprised:0.3] And you leave? [door slams]

3
01:00:00,250 --> 01:00:04,000
No tag, so it goes on. [auto]
"""


@pytest.mark.parametrize("suffix", [".srt", ".vtt"])
def test_subtitles_with_tags_are_a_timeline(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"film{suffix}"
    text = SRT if suffix == ".srt" else "WEBVTT\n\n" + SRT.replace(",500 -", ".500 -")
    path.write_text(text.replace("\n", "\r\n"), encoding="utf-8-sig")
    timeline = Timeline.load(path, 0.5)
    assert timeline.intensity == 0.5
    assert [(key.at, key.emotion.labels) for key in timeline.keys] == [
        (0.5, (("happy", 0.7),)),
        (2.5, (("sad", 1.0), ("surprised", 0.3))),
        (3600.25, ()),
    ]
    assert timeline.keys[2].emotion.references


def test_text_files_are_timelines(tmp_path: Path) -> None:
    path = tmp_path / "emotions.txt"
    path.write_text("# my film\n0:01.5  happy:0.7\n\n1:00:02 sad # the end\n3.25 angry\n4s fear\n")
    found = [(key.at, key.emotion.labels[0][0]) for key in Timeline.load(path).keys]
    assert found == [(1.5, "happy"), (3.25, "angry"), (4, "fear"), (3602, "sad")]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.srt", "1\n00:00:00,000 --> 00:00:01,000\n[sadd] no\n", r"Line 3: .*\[sad\]\?"),
        ("a.vtt", "00:00.000 --> 00:01.000\n[laughing]\n", r"Did you mean \[happy\]"),
        ("a.srt", "1\n00:00:00,000 --> 00:00:01,000\n[music] la\n", "asks for no emotion"),
        ("a.srt", "[sad] before any cue", "asks for no emotion"),
        ("a.srt", "00:00:00,000 --> 00:00:01,000\n[sad:9]", "Entry 1 .* from 0 to 1.5"),
        ("a.txt", "# nothing\n", "lines such as"),
        ("a.txt", "0:01 happy\nsad 0:02", "Line 2 of .* not a time and an emotion"),
        ("a.txt", "0:01 sadd", "Did you mean sad"),
        ("a.txt", "\xff\xfe", "not UTF-8"),
    ],
)
def test_wrong_subtitles_are_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=words):
        Timeline.load(tmp_path / name)
