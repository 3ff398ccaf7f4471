"""The command line as a user meets it; in a process of its own where the process matters."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from .command import mien as in_process

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def mien(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return partial(in_process, cache=tmp_path_factory.mktemp("cache"))


def process(*args: object, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mien", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **more)  # type: ignore[call-overload]


def refused(result: subprocess.CompletedProcess[str], code: int, word: str) -> None:
    assert result.returncode == code, result.stderr
    assert word in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) <= 2


def test_edit_prints_one_json_object(demo_face: Path, tmp_path: Path) -> None:
    result = process("edit", demo_face, "-o", tmp_path / "a.png", "--emotion", "sad:0.6", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert set(report) >= {
        "output", "frames", "seconds", "rate", "faces", "spans_without_face", "emotion", "engine",
        "weights", "frames_per_second",
    }  # fmt: skip
    assert result.stderr == ""
    assert Path(report["output"]).exists()


def test_edit_says_what_it_did(mien: Command, short_clip: Path, tmp_path: Path) -> None:
    result = mien("edit", short_clip, "-o", tmp_path / "a.mp4", "--au", "12L=0.8,4=0.5")
    assert result.returncode == 0, result.stderr
    assert "1 face, 25 frames" in result.stdout


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--emotion", "sadd"], "Valid: neutral, happy"),
        (["--emotion", "sad", "--intensity", "-1"], "from 0 to 1.5"),
        (["--emotion", "sad", "--intensity", "nan"], "from 0 to 1.5"),
        (["--emotion", "sad", "--face", "nobody"], "largest, all"),
        (["--emotion", "sad", "--engine", "magic"], "mesh"),
        (["--au", "99=1"], "action unit"),
        (["--timeline", "none.json"], "cannot be opened"),
        ([], "No emotion"),
    ],
)
def test_bad_requests(
    mien: Command, demo_face: Path, tmp_path: Path, options: list[str], word: str
) -> None:
    refused(mien("edit", demo_face, "-o", tmp_path / "a.png", *options), 2, word)
    assert not list(tmp_path.iterdir())


def test_bad_usage(mien: Command, tmp_path: Path) -> None:
    for args in (["edit"], ["edit", "x", "--nothing"], ["nothing"]):
        result = mien(*args)
        assert result.returncode == 2
        assert "Traceback" not in result.stderr


def test_bad_inputs(mien: Command, demo_clip: Path, tmp_path: Path) -> None:
    whole = demo_clip.read_bytes()
    contents = {
        "empty.mp4": b"",
        "text.mp4": b"this is no video\n" * 50,
        "cut.mp4": whole[: len(whole) // 3][:2000],
        "text.png": b"no picture",
        "head.png": b"\x89PNG\r\n\x1a\n" + b"x" * 40,
    }
    work = tmp_path / "work"
    work.mkdir()
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        target = work / f"out{path.suffix if name != 'text.png' else '.mp4'}"
        refused(mien("edit", path, "-o", target, "--emotion", "sad"), 2, name)
        assert path.read_bytes() == content
    refused(
        mien("edit", tmp_path / "none.mp4", "-o", work / "o.mp4", "--emotion", "sad"), 2, "no file"
    )
    refused(mien("edit", work, "-o", work / "o.mp4", "--emotion", "sad"), 2, "folder")
    assert not list(work.iterdir())


def test_no_face_is_exit_code_three(
    mien: Command, make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    clip = make_clip("in.mp4", size=(160, 120))
    refused(mien("edit", clip, "-o", tmp_path / "o.mp4", "--emotion", "sad"), 3, "No usable face")
    cv2.imwrite(str(tmp_path / "in.png"), np.full((200, 200, 3), 120, np.uint8))
    refused(
        mien("edit", tmp_path / "in.png", "-o", tmp_path / "o.png", "--emotion", "sad"), 3, "face"
    )
    assert {p.name for p in tmp_path.iterdir()} == {"in.mp4", "in.png"}


def test_bad_outputs(mien: Command, demo_face: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jpg"
    source.write_bytes(demo_face.read_bytes())
    (tmp_path / "link.jpg").symlink_to(source)
    (tmp_path / "old.jpg").write_bytes(b"old")
    for target, word in (
        (source, "is the input"),
        (tmp_path / "link.jpg", "is the input"),
        (tmp_path / "none" / "o.jpg", "does not exist"),
        (tmp_path / "old.jpg", "--overwrite"),
        (tmp_path / "o.mp4", "must end in"),
    ):
        refused(mien("edit", source, "-o", target, "--emotion", "sad"), 2, word)
    refused(
        process(
            "edit", "in.jpg", "-o", "./in.jpg", "--emotion", "sad", "--overwrite", cwd=tmp_path
        ),
        2,
        "is the input",
    )
    assert source.read_bytes() == demo_face.read_bytes()
    assert (tmp_path / "old.jpg").read_bytes() == b"old"
    assert (
        mien(
            "edit", source, "-o", tmp_path / "old.jpg", "--emotion", "sad", "--overwrite"
        ).returncode
        == 0
    )


def test_a_full_disk(short_clip: Path, tmp_path: Path) -> None:
    def little_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    target = tmp_path / "o.mp4"
    result = process("edit", short_clip, "-o", target, "--emotion", "sad", preexec_fn=little_room)
    refused(result, 1, str(target))
    assert not list(tmp_path.iterdir())


def test_huge_and_tiny_pictures(mien: Command, demo_face: Path, tmp_path: Path) -> None:
    face = cv2.imread(str(demo_face))
    huge = np.full((4320, 7680, 3), 180, np.uint8)
    huge[1000:3048, 2000:4048] = cv2.resize(face, (2048, 2048))
    cv2.imwrite(str(tmp_path / "huge.jpg"), huge)
    result = mien("edit", tmp_path / "huge.jpg", "-o", tmp_path / "o.jpg", "--emotion", "happy")
    assert result.returncode == 0, result.stderr
    cv2.imwrite(str(tmp_path / "tiny.png"), face[:3, :3])
    refused(
        mien("edit", tmp_path / "tiny.png", "-o", tmp_path / "t.png", "--emotion", "sad"), 3, "face"
    )


def test_emotions_lists_all(mien: Command) -> None:
    from mien.emotion.request import NAMES

    result = mien("emotions", "--json")
    assert set(json.loads(result.stdout)) == set(NAMES)
    table = mien("emotions").stdout
    assert all(name in table for name in NAMES)


def test_doctor_finds_no_problem(mien: Command) -> None:
    result = mien("doctor")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "engine mesh: works" in result.stdout
    assert json.loads(mien("doctor", "--json").stdout)["problems"] == []


@pytest.mark.slow
def test_demo(mien: Command, tmp_path: Path) -> None:
    result = mien("demo", "-o", tmp_path / "demo")
    assert result.returncode == 0, result.stderr
    made = {p.name for p in (tmp_path / "demo").iterdir()}
    assert made == {
        "index.html",
        "faces",
        "emotions.png",
        "clip.mp4",
        "clip-emotions.mp4",
        "talk.mp4",
    }
    page = (tmp_path / "demo" / "index.html").read_text()
    assert "http" not in page  # it opens without a network
    assert len(list((tmp_path / "demo" / "faces").iterdir())) == 6 * 8
    refused(mien("demo", "-o", tmp_path / "demo"), 2, "--overwrite")


def test_version_and_module() -> None:
    from mien import __version__

    assert process("--version").stdout.strip() == f"mien {__version__}"


def test_help_shows_the_extra_literally(mien: Command) -> None:
    assert "mien[train]" in mien("--help").stdout
    assert "mien[train]" in mien("train", "--help").stdout
