"""Temporary files of runs that were killed, and names at the limits of the file system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mien.errors import InputError
from mien.media.output import check_output, whole_file

_KILLED = """
import os, signal, sys
from pathlib import Path
from mien.media.output import whole_file
with whole_file(Path(sys.argv[1])) as part:
    part.write_text("half")
    print(part.name, flush=True)
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def start(target: Path, how: str) -> tuple[subprocess.Popen[str], str]:
    """Start a run that is in the middle of writing, and return the name of its temporary file."""
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(target), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.mark.skipif(sys.platform == "win32", reason="kills itself with a POSIX signal")
def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    process, name = start(tmp_path / "a.mp4", "kill")
    process.communicate()
    assert (tmp_path / name).read_text() == "half"
    with whole_file(tmp_path / "b.mp4") as part:
        part.write_text("b")
        assert {p.name for p in tmp_path.iterdir()} == {part.name}
    assert {p.name for p in tmp_path.iterdir()} == {"b.mp4"}


def test_files_of_running_processes_stay(tmp_path: Path) -> None:
    process, name = start(tmp_path / "a.mp4", "wait")
    with whole_file(tmp_path / "b.mp4") as mine, whole_file(tmp_path / "c.mp4") as other:
        assert {p.name for p in tmp_path.iterdir()} == {name, mine.name, other.name}
    process.communicate("")
    assert process.returncode == 0
    assert (tmp_path / "a.mp4").read_text() == "half"
    assert {p.name for p in tmp_path.iterdir()} == {"a.mp4", "b.mp4", "c.mp4"}


def test_other_hidden_files_stay(tmp_path: Path) -> None:
    for name in (".mien-settings", ".mien-0123.mp4", ".a.mp4", ".mien-0123456789abcdefg.mp4"):
        (tmp_path / name).write_text("mine")
    before = sorted(tmp_path.iterdir())
    with whole_file(tmp_path / "b.mp4"):
        pass
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "b.mp4"])


def test_a_name_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    for stem in ("x" * 251, "é" * 125):
        target = tmp_path / f"{stem}.mp4"
        check_output(target, inputs=(), overwrite=False, suffixes=(".mp4",))
        with whole_file(target) as part:
            part.write_text("whole")
        assert target.read_text() == "whole"


@pytest.mark.parametrize(
    "name", ["x" * 5000 + ".mp4", "a/" * 3000 + "b.mp4", "a\0b.mp4", "\udcff.mp4"]
)
def test_impossible_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as refused:
        check_output(tmp_path / name, inputs=(), overwrite=False, suffixes=(".mp4",))
    assert len(str(refused.value)) < 500


def test_the_mode_is_that_of_a_new_file(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a.mp4"):
        pass
    (tmp_path / "b.mp4").touch()
    assert (tmp_path / "a.mp4").stat().st_mode == (tmp_path / "b.mp4").stat().st_mode
    assert os.access(tmp_path / "a.mp4", os.R_OK)
