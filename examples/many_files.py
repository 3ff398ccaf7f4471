"""Edit everything in a folder on several processes; run it again to go on after an interruption.

python examples/many_files.py FOLDER OUT happy:0.7 4
"""

from __future__ import annotations

import sys
from pathlib import Path

from mien.batch.rows import read_rows
from mien.batch.run import RowResult, run_rows


def show(result: RowResult) -> None:
    """Print how a file went."""
    print(f"{result.number}: {result.error or result.output}")


def main(folder: str, output: str, emotion: str, workers: str = "1") -> None:
    """Edit every picture and video of a folder."""
    Path(output).mkdir(exist_ok=True)
    rows = read_rows(Path(folder), {"emotion": emotion}, output)
    done = run_rows(rows, Path(output) / "reports", workers=int(workers), show=show)
    print(f"{done.done} done, {len(done.failed)} failed, {done.kept} done before")


if __name__ == "__main__":
    main(*sys.argv[1:])
