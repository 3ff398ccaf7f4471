"""The command line as a user meets it, with a folder of weights of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mien.weights.store import CACHE_VARIABLE


def mien(*args: object, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mien", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, CACHE_VARIABLE: str(cache)},
    )
