"""What is there of a corpus, and its preparation on one and several processes."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli.app import app
from mien.datasets.films import check_corpus, find_films, look_into, wanted_films
from mien.datasets.manifest import read_manifest
from mien.datasets.prepare import prepare_corpus, read_track
from mien.datasets.splits import hdtf_split
from mien.errors import InputError
from mien.media.audio import read_speech

from ..conftest import MakeClip
from ..speech.voices import buzz, write_sound


def put(film: Path, *places: Path) -> None:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(film, place)


@pytest.mark.parametrize("form", ["front", "video/front"])
def test_mead_in_both_forms_with_sound_inside_beside_or_nowhere(
    tmp_path: Path, make_clip: MakeClip, form: str
) -> None:
    films = tmp_path / "M003" / form
    put(
        make_clip("silent.mp4"),
        films / "neutral" / "level_1" / "001.mp4",
        films / "happy" / "level_3" / "002.mp4",
    )
    put(make_clip("loud.mp4", audio="aac"), films / "happy" / "level_3" / "001.mp4")
    (films / "happy" / "level_3" / "003.mp4").write_bytes(b"no film")
    sound = tmp_path / "M003" / "audio" / "neutral" / "level_1" / "001.wav"
    sound.parent.mkdir(parents=True)
    write_sound(sound, buzz(0.2))
    found = {
        film.place.removeprefix(f"M003/{form}/"): film for film in find_films("mead", tmp_path)
    }
    assert found["neutral/level_1/001"].speech() == sound
    assert found["happy/level_3/001"].speech() == found["happy/level_3/001"].path
    assert look_into(found["happy/level_3/002"]).silent
    report = check_corpus("mead", tmp_path)
    assert (report.films, report.beside, len(report.silent)) == (4, 1, 1)
    assert list(report.unreadable) == [f"M003/{form}/happy/level_3/003"]
    assert report.wanted == {"training of C-MET": 38 * 20 * 22 + 5 * 20 * 22, "test of C-MET": 1232}
    assert len(report.missing["test of C-MET"]) == 1232 - 3
    assert any("1 films have no sound" in line for line in report.warnings())
    result = CliRunner().invoke(app, ["data", "check", "mead", str(tmp_path), "--json"])
    assert json.loads(result.stdout)["emotions"] == {"happy": 3, "neutral": 1}


def test_the_other_corpora(tmp_path: Path, make_clip: MakeClip) -> None:
    silent, loud = make_clip("silent.mp4"), make_clip("loud.mp4", audio="aac")
    crema, ravdess, hdtf = (tmp_path / name for name in ("crema", "ravdess", "hdtf"))
    put(silent, crema / "VideoFlash" / "1001_TAI_ANG_XX.mp4")
    (crema / "AudioWAV").mkdir()
    write_sound(crema / "AudioWAV" / "1001_TAI_ANG_XX.wav", buzz(0.2))
    put(silent, ravdess / "Actor_01" / "02-01-03-02-01-01-01.mp4")
    put(loud, ravdess / "Actor_01" / "01-01-03-02-01-01-01.mp4")
    put(silent, ravdess / "Actor_02" / "02-01-03-02-01-01-02.mp4")
    (ravdess / "sound").mkdir()
    write_sound(ravdess / "sound" / "03-01-03-02-01-01-02.wav", buzz(0.2))
    put(loud, *(hdtf / f"{name}.mp4" for name in ("WRA_DebFischer1_000", "RD_Radio10_000_2")))
    (film,) = find_films("cremad", crema)
    assert film.speech() == film.sound
    assert [film.path.stem[:2] for film in find_films("ravdess", ravdess)] == ["01", "02"]
    assert all(film.speech() for film in find_films("ravdess", ravdess))
    labels = [film.label for film in find_films("hdtf", hdtf)]
    assert [label.speaker for label in labels] == ["hdtf_RD_Radio10", "hdtf_WRA_DebFischer"]
    assert labels[1].split == hdtf_split("WRA_DebFischer")
    assert len(wanted_films("ravdess")["all speech"]) == 24 * 30
    assert len(wanted_films("cremad")["test of C-MET"]) == 91 * 6 * 3
    with pytest.raises(InputError, match="holds no film in the folders of hdtf"):
        find_films("hdtf", crema)
    with pytest.raises(InputError, match="mead, cremad, hdtf, ravdess"):
        find_films("other", crema)


def test_about_every_tenth_person_of_hdtf_is_for_the_test() -> None:
    share = np.mean([hdtf_split(f"WDA_Person{number}") == "test" for number in range(2000)])
    assert 0.08 < share < 0.13


def test_several_workers_prepare_what_one_does_even_if_one_is_killed(
    tmp_path: Path, short_clip: Path, make_clip: MakeClip
) -> None:
    root = tmp_path / "mead"
    films = [f"M005/front/happy/level_{level}/00{level}.mp4" for level in (1, 2, 3)]
    put(short_clip, *(root / film for film in films))
    put(make_clip("faceless.mp4", audio="aac"), root / "M005/front/sad/level_1/001.mp4")
    (root / "M005" / "audio" / "happy" / "level_1").mkdir(parents=True)
    write_sound(root / "M005" / "audio" / "happy" / "level_1" / "001.wav", buzz(1.0))
    alone = prepare_corpus("mead", root, tmp_path / "one")
    assert (alone.films, alone.clips, alone.voices) == (4, 1, 2)
    assert len(alone.silent) == 2
    assert alone.faceless == ("M005/front/sad/level_1/001",)

    killed = []

    def kill_once(done: int, total: int | None) -> None:
        for child in multiprocessing.active_children()[: 0 if killed else 1]:
            os.kill(child.pid or 0, signal.SIGKILL)
            killed.append(child.pid)

    both = prepare_corpus("mead", root, tmp_path / "two", workers=2, progress=kill_once)
    assert killed
    assert both == alone
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    track = read_track(tmp_path / "one" / "tracks" / "M005/front/happy/level_1/001.npz")
    assert track.landmarks.shape == (25, 478, 3)
    assert (track.tracked, track.rate) == (1.0, pytest.approx(25))
    assert (
        len(read_speech(tmp_path / "one" / "audio" / "M005/front/happy/level_1/001.ogg")) > 15_900
    )
    (voice, _) = read_manifest(tmp_path / "one" / "voices.csv")
    assert (voice.speaker, voice.emotion, voice.intensity) == ("mead_M005", "happy", 1)
    assert voice.path.is_file()
    with (tmp_path / "one" / "clips.csv").open() as file:
        assert [row["clip"] for row in csv.DictReader(file)] == ["M005/front/happy/level_1/001"]


def test_an_interrupted_preparation_continues(
    tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(audio="aac")
    put(clip, *(tmp_path / "hdtf" / f"RD_Radio{number}_000.mp4" for number in (1, 2)))
    out = tmp_path / "out"

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_corpus("hdtf", tmp_path / "hdtf", out, progress=stop)
    first = out / "tracks" / "RD_Radio1_000.npz"
    stamp = first.stat().st_mtime_ns
    assert prepare_corpus("hdtf", tmp_path / "hdtf", out).films == 2
    assert first.stat().st_mtime_ns == stamp, "finished films are kept"
    with pytest.raises(InputError, match="outside the corpus"):
        prepare_corpus("hdtf", tmp_path / "hdtf", tmp_path / "hdtf" / "out")
    result = CliRunner().invoke(
        app, ["data", "prepare", "hdtf", str(tmp_path / "hdtf"), "-o", str(out)]
    )
    assert "2 films; 0 talking clips" in result.stdout
    assert "2 films show no face" in result.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
