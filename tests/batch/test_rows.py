"""Manifests are read and checked before any work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mien
from mien.batch.rows import arguments, read_rows
from mien.media.encode import EncodingSettings


def manifest(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_and_jsonl_say_the_same(tmp_path: Path) -> None:
    table = manifest(
        tmp_path / "a.csv",
        "input,speech,output,emotion,intensity,like,overwrite,quality,rate\n"
        'a.mp4,,b.mp4,"happy:0.7,sad",0.5,x.wav; y.wav,yes,20,\n'
        "p.png,s.wav,c.mp4,,,,,,50\n",
    )
    lines = [
        {"input": "a.mp4", "output": "b.mp4", "emotion": "happy:0.7,sad", "intensity": 0.5,
         "like": ["x.wav", "y.wav"], "overwrite": True, "quality": 20},
        {"verb": "talk", "input": "p.png", "speech": "s.wav", "output": "c.mp4", "rate": 50},
    ]  # fmt: skip
    listed = manifest(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    rows = read_rows(table, {})
    assert rows == read_rows(listed, {})
    assert [row.verb for row in rows] == ["edit", "talk"]
    edit, talk = map(arguments, rows)
    assert edit == {
        "input": str(tmp_path / "a.mp4"), "output": str(tmp_path / "b.mp4"),
        "emotion": "happy:0.7,sad", "intensity": 0.5, "overwrite": True,
        "like": [str(tmp_path / "x.wav"), str(tmp_path / "y.wav")],
        "encoding": EncodingSettings(quality=20),
    }  # fmt: skip
    assert talk["settings"] == mien.TalkSettings(rate=50)
    assert talk["portrait"] == str(tmp_path / "p.png")


def test_defaults_folders_and_keys(tmp_path: Path) -> None:
    for name in ("b.mkv", "a.heic", "c.txt", ".hidden.mp4"):
        (tmp_path / name).touch()
    rows = read_rows(tmp_path, {"emotion": "sad"}, "out")
    assert [row.output for row in rows] == ["out/a.png", "out/b.mkv"]
    assert rows[0].options["emotion"] == "sad"
    assert len({row.key for row in (*rows, *read_rows(tmp_path, {"emotion": "happy"}, "out"))}) == 4
    assert rows == read_rows(tmp_path, {"emotion": "sad"}, "out")
    named = manifest(tmp_path / "m.csv", "input\nhttps://host/a.mp4\n")
    (row,) = read_rows(named, {}, "memory://out")
    assert (row.options["input"], row.output) == ("https://host/a.mp4", "memory://out/a.mp4")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("input,output\n", "has no rows"),
        ("input,output,emotoin\na,b,c\n", "edit has no option 'emotoin'"),
        ("output\nb\n", "Row 1 has no input"),
        ("input\na.mp4\n", "Row 1 has no output"),
        ("input,output,intensity\na,b,much\n", "intensity must be a number; got 'much'"),
        ("input,output,overwrite\na,b,maybe\n", "overwrite must be true or false"),
        ("input,output\na,x\nb,x\n", "Rows 1 and 2 have the same output"),
        ("input,output\na,b,c\n", "more fields than"),
        ("input,output,verb\na,b,sing\n", "no verb 'sing'"),
        ("input,output,engine\na,b,svd\n", "edit has no engine 'svd'"),
        ('input,output\n"a,b\n', "unexpected end of data"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(mien.InputError, match=words):
        read_rows(manifest(tmp_path / "m.csv", text), {})


def test_broken_manifests(tmp_path: Path) -> None:
    with pytest.raises(mien.InputError, match="line 1: not JSON"):
        read_rows(manifest(tmp_path / "m.jsonl", "{"), {})
    with pytest.raises(mien.InputError, match="expected an object"):
        read_rows(manifest(tmp_path / "m.jsonl", "[1]"), {})
    with pytest.raises(mien.InputError, match="must be a folder"):
        read_rows(manifest(tmp_path / "m.txt", "x"), {})
    with pytest.raises(mien.InputError, match="cannot be read"):
        read_rows(tmp_path / "none.csv", {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(mien.InputError, match="no pictures or videos"):
        read_rows(tmp_path / "empty", {})
