"""Measure `mien batch` against one command that edits the same clips, and two workers against one.

python benchmarks/batch.py [--clips 100] [--seconds 2]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mark import MEDIA, even, reencode
from record import cores, table, write_section

PLAIN = """
import sys, mien
from pathlib import Path
for clip in sorted(Path(sys.argv[1]).iterdir()):
    mien.edit(clip, Path(sys.argv[2]) / clip.name, "happy", overwrite=True)
"""


def cost(command: list[str]) -> tuple[float, float]:
    """Run a command and return its processor time, children included, and wall-clock time."""
    before, started = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after, wall = os.times(), time.perf_counter() - started
    user = after.children_user - before.children_user
    return user + after.children_system - before.children_system, wall


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=2)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        clips, out = Path(folder) / "in", Path(folder) / "out"
        clips.mkdir()
        out.mkdir()
        frames = round(25 * given.seconds)
        source = MEDIA / "videos" / "hdtf_512_25fps.mp4"
        first = reencode(source, Path(folder) / "clip.mp4", even, 12, frames)
        for number in range(given.clips):
            shutil.copy(first, clips / f"{number:03d}.mp4")
        rows = [
            [
                "one process, mien.edit in a loop",
                *cost([sys.executable, "-c", PLAIN, str(clips), str(out)]),
            ]
        ]
        for workers in (1, 2):
            command = [sys.executable, "-m", "mien", "batch", str(clips), "-o", str(out)]
            command += ["-e", "happy", "--overwrite", "--workers", str(workers)]
            command += ["--reports", str(Path(folder) / f"reports{workers}")]
            rows.append([f"mien batch --workers {workers}", *cost(command)])
    plain, one, two = rows
    body = f"""{given.clips} clips of {given.seconds:g} s, 512 x 512, start-up included.

{table(["how", "CPU s", "wall s"], rows)}

Overhead of a batch: {100 * (float(one[1]) / float(plain[1]) - 1):+.1f} % of processor time. Two workers against one: {float(one[2]) / float(two[2]):.2f} times as fast on {cores()} cores, on which {os.getloadavg()[0]:.0f} processes ran at the end.
"""
    write_section("Batch", body)


if __name__ == "__main__":
    main()
