"""What the command line offers besides the work: defaults, loudness, completion, advice."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.cli.complete import emotions
from mien.cli.examples import EXAMPLES
from mien.media.still import read_still

from .command import mien as in_process
from .conftest import DEMO

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small picture of a face."""
    path = tmp_path_factory.mktemp("faces") / "face.png"
    cv2.imwrite(str(path), cv2.resize(cv2.imread(str(DEMO / "woman.jpg")), (160, 160)))
    return path


@pytest.fixture
def mien(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return partial(in_process, cache=tmp_path_factory.mktemp("cache"))


def test_quiet_and_verbose(mien: Command, face: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    quiet = mien("edit", face, "-o", out, "-e", "sad", "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert out.exists()
    refused = mien("edit", face, "-o", out, "-e", "sad", "-q")
    assert "exists already" in refused.stderr
    verbose = mien("edit", face, "-o", out, "-e", "sad", "-y", "-v")
    for word in ("1 face", "engine: mesh", "mark in faces", "tracker_face.onnx"):
        assert word in verbose.stdout
    both = mien("edit", face, "-o", out, "-e", "sad", "-y", "-q", "-v")
    assert both.returncode == 2
    assert "exclude each other" in both.stderr


def test_a_folder_is_for_batch(mien: Command, face: Path, tmp_path: Path) -> None:
    done = mien("edit", face.parent, "-o", tmp_path / "a.png", "-e", "sad")
    assert done.returncode == 2
    assert f"mien batch {face.parent} -o OUT" in done.stderr
    reports = ["--reports", tmp_path / "reports"]
    done = mien("batch", face.parent, "-o", tmp_path, "-e", "sad", "-q", *reports)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "face.png").is_file()


def test_an_input_given_as_to_ffmpeg_is_explained(mien: Command) -> None:
    done = mien("edit", "-i", "a.mp4", "-o", "b.mp4")
    assert done.returncode == 2
    assert "the intensity is -I" in done.stderr


def test_defaults_come_from_a_file(mien: Command, face: Path, tmp_path: Path) -> None:
    (tmp_path / "smile.png").write_bytes(face.read_bytes())
    config = tmp_path / "mien.toml"
    config.write_text(
        "[edit]\nintensity = 0.5\noverwrite = true\nmax-pixels = 300_000\nface = 1\n"
        '[talk]\nseed = 3\n[train.listener]\nset = ["seed=1"]\n[emotions]\non = "smile.png"\n'
    )
    out = tmp_path / "a.png"
    out.write_bytes(b"before")
    done = mien("--config", config, "edit", face, "-o", out, "-e", "sad", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["emotion"]["intensity"] == 0.5
    own = mien("--config", config, "edit", face, "-o", out, "-e", "sad", "--json", "-I", 0.7)
    assert json.loads(own.stdout)["emotion"]["intensity"] == 0.7
    small = mien("--config", config, "edit", face, "-o", out, "-e", "sad", "--max-pixels", 99)
    assert "99" in small.stderr
    by_variable = pytest.MonkeyPatch()
    with by_variable.context() as patch:
        patch.setenv("MIEN_CONFIG", str(config))
        sheet = mien("emotions", "--sheet", tmp_path / "sheet.png")
        assert sheet.returncode == 0, sheet.stderr
        patch.setenv("MIEN_CONFIG", str(tmp_path / "none.toml"))
        missing = mien("emotions")
        assert missing.returncode == 2
        assert "cannot be read" in missing.stderr
    assert read_still(tmp_path / "sheet.png").shape == (3 * 354, 7 * 320, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[edit]\nintensty = 1", "option intensty of mien edit. Did you mean intensity"),
        ("[edt]\n", "command edt. Did you mean edit"),
        ("edit = 3", r"\[edit\]"),
        ("overwrite = true", "command overwrite"),
        ("[edit]\noverwrite = 1", "must be true or false; got 1"),
        ("[edit]\nintensity = [1]", "must be text or a number"),
        ("[edit]\nintensity = 'high'", "--intensity.*valid"),
        ("[train.listner]\n", "Did you mean listener"),
        ("[edit", "not valid TOML"),
    ],
)
def test_wrong_defaults_are_refused(
    mien: Command, face: Path, tmp_path: Path, text: str, words: str
) -> None:
    config = tmp_path / "mien.toml"
    config.write_text(text)
    done = mien("--config", config, "edit", face, "-o", tmp_path / "a.png", "-e", "sad")
    assert done.returncode == 2, done.stderr
    assert re.search(words, " ".join(done.stderr.split()))
    assert not (tmp_path / "a.png").exists()


def test_the_shell_completes_commands_and_emotions() -> None:
    def completed(words: str) -> str:
        shell = {
            **os.environ, "_MIEN_COMPLETE": "complete_bash", "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }  # fmt: skip
        program = "import sys; sys.argv = ['mien']; from mien.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program], env=shell, capture_output=True, text=True, check=False
        )
        return done.stdout

    assert completed("mien em").split() == ["emotions"]
    assert completed("mien edit a.mp4 -e su").split() == ["surprised"]
    assert list(emotions("happy:0.7,sa")) == ["happy:0.7,sad", "happy:0.7,sarcastic"]


def test_doctor_says_what_each_engine_lacks(mien: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    gone = ("torch", "diffusers", "fastapi")

    def found(name: str, *more: str) -> object:
        return None if name in gone else there(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", found)
    done = mien("doctor")
    assert done.returncode == 0, done.stderr
    lines = {line.partition(":")[0]: line for line in done.stdout.splitlines()}
    assert "works" in lines["engine mesh"]
    assert "pip install 'mien[edtalk]'" in lines["engine edtalk"]
    assert "mien weights fetch edtalk" in lines["engine edtalk"]
    assert "torch, diffusers" in lines["engine svd"]
    assert "needs fastapi" in lines["extra studio (the studio in a browser)"]
    assert "CPU build first" in done.stdout
    whole = json.loads(mien("doctor", "--json").stdout)
    assert whole["engines"]["mesh"].startswith("works")
    assert "CPU build" in whole["advice"]


def test_a_sheet_shows_every_emotion(mien: Command, face: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    assert mien("emotions", "--sheet", out, "--on", face).returncode == 0
    image = read_still(out).astype(int)
    tiles = [image[y : y + 320, x : x + 320] for y in (0, 354, 708) for x in range(0, 2240, 320)]
    changes = [np.abs(tile - tiles[0]).mean() for tile in tiles[1:]]
    assert len(tiles) == 21
    assert min(changes) > 0.3
    for wrong in (["--on", face], ["--sheet", out], ["--sheet", out, "-y", "--json"]):
        assert mien("emotions", *wrong).returncode == 2


def test_help_ends_with_examples_that_parse(
    mien: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command, lines in EXAMPLES.items():
        shown = " ".join(mien(command, "--help").stdout.split())
        assert lines[0] in shown
        for line in lines:
            words = line.split()[1:]
            done = mien(*words)  # the files are not there, but nothing is wrong with the line
            assert "No such option" not in done.stderr, line
            assert "Usage" not in done.stderr, line
