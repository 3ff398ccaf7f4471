"""How runs end: signals, streams that are closed, failures in a long-lived process."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import mien
from mien.cli.process import EndedError, end_on_signals
from mien.media.still import read_still

from .conftest import DEMO, MakeClip

posix = pytest.mark.skipif(os.name != "posix", reason="shells and signals of POSIX")


def obey_signals() -> None:
    """Undo what ``nohup`` and shells do for programs in the background, these tests included."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@posix
def test_signals_end_a_run_cleanly(make_clip: MakeClip, demo_face: Path, tmp_path: Path) -> None:
    face, count = read_still(demo_face), 300
    stamps = range(0, 512 * count, 512)
    clip = make_clip("in.mp4", size=(512, 512), images=[face] * count, stamps=stamps)
    work = tmp_path / "work"
    work.mkdir()
    command = [sys.executable, "-m", "mien", "edit", str(clip), "-o", str(work / "o.mp4"),
               "--emotion", "sad"]  # fmt: skip
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=obey_signals,
        ) as process:
            deadline = time.monotonic() + 60
            while not list(work.iterdir()) and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(number)
            if number != signal.SIGINT:
                process.send_signal(number)  # it may come twice
            output, errors = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert errors == "Interrupted.\n"
        assert output == ""
        assert not list(work.iterdir())


def test_a_signal_is_not_lost_while_a_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg calls Python to move in a file, and drops what is raised there."""
    monkeypatch.setattr("mien.cli.process._SIGNALS", [signal.SIGTERM])
    there = {"__name__": "mien.media.container", "signal": signal}
    exec("def seek():\n    signal.raise_signal(signal.SIGTERM)", there)  # noqa: S102
    former = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        end_on_signals()
        there["seek"]()  # type: ignore[operator]
        with pytest.raises(EndedError) as caught:
            time.sleep(5)
        assert caught.value.exit_code == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, former)


def shell(command: str, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", f"{sys.executable} -m mien {command}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, **variables},
    )


@posix
@pytest.mark.parametrize("streams", [">&-", "2>&-", "| true", "2>&1 | true", "2>/dev/full"])
def test_streams_that_nobody_reads(tmp_path: Path, streams: str) -> None:
    result = shell(f"emotions --json {streams}", tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    if streams.startswith("2>&-") or streams == "2>/dev/full":
        assert "sad" in json.loads(result.stdout)
    else:
        assert result.stdout == ""


@posix
def test_an_edit_that_nobody_watches(tmp_path: Path) -> None:
    result = shell(f"edit {DEMO / 'woman.jpg'} -o a.png -e sad --json >&- 2>&- <&-", tmp_path)
    assert result.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert read_still(tmp_path / "a.png").shape == read_still(DEMO / "woman.jpg").shape


@posix
def test_errors_that_nobody_reads(tmp_path: Path) -> None:
    for streams in ("2>&-", "2>&1 >&- | true"):
        result = shell(f"edit none.mp4 -o a.mp4 -e sad {streams}", tmp_path)
        assert result.returncode == 2
        assert not list(tmp_path.iterdir())


@posix
def test_a_report_that_cannot_be_printed(tmp_path: Path) -> None:
    result = shell("emotions --json > /dev/full", tmp_path)
    assert result.returncode == 1
    assert result.stderr == "mien: not everything could be printed (No space left on device).\n"


@posix
@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_terminals_without_unicode(tmp_path: Path, variables: dict[str, str]) -> None:
    speech = tmp_path / "voice\N{SNOWMAN}.ogg"
    speech.write_bytes((DEMO / "speech.ogg").read_bytes())
    result = shell(f"feel '{speech}'", tmp_path, **variables)
    assert result.returncode == 0, result.stderr
    assert "###" in result.stdout
    assert result.stdout.isascii()
    help_text = shell("edit --help", tmp_path, **variables)
    assert help_text.returncode == 0
    assert "--max-pixels" in help_text.stdout


def threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def held() -> tuple[int, int]:
    """How many threads and open files this process has."""
    return threads(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads in /proc")
def test_failures_free_their_threads_and_files(
    make_clip: MakeClip, short_clip: Path, tmp_path: Path
) -> None:
    def fails_on_the_way(done: int, _: int | None) -> None:
        if done > 2:
            raise ZeroDivisionError

    nobody, target = make_clip(size=(96, 64)), tmp_path / "o.mp4"

    def fail() -> None:
        with pytest.raises(mien.FaceNotFoundError):
            mien.edit(nobody, target, "sad")
        with pytest.raises(mien.CancelledError):
            mien.edit(short_clip, target, "sad", cancel=lambda: True)
        with pytest.raises(ZeroDivisionError):
            mien.edit(short_clip, target, "sad", progress=fails_on_the_way)

    fail()
    gc.collect()
    before = held()
    gc.disable()  # nothing may wait for the collector of cycles
    try:
        for _ in range(2):
            fail()
    finally:
        gc.enable()
    end = time.monotonic() + 5  # a joined thread may stay listed for a moment
    while held() > before and time.monotonic() < end:
        time.sleep(0.05)
    assert held() <= before
    assert not [path for path in tmp_path.iterdir() if path != nobody]


def test_a_failed_live_edit_can_go_on() -> None:
    with mien.Editor("sad") as editor:
        with pytest.raises(mien.InputError):
            editor(np.zeros((4, 4), np.uint8))
        for shape in ((1, 300, 3), (300, 1, 3), (2, 2, 3)):
            picture = np.zeros(shape, np.uint8)
            assert np.array_equal(editor(picture), picture)
