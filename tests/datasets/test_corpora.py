"""MEAD in both of its folder forms, CREMA-D and RAVDESS, as trees of tiny files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from mien.datasets.corpora import paper_split, read_corpus
from mien.datasets.edtalk_features import EXPRESSION_SUFFIX, SPEECH_FOLDER, read_features
from mien.datasets.manifest import speech_of
from mien.datasets.mead import EMOTIONS, TEST_PEOPLE, TRAIN_PEOPLE, find_files, sound_beside
from mien.datasets.shards import ShardWriter, whole
from mien.datasets.splits import RAVDESS_TEST_ACTORS, RAVDESS_TRAIN_ACTORS, TEST_SPEAKERS
from mien.datasets.svd_clips import ARRAYS, find_clips
from mien.errors import InputError
from mien.evaluation.pairs import mead_pairs

from ..speech.voices import buzz, write_sound

FORMS = ("front", "video/front")


def touch(root: Path, names: Iterable[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def test_the_people_of_the_papers() -> None:
    assert len(TRAIN_PEOPLE) == 43
    assert TEST_PEOPLE == ("M003", "M030", "W009", "W015")
    assert not set(TRAIN_PEOPLE) & set(TEST_PEOPLE)
    assert len(EMOTIONS) == 8
    assert RAVDESS_TEST_ACTORS == ("17", "18", "19", "20")
    assert not set(RAVDESS_TRAIN_ACTORS) & set(RAVDESS_TEST_ACTORS)
    assert len(TEST_SPEAKERS) == 8


CARDS = Path(str(files("mien"))) / "assets"
KNOWN = {
    "articulator": "phones only, no emotion",
    "published_voices": "no other embeddings of emotion2vec+ are at hand",
}


def test_no_net_that_ships_was_trained_on_people_of_the_test() -> None:
    """Every card of what hears or shows emotion says who was held out and who was trained on."""
    for path in sorted(CARDS.glob("*.md")):
        card = path.read_text(encoding="utf-8")
        said = re.search(r"\*\*People trained on\.\*\*(.*?)(?:\*\*|\n\n|\Z)", card, re.DOTALL)
        if path.stem in ("listener", "connector", "dice", "published_voices"):
            assert said, f"{path.name} does not name the people it was trained on"
        if said and path.stem not in KNOWN:
            assert not named_in(said[1]) & TEST_SPEAKERS, path.name


def named_in(text: str) -> set[str]:
    """Names of manifests for people as cards write them: ``MEAD M003``, ``RAVDESS actors 1-16``."""
    people = {f"mead_{name}" for name in re.findall(r"\b[MW]\d{3}\b", text)}
    for first, last in re.findall(r"RAVDESS actors (\d+)[-–](\d+)", text):
        people |= {f"ravdess{number:02d}" for number in range(int(first), int(last) + 1)}
    return people


def test_names_of_people_are_read_from_cards() -> None:
    assert named_in("MEAD M003, RAVDESS actors 15-18") == {
        "mead_M003", "ravdess15", "ravdess16", "ravdess17", "ravdess18",
    }  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_front_view_is_found_in_both_forms(tmp_path: Path, form: str) -> None:
    video = form.removesuffix("front")
    touch(
        tmp_path,
        [
            f"M026-2/{form}/happy/level_2/007.mp4",
            f"M003/{form}/neutral/level_1/001.MP4",
            f"M003/{video}left_30/happy/level_2/007.mp4",
            f"M003/{form}/happy/level_4/007.mp4",
            f"M003/{form}/amused/level_2/007.mp4",
            f"M003/{form}/happy/level_2/notes.txt",
            "happy/level_2/007.mp4",
        ],
    )
    found = [(f.person, f.speaker, f.emotion, f.level) for f in find_files(tmp_path, (".mp4",))]
    assert found == [("M003", "M003", "neutral", 1), ("M026-2", "M026", "happy", 2)]


@pytest.mark.parametrize("form", FORMS)
def test_the_sound_of_a_film_lies_beside_it(tmp_path: Path, form: str) -> None:
    sound = "M003/audio/happy/level_2/007.m4a"
    touch(tmp_path, [f"M003/{form}/happy/level_2/{n:03d}.mp4" for n in (7, 8)] + [sound])
    films = tmp_path / "M003" / form / "happy" / "level_2"
    assert sound_beside(films / "007.mp4") == tmp_path / sound
    assert sound_beside(films / "008.mp4") is None
    assert sound_beside(tmp_path / sound) is None
    assert sound_beside(Path("007.mp4")) is None


def test_the_speech_of_a_silent_film_is_the_sound_beside_it(
    tmp_path: Path, make_clip: object
) -> None:
    folder = tmp_path / "M003" / "video" / "front" / "happy" / "level_2"
    folder.mkdir(parents=True)
    silent = make_clip().rename(folder / "007.mp4")  # type: ignore[operator]
    assert speech_of(silent) is None
    sound = tmp_path / "M003" / "audio" / "happy" / "level_2" / "007.wav"
    sound.parent.mkdir(parents=True)
    write_sound(sound, buzz(0.2))
    assert speech_of(silent) == sound
    assert speech_of(sound) == sound


@pytest.mark.parametrize("form", FORMS)
def test_mead_is_read_as_speech_once(tmp_path: Path, form: str) -> None:
    touch(
        tmp_path,
        [
            "M003/audio/angry/level_3/001.m4a",
            f"M003/{form}/angry/level_3/001.mp4",
            "W011/audio/neutral/level_1/030.m4a",
            f"M026-2/{form}/happy/level_2/007.mp4",
            "W011/left_30/happy/level_2/007.mp4",
            "X999/audio/angry/level_3/001.m4a",
        ],
    )
    found = {item.speaker: item for item in read_corpus("mead", tmp_path)}
    assert len(read_corpus("mead", tmp_path)) == 3, "a film and the sound beside it count once"
    assert set(found) == {"mead_M003", "mead_W011", "mead_M026"}
    angry, neutral = found["mead_M003"], found["mead_W011"]
    assert angry.path.suffix == ".m4a"
    assert (angry.emotion, angry.intensity, angry.split) == ("angry", 3, "test")
    assert (neutral.emotion, neutral.intensity, neutral.split) == ("neutral", None, "train")
    assert found["mead_M026"].split == "train"
    assert [paper_split(item) for item in (angry, neutral)] == ["test", "train"]


@pytest.mark.parametrize("form", FORMS)
def test_features_and_cached_clips_keep_the_folders(tmp_path: Path, form: str) -> None:
    for emotion, level in (("neutral", 1), ("sad", 3)):
        folder = tmp_path / "M005" / form / emotion / f"level_{level}"
        (folder / SPEECH_FOLDER).mkdir(parents=True)
        np.save(folder / f"002{EXPRESSION_SUFFIX}", np.zeros((3, 10)))
        np.save(folder / SPEECH_FOLDER / "002.npy", np.zeros(16))
    features = read_features(tmp_path, ["M005"])
    expected = [("M005", "neutral", 1), ("M005", "sad", 3)]
    assert [(one.person, one.emotion, one.level) for one in features] == expected
    assert [one.sentence for one in features] == [2, 2]
    with closing(ShardWriter(tmp_path / "cache")) as writer:
        for emotion, level in (("neutral", 1), ("sad", 3)):
            place = Path("M005", form, emotion, f"level_{level}", "002").as_posix()
            writer.add(place, whole({name: np.zeros(1) for name in ARRAYS}))
    clips = find_clips(tmp_path / "cache")
    assert [(one.person, one.emotion, one.level) for one in clips] == expected


@pytest.mark.parametrize("form", FORMS)
def test_pairs_of_mead_use_the_sound_beside_the_films(tmp_path: Path, form: str) -> None:
    names = [f"M003/{form}/happy/level_3/{n:03d}.mp4" for n in (1, 2)]
    names += [f"M003/{form}/neutral/level_1/001.mp4", "M003/audio/happy/level_3/002.m4a"]
    touch(tmp_path, names)
    (pair,) = mead_pairs(tmp_path)
    assert pair.source == tmp_path / names[2]
    assert pair.truth == tmp_path / names[0]
    assert pair.voices == (tmp_path / names[3],)
    assert pair.neutral == (tmp_path / names[2],)


def test_cremad_and_ravdess_are_read(tmp_path: Path) -> None:
    touch(
        tmp_path / "cremad",
        ["AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1002_TAI_HAP_HI.wav", "readme.wav"],
    )
    touch(
        tmp_path / "ravdess",
        [
            "Actor_02/03-01-05-02-01-01-02.wav",
            "Actor_02/02-01-05-02-01-01-02.wav",
            "Actor_24/03-01-01-01-02-01-24.wav",
        ],
    )
    cremad = read_corpus("cremad", tmp_path / "cremad")
    assert [(item.emotion, item.intensity) for item in cremad] == [("angry", None), ("happy", 3)]
    assert [item.split for item in cremad] == ["val", "train"]
    assert [paper_split(item) for item in cremad] == ["train", "test"]
    ravdess = read_corpus("ravdess", tmp_path / "ravdess")
    assert [(item.emotion, item.intensity, item.split) for item in ravdess] == [
        ("angry", 3, "train"),
        ("neutral", None, "val"),
    ]
    with pytest.raises(InputError, match="mead, cremad, ravdess"):
        read_corpus("other", tmp_path)
    with pytest.raises(InputError, match="layout"):
        read_corpus("mead", tmp_path / "ravdess")
    with pytest.raises(InputError, match="no folder"):
        read_corpus("mead", tmp_path / "none")
