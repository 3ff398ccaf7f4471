"""Tasks on several processes: same results, also when a worker is killed."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from mien.errors import FaceNotFoundError, InputError, MissingExtraError
from mien.utils.workers import run_tasks, worker_number


def square(folder: Path, task: int) -> int:
    """Square a number; 3 has no answer, and the first to try 2 is killed, as is everyone at 5."""
    if task == 3:
        raise FaceNotFoundError("no answer")
    first = folder / "2.tried"
    if task == 5 or (task == 2 and not first.exists()):
        first.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task * task


def own_number(folder: Path, task: int) -> int:
    """Return the worker's number once both workers are at work."""
    (folder / f"{task}.here").touch()
    end = time.monotonic() + 60
    while len(list(folder.glob("*.here"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    return worker_number()


def results(folder: Path, tasks: list[int], **how: object) -> dict[int, object]:
    found = list(run_tasks(partial(square, folder), tasks, **how))  # type: ignore[arg-type]
    assert len(found) == len({outcome.task for outcome in found})
    return {outcome.task: outcome.error or outcome.value for outcome in found}


def test_one_process(tmp_path: Path) -> None:
    found = results(tmp_path, [1, 3, 4])
    assert (found[1], found[4]) == (1, 16)
    assert isinstance(found[3], FaceNotFoundError)


def test_workers_are_numbered(tmp_path: Path) -> None:
    found = run_tasks(partial(own_number, tmp_path), [1, 2], workers=2)
    assert {outcome.value for outcome in found} == {0, 1}
    assert worker_number() == 0


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_a_run_that_ends_early_waits_for_no_task() -> None:
    tasks = run_tasks(sleep, [0, 300, 300], workers=2)
    assert next(tasks).value == 0
    start = time.monotonic()
    tasks.close()
    assert time.monotonic() - start < 60


def test_a_killed_worker_changes_nothing(tmp_path: Path) -> None:
    found = results(tmp_path, [1, 2, 3, 4], workers=2)
    assert (tmp_path / "2.tried").exists()
    assert {task: found[task] for task in (1, 2, 4)} == {1: 1, 2: 4, 4: 16}
    assert isinstance(found[3], FaceNotFoundError)


def test_a_task_that_kills_every_worker_fails_alone(tmp_path: Path) -> None:
    found = results(tmp_path, [5, 1], workers=2)
    assert found[1] == 1
    assert "3 workers were killed" in str(found[5])


def test_bad_numbers_and_missing_ray(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 or more; got 0"):
        results(tmp_path, [1], workers=0)
    try:
        import ray  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"mien\[ray\]"):
            results(tmp_path, [1], ray="local")
    else:
        assert results(tmp_path, [1, 2, 3], workers=2, ray="local")[2] == 4
