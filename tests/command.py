"""The command line, in this process or in one of its own, with a folder of weights of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from mien.cli import app
from mien.weights.store import CACHE_VARIABLE

Done = subprocess.CompletedProcess[str]


def mien(*args: object, cache: Path) -> Done:
    """Run a command in this process, which has imported everything already."""
    out, errors, code = io.StringIO(), io.StringIO(), None
    with (
        mock.patch.object(sys, "argv", ["mien", *map(str, args)]),
        mock.patch.dict(os.environ, {CACHE_VARIABLE: str(cache)}),
        mock.patch.object(app, "prepare_streams", return_value=mock.Mock(failure=None)),
        mock.patch.object(app, "end_on_signals"),
        redirect_stdout(out),
        redirect_stderr(errors),
    ):
        try:
            app.main()
        except SystemExit as end:
            code = end.code
    return Done(args, int(code or 0), out.getvalue(), errors.getvalue())


def mien_process(*args: object, cache: Path) -> Done:
    """Run a command as a user does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mien", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, CACHE_VARIABLE: str(cache)},
    )


def trains_and_resumes(*command: object, cache: Path) -> Done:
    """Train, be refused to train again, and resume a finished run to the same scores."""
    first = mien(*command, cache=cache)
    assert first.returncode == 0, first.stderr
    again = mien(*command, cache=cache)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    resumed = mien(*command, "--resume", cache=cache)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == first.stdout
    return first
