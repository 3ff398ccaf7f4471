"""Measure the peak memory of editing a long clip.

python benchmarks/memory.py [--minutes 10]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from clips import loop
from record import MEDIA, table, write_section


def peak(clip: Path, out: Path) -> float:
    """Return the peak resident memory of one edit in MB."""
    command = [sys.executable, "-m", "mien", "edit", str(clip), "-o", str(out), "-e", "sad"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("the edit failed")
    return usage.ru_maxrss / 1024


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in (args.minutes / 20, args.minutes):
            clip = loop(
                MEDIA / "videos" / "hdtf_512_25fps.mp4", Path(folder) / "in.mp4", minutes * 60
            )
            out = Path(folder) / "out.mp4"
            rows.append([f"{minutes:g} minutes", f"{peak(clip, out):.0f} MB"])
            out.unlink()
    write_section("Memory", "512 x 512, peak resident.\n\n" + table(["clip", "peak"], rows))


if __name__ == "__main__":
    main()
