"""Batches: every row once, whatever is killed; reports, addresses, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

import mien
from mien.batch import run as batch
from mien.batch.rows import read_rows
from mien.media.still import read_still
from mien.weights.store import CACHE_VARIABLE

from ..command import mien as command


@pytest.fixture
def pictures(demo_face: Path, tmp_path: Path) -> Path:
    """A folder of six small portraits."""
    folder = tmp_path / "in"
    folder.mkdir()
    small = cv2.resize(read_still(demo_face), (160, 160), interpolation=cv2.INTER_AREA)
    for number in range(6):
        cv2.imwrite(str(folder / f"{number}.png"), small[:, :, ::-1])
    return folder


def start(pictures: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    words = ["batch", str(pictures), "-o", str(out), "-e", "sad", *more]
    return subprocess.Popen([sys.executable, "-m", "mien", *words], stdout=subprocess.DEVNULL)


def reports(folder: Path) -> dict[str, float]:
    """Return the names and times of whole reports; those being written begin with a dot."""
    return {path.name: path.stat().st_mtime for path in folder.glob("[!.]*.json")}


def children(parent: int) -> list[int]:
    """Processes that have imported what workers do."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
            line = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"spawn_main" in line:
            found.append(int(path.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="workers are found in /proc")
def test_one_of_two_workers_is_killed_and_every_row_is_done_once(
    pictures: Path, tmp_path: Path
) -> None:
    out, place = tmp_path / "out", tmp_path / "reports"
    process = start(pictures, out, "--workers", "2", "--reports", str(place))
    until = time.monotonic() + 300
    while not reports(place) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    first = reports(place)
    workers = children(process.pid)
    assert workers
    os.kill(workers[0], signal.SIGKILL)
    assert process.wait(300) == 0
    done = reports(place)
    assert len(done) == 6
    assert {name: done[name] for name in first} == first  # what was done is not done again
    assert sorted(path.name for path in out.iterdir()) == [f"{n}.png" for n in range(6)]
    assert not list(place.glob("*.begun"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_batch_goes_on_where_it_was(pictures: Path, tmp_path: Path) -> None:
    out, place = tmp_path / "out", tmp_path / "reports"
    process = start(pictures, out, "--reports", str(place))
    until = time.monotonic() + 300
    while len(reports(place)) < 2 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    first = reports(place)
    assert 2 <= len(first) < 6
    done = command(
        "batch", pictures, "-o", out, "-e", "sad", "--reports", place, "--json",
        cache=tmp_path / "cache",
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert (said["rows"], said["kept"], said["done"]) == (6, len(first), 6 - len(first))
    after = reports(place)
    assert {name: after[name] for name in first} == first
    assert len(after) == 6


def test_failed_rows_are_reported_and_the_rest_is_done(pictures: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text(
        "input,output,emotion\nin/0.png,a.png,sad\nin/none.png,b.png,sad\nin/1.png,c.png,saad\n"
    )
    done = command("batch", manifest, cache=tmp_path / "cache")
    assert done.returncode == 1
    assert "row 2: There is no file" in done.stderr
    assert "row 3: " in done.stderr
    assert "1 done, 2 failed; reports:" in done.stdout
    said = {
        int(path.name[:6]): json.loads(path.read_text())
        for path in (tmp_path / "m.csv.reports").glob("*.json")
    }
    assert said[1]["report"]["faces"] == 1
    assert said[2]["exit_code"] == 2
    assert "suggest" in said[3]["error"] or "sad" in said[3]["error"]
    cv2.imwrite(str(pictures / "none.png"), cv2.imread(str(pictures / "0.png")))
    again = command("batch", manifest, "--json", cache=tmp_path / "cache")
    assert json.loads(again.stdout)["done"] == 1
    (tmp_path / "a.png").unlink()  # an output that is gone is made again
    third = command("batch", manifest, cache=tmp_path / "cache")
    assert "1/3 done: " in third.stdout
    assert "2/3 done before: " in third.stdout


def test_an_output_of_others_is_not_replaced(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "0.png").write_bytes(b"mine")
    for number in range(1, 6):
        (pictures / f"{number}.png").unlink()
    done = command("batch", pictures, "-o", out, "-e", "sad", cache=tmp_path / "cache")
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert (out / "0.png").read_bytes() == b"mine"
    done = command("batch", pictures, "-o", out, "-e", "sad", "--overwrite", cache=tmp_path / "c")
    assert done.returncode == 0


def test_an_output_without_its_report_is_made_again(pictures: Path, tmp_path: Path) -> None:
    """As a kill between the two leaves it."""
    (row, *_) = read_rows(pictures, {"emotion": "sad"}, str(tmp_path))
    place = tmp_path / "reports"
    place.mkdir()
    Path(row.output).write_bytes(b"half a report is missing")
    (place / f"{row.number:06d}-{row.key}.begun").touch()
    assert batch.run_rows([row], place).done == 1
    assert read_still(row.output).shape == (160, 160, 3)


def test_addresses(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec", reason="the extra remote is not installed")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    memory.pipe("/clips/a.png", (pictures / "0.png").read_bytes())
    manifest = tmp_path / "m.csv"
    manifest.write_text(
        "input,output\nmemory://clips/a.png,memory://edited/deep/a.bmp\nmemory://no.png,x.png\n"
    )
    rows = read_rows(manifest, {"emotion": "happy"})
    summary = batch.run_rows(rows, tmp_path / "reports")
    assert summary.done == 1
    assert "memory://no.png cannot be fetched" in summary.failed[0].error
    made = sorted(memory.find("/edited"))
    assert made[-1] == "/edited/deep/a.c2pa" or made == ["/edited/deep/a.bmp"]
    local = tmp_path / "a.bmp"
    local.write_bytes(memory.cat("/edited/deep/a.bmp"))
    assert mien.verify(local).mark is not None
    assert batch.run_rows(rows[:1], tmp_path / "reports").kept == 1
    for path in (tmp_path / "reports").glob("*.json"):
        path.unlink()
    refused = batch.run_rows(rows[:1], tmp_path / "reports")
    assert "exists already" in refused.failed[0].error


def test_usage(pictures: Path, tmp_path: Path, demo_face: Path) -> None:
    cache = tmp_path / "cache"
    wrong = command("batch", pictures, "-o", tmp_path, "--set", "emotion", cache=cache)
    assert wrong.returncode == 2
    assert "--set takes NAME=VALUE" in wrong.stderr
    folder = command("edit", pictures, "-o", tmp_path / "x.png", "-e", "sad", cache=cache)
    assert folder.returncode == 2
    assert "mien batch" in folder.stderr
