"""What is made and compared in each protocol, from trees of tiny files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.datasets.splits import hdtf_split
from mien.errors import InputError
from mien.evaluation.pairs import (
    PROTOCOLS,
    Pair,
    crema_pairs,
    dicetalk_hdtf_pairs,
    dicetalk_mead_pairs,
    mead_pairs,
    protocol,
    read_pairs,
    spread,
    with_sound,
    write_pairs,
)

from ..conftest import MakeClip
from ..speech.voices import buzz, write_sound


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_cmet_on_mead(tmp_path: Path) -> None:
    front = tmp_path / "M003" / "front"
    for number in (1, 2, 30, 31):
        touch(front / "neutral" / "level_1" / f"{number:03d}.mp4")
    for number in (1, 5, 20, 21, 22):
        touch(front / "happy" / "level_3" / f"{number:03d}.mp4")
    pairs = mead_pairs(tmp_path)
    found = {(p.truth.stem, p.source.stem) for p in pairs}
    assert found == {("001", "001"), ("020", "030"), ("021", "031")}
    assert all(p.truth not in p.voices and p.emotion == "happy" for p in pairs)
    assert {p.name for p in pairs} >= {"M003_happy_level_3_001"}
    assert all(p.aligned == p.source for p in pairs)
    table = tmp_path / "pairs.csv"
    write_pairs(table, pairs)
    assert read_pairs(table) == pairs
    pairs[0].truth.unlink()
    with pytest.raises(InputError, match="names missing files"):
        read_pairs(table)
    with pytest.raises(InputError, match="no pair"):
        mead_pairs(tmp_path / "none")


def test_cmet_on_cremad(tmp_path: Path) -> None:
    for name in ("1001_TAI_NEU_XX", "1001_TAI_ANG_XX", "1001_DFA_ANG_XX", "1001_IEO_HAP_LO",
                 "1002_IWL_SAD_XX"):  # fmt: skip
        touch(tmp_path / "VideoFlash" / f"{name}.flv")
    sound = touch(tmp_path / "AudioWAV" / "1001_DFA_ANG_XX.wav")
    (pair,) = crema_pairs(tmp_path)
    assert (pair.source.stem, pair.truth.stem) == ("1001_TAI_NEU_XX", "1001_TAI_ANG_XX")
    assert pair.voices == (sound,)
    with pytest.raises(InputError, match="no pair of ACTOR_SENTENCE"):
        touch(tmp_path / "few" / "1001_TAI_ANG_XX.flv")
        crema_pairs(tmp_path / "few")


def test_dicetalk_on_mead(tmp_path: Path) -> None:
    front = tmp_path / "W009" / "video" / "front"
    for film in ("neutral/level_1/001", "neutral/level_1/002", "sad/level_2/020", "sad/level_2/9"):
        touch(front / f"{film}.mp4")
    sound = touch(tmp_path / "W009" / "audio" / "sad" / "level_2" / "020.m4a")
    pairs = {pair.name: pair for pair in dicetalk_mead_pairs(tmp_path)}
    assert set(pairs) == {
        "W009_neutral_level_1_001", "W009_neutral_level_1_002", "W009_sad_level_2_020",
    }  # fmt: skip
    sad = pairs["W009_sad_level_2_020"]
    assert (sad.emotion, sad.speech) == ("sad", sound)
    assert sad.source == front / "neutral" / "level_1" / "001.mp4"
    assert sad.aligned == sad.truth == front / "sad" / "level_2" / "020.mp4"
    with pytest.raises(InputError, match="no neutral film"):
        dicetalk_mead_pairs(tmp_path / "none")


def test_dicetalk_on_hdtf(tmp_path: Path) -> None:
    people = [f"WDA_PersonA{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    for person in people:
        touch(tmp_path / f"{person}_000.mp4")
    pairs = dicetalk_hdtf_pairs(tmp_path)
    wanted = [person for person in people if hdtf_split(person) == "test"]
    assert [pair.name for pair in pairs] == [f"{person}_000" for person in wanted]
    assert 1 <= len(wanted) < len(people)
    assert {(pair.emotion, pair.seconds) for pair in pairs} == {("", 10.0)}
    table = tmp_path / "pairs.csv"
    write_pairs(table, pairs)
    assert read_pairs(table) == pairs
    touch(tmp_path / "few" / f"{people[0]}_000.mp4")
    with pytest.raises(InputError, match="for the test by the rule"):
        dicetalk_hdtf_pairs(tmp_path / "few")


def test_silent_recordings_are_left_out(tmp_path: Path, make_clip: MakeClip) -> None:
    silent, loud = make_clip("silent.mp4"), make_clip("loud.mp4", audio="aac")
    voice = tmp_path / "voice.wav"
    write_sound(voice, buzz(0.2))
    edit = Pair("edit", silent, "sad", silent, (silent, voice), (silent,))
    mute = Pair("mute", silent, "sad", silent, (silent,))
    talk = Pair("talk", silent, "sad", silent, speech=loud)
    kept, missing = with_sound([edit, mute, talk])
    assert [pair.name for pair in kept] == ["edit", "talk"]
    assert (kept[0].voices, kept[0].neutral) == ((voice,), ())
    assert missing == [silent]
    assert kept[0].sound is None
    with pytest.raises(InputError, match="None of the 1 recordings .* beside its films"):
        with_sound([mute])


def test_limits_and_names() -> None:
    pairs = [Pair(str(i), Path(), "", Path()) for i in range(10)]
    assert [pair.name for pair in spread(pairs, 4)] == ["0", "2", "5", "7"]
    assert spread(pairs, None) == spread(pairs, 20) == pairs
    with pytest.raises(InputError, match="1 or more; got 0"):
        spread(pairs, 0)
    with pytest.raises(InputError, match="cmet-mead, cmet-cremad, dicetalk-mead, dicetalk-hdtf"):
        protocol("mead")
    assert [name for name, one in PROTOCOLS.items() if one.talks] == [
        "dicetalk-mead",
        "dicetalk-hdtf",
    ]
