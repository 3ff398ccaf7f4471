"""The store of jobs and what runs them: limits, ends, restarts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mien.errors import InputError
from mien.serve.limits import Limits
from mien.serve.runner import Runner
from mien.serve.store import JobRecord, JobStore, KeyReusedError, QueueFullError

from ..conftest import DEMO

ENDED = ("done", "failed", "cancelled")
posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")


def order(source: Path, output: str = "result.png", **more: object) -> dict[str, object]:
    arguments = {"input": str(source), "emotion": "sad", **more}
    return {"verb": "edit", "output": output, "arguments": arguments}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def runner(store: JobStore) -> Iterator[Runner]:
    runner = Runner(store, Limits(running=1))
    runner.start()
    yield runner
    runner.close()


def enter(runner: Runner, what: dict[str, object]) -> str:
    job, _ = runner.store.new_job_folder()
    runner.submit(job, "me", what, None, "")
    return job


def ended(store: JobStore, job: str, *states: str) -> JobRecord:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        record = store.job(job, "me")
        assert record is not None
        if record.state in (states or ENDED):
            return record
        time.sleep(0.05)
    raise AssertionError(f"the job did not end: {store.job(job, 'me')}")


def submit(store: JobStore, owner: str = "me", key: str | None = None, print: str = "") -> str:
    job, _ = store.new_job_folder()
    record, _ = store.submit(job, owner, order(DEMO), most_waiting=3, key=key, fingerprint=print)
    return record.id


def test_a_job_is_its_owners_alone(store: JobStore) -> None:
    job = submit(store)
    assert store.job(job, "me") is not None
    assert store.job(job, "you") is None
    assert [record.id for record in store.jobs("me")] == [job]
    assert store.jobs("you") == []


def test_the_queue_is_limited_and_fair(store: JobStore) -> None:
    mine = [submit(store), submit(store)]
    yours = submit(store, "you")
    with pytest.raises(QueueFullError):
        submit(store)
    assert [store.claim().id for _ in range(3)] == [mine[0], yours, mine[1]]  # type: ignore[union-attr]
    assert store.claim() is None


def test_an_idempotency_key_enters_one_job(store: JobStore) -> None:
    first = submit(store, key="k", print="a")
    assert submit(store, key="k", print="a") == first
    assert submit(store, "you", key="k", print="b") != first
    with pytest.raises(KeyReusedError):
        submit(store, key="k", print="b")


def test_a_store_belongs_to_one_server(store: JobStore) -> None:
    with pytest.raises(InputError, match="Another server"):
        JobStore(store.folder)


def test_a_damaged_database_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"no database, but long enough to be one" * 100)
    with pytest.raises(InputError, match="not a database"):
        JobStore(tmp_path)


def test_what_a_dead_server_left_is_begun_again_and_given_up_the_second_time(
    tmp_path: Path,
) -> None:
    store = JobStore(tmp_path)
    job = submit(store)
    for _ in range(2):
        assert store.claim() is not None
        (store.job_folder(job) / "result.png").write_bytes(b"half")
        (store.folder / "jobs" / "nobodys").mkdir()
        store.close()
        store = JobStore(tmp_path)
        store.recover()
        assert [path.name for path in (tmp_path / "jobs").iterdir()] == [job]
        assert not list(store.job_folder(job).iterdir())
    record = store.job(job, "me")
    assert record is not None
    assert (record.state, record.code) == ("failed", "interrupted")
    store.close()


def test_results_and_uploads_expire(store: JobStore) -> None:
    job = submit(store)
    store.claim()
    store.finish(job, "done", result="result.png")
    folder = store.upload_folder("u")
    folder.mkdir()
    store.add_upload("u", "me", "a.mp4", 3)
    assert store.upload("u", "me") == folder / "a.mp4"
    assert store.upload("u", "you") is None
    assert store.expire(60) == 0
    time.sleep(0.01)
    assert store.expire(0.001) == 2
    assert store.job(job, "me") is None
    assert not store.job_folder(job).exists()
    assert not folder.exists()


def test_limits_are_positive() -> None:
    for wrong in ({"seconds": 0}, {"running": 1.5}, {"pixels": "x"}, {"queue": -1}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            Limits(**wrong)  # type: ignore[arg-type]


def test_jobs_run_and_fail_with_a_reason(runner: Runner) -> None:
    good = enter(runner, order(DEMO / "woman.jpg"))
    bad = enter(runner, order(DEMO / "speech.ogg"))
    record = ended(runner.store, good)
    assert (record.state, record.result) == ("done", "result.png")
    folder = runner.store.job_folder(good)
    report = json.loads((folder / "report.json").read_text())
    assert report["faces"] == 1
    assert report["output"] == "result.png"
    assert sorted(path.name for path in folder.iterdir()) == ["report.json", "result.png"]
    record = ended(runner.store, bad)
    assert (record.state, record.code) == ("failed", "bad_input")
    assert str(runner.store.folder) not in (record.message or "")
    assert not list(runner.store.job_folder(bad).iterdir())


def test_a_job_is_cancelled(runner: Runner) -> None:
    running = enter(runner, order(DEMO / "clip.mp4", "result.mp4"))
    waiting = enter(runner, order(DEMO / "woman.jpg"))
    record = ended(runner.store, running, "running")
    runner.cancel(record)
    runner.cancel(runner.store.job(waiting, "me"))  # type: ignore[arg-type]
    assert ended(runner.store, waiting).state == "cancelled"
    assert ended(runner.store, running).state == "cancelled"
    assert not list(runner.store.job_folder(running).iterdir())


@posix
@pytest.mark.parametrize(
    ("limit", "codes"),
    [
        ({"cpu_seconds": 1}, ("out_of_time",)),
        ({"job_seconds": 0.5}, ("out_of_time",)),
        ({"memory_mb": 600}, ("out_of_memory", "crashed")),
        ({"output_mb": 0.001}, ("not_written",)),
        ({"seconds": 0.5}, ("bad_input",)),
        ({"pixels": 1000}, ("bad_input",)),
    ],
)
def test_a_job_keeps_within_its_limits(
    store: JobStore, short_clip: Path, limit: dict[str, float], codes: tuple[str, ...]
) -> None:
    runner = Runner(store, Limits(**{"running": 1, **limit}))  # type: ignore[arg-type]
    runner.start()
    record = ended(store, enter(runner, order(short_clip, "result.mp4")))
    runner.close()
    assert record.state == "failed"
    assert record.code in codes, record.message
    assert record.message
    assert not list(store.job_folder(record.id).iterdir())


@posix
def test_a_killed_job_fails_with_a_reason(runner: Runner) -> None:
    job = enter(runner, order(DEMO / "clip.mp4", "result.mp4"))
    deadline = time.monotonic() + 60
    while runner.progress(job) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(runner.processes[job], signal.SIGKILL)
    record = ended(runner.store, job)
    assert (record.state, record.code) == ("failed", "killed")
    assert ended(runner.store, enter(runner, order(DEMO / "woman.jpg"))).state == "done"


@posix
@pytest.mark.slow
def test_a_killed_server_leaves_its_jobs_to_the_next_one(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from mien.serve.limits import Limits
from mien.serve.runner import Runner
from mien.serve.store import JobStore
import time
if __name__ == "__main__":
    store = JobStore(Path({str(tmp_path / "store")!r}))
    runner = Runner(store, Limits(running=1))
    runner.start()
    for _ in range(2):
        job, _ = store.new_job_folder()
        runner.submit(job, "me", {order(DEMO / "woman.jpg")!r}, None, "")
    while not runner.processes:
        time.sleep(0.01)
    print("running", flush=True)
    time.sleep(60)
"""
    (tmp_path / "server.py").write_text(program)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "server.py")], stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"running\n"
        server.kill()
    store = JobStore(tmp_path / "store")
    runner = Runner(store, Limits(running=1))
    assert store.counts()["running"] <= 1
    runner.start()
    try:
        records = [ended(store, record.id) for record in store.jobs("me")]
    finally:
        runner.close()
        store.close()
    assert [record.state for record in records] == ["done", "done"]
    assert max(record.attempts for record in records) == 2
