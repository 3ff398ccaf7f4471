"""Measure the time of ``import mien`` and ``mien --help``.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from time import perf_counter

from record import table, write_section


def seconds(*args: str) -> float:
    """Return the median time of 9 runs of a Python process."""
    times = []
    for _ in range(9):
        start = perf_counter()
        subprocess.run([sys.executable, *args], check=True, capture_output=True)
        times.append(perf_counter() - start)
    return median(times)


def main() -> None:
    """Run the benchmark."""
    bare = seconds("-c", "pass")
    rows = [
        [
            "`import mien`, without Python's own start",
            f"{seconds('-c', 'import mien') - bare:.3f} s",
        ],
        ["`mien --help`, whole process", f"{seconds('-m', 'mien', '--help'):.3f} s"],
    ]
    write_section("Start-up", table(["what", "median of 9"], rows))


if __name__ == "__main__":
    main()
