"""Runs the jobs of a store, each in a process of its own."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from mien.errors import MienError
from mien.serve.limits import MEGABYTE, Limits
from mien.serve.process import Child, Resources, WorkError
from mien.serve.store import (
    CANCELLED,
    DONE,
    FAILED,
    JobRecord,
    JobStore,
    discard_results,
)
from mien.serve.work import failure, perform

LOG: Final = logging.getLogger("mien.serve")

_POLL_SECONDS: Final = 0.2
_CLEANING_SECONDS: Final = 30
_GRACE_SECONDS: Final = 10
"""How long a cancelled job may take to stop by itself."""

_REPORT_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running job is.

    Attributes:
        done: frames done.
        total: frames in all; None where unknown.
        frames_per_second: since the first frame.
        seconds_left: estimated; None where unknown.
    """

    done: int
    total: int | None
    frames_per_second: float | None
    seconds_left: float | None


class Runner:
    """Runs the jobs of ``store`` within ``limits``, once it is started."""

    def __init__(self, store: JobStore, limits: Limits) -> None:
        self.store, self.limits = store, limits
        self.ended: Counter[tuple[str, str]] = Counter()
        """Jobs ended so far, by verb and state."""
        self.processes: dict[str, int] = {}
        """Process of every job that runs."""
        self._progress: dict[str, Progress] = {}
        self._cancelled: set[str] = set()
        self._closing = threading.Event()
        self._wake = threading.Semaphore(0)
        self._threads = [
            threading.Thread(target=self._work, name=f"mien-job-{i}", daemon=True)
            for i in range(limits.running)
        ]
        self._threads.append(threading.Thread(target=self._clean, name="mien-clean", daemon=True))

    def start(self) -> None:
        """Begin the jobs that wait, and those that a server which died left behind."""
        self.store.recover()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop; jobs that run are begun again by the next server."""
        self._closing.set()
        self._wake.release(self.limits.running)
        for thread in self._threads:
            if thread.ident is not None:  # it was started
                thread.join()

    @property
    def alive(self) -> bool:
        """Whether jobs are being run."""
        return all(thread.is_alive() for thread in self._threads)

    def submit(
        self, job: str, owner: str, order: dict[str, Any], key: str | None, fingerprint: str
    ) -> tuple[JobRecord, bool]:
        """Enter a job and wake a worker; as :meth:`JobStore.submit`."""
        record, new = self.store.submit(
            job, owner, order, most_waiting=self.limits.queue, key=key, fingerprint=fingerprint
        )
        if new:
            self._wake.release()
        return record, new

    def progress(self, job: str) -> Progress | None:
        """Return how far a job is; None where it does not run."""
        return self._progress.get(job)

    def cancel(self, record: JobRecord) -> None:
        """Cancel a job that waits or runs."""
        self._cancelled.add(record.id)
        if self.store.cancel_waiting(record.id):
            self._cancelled.discard(record.id)
            self.ended[record.verb, CANCELLED] += 1

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                record = self.store.claim()
                if record is not None:
                    self._run(record)
                    continue
            except (OSError, sqlite3.Error):
                LOG.exception("a job could not be run or recorded")
                self._closing.wait(_POLL_SECONDS)
            self._wake.acquire(timeout=_CLEANING_SECONDS)

    def _run(self, record: JobRecord) -> None:
        folder = self.store.job_folder(record.id)
        result = code = message = None
        try:
            result = self._result_of(record, folder)
            state = DONE
        except _StoppedError:
            self.store.requeue(record.id)
            return
        except WorkError as error:
            state, code, message = FAILED, error.code, str(error)
        if code == "cancelled":
            state = CANCELLED
        if state != DONE:
            discard_results(folder)
        self._progress.pop(record.id, None)
        self._cancelled.discard(record.id)
        self.store.finish(record.id, state, code=code, message=message, result=result)
        self.ended[record.verb, state] += 1
        LOG.info("job", extra={"job": record.id, "verb": record.verb, "state": state, "code": code})

    def _result_of(self, record: JobRecord, folder: Path) -> str:
        """Run a job and return the name of its result.

        Raises:
            WorkError: when it fails, for whatever reason.
            _StoppedError: when the server stops.
        """
        limits = self.limits
        resources = Resources(
            memory_bytes=int(limits.memory_mb * MEGABYTE),
            cpu_seconds=max(1, int(limits.cpu_seconds)),
            file_bytes=int(limits.output_mb * MEGABYTE),
        )
        allowed = {"seconds": limits.seconds, "pixels": limits.pixels}
        child = Child(run_job, record.order, str(folder), allowed, resources=resources)
        self.processes[record.id] = child.pid
        deadline = time.monotonic() + limits.job_seconds
        first: tuple[float, int] | None = None
        told = False
        try:
            while True:
                if self._closing.is_set():
                    raise _StoppedError
                if record.id in self._cancelled and not told:
                    child.send("cancel")
                    told, deadline = True, min(deadline, time.monotonic() + _GRACE_SECONDS)
                if time.monotonic() > deadline:
                    raise (
                        WorkError("cancelled", "The job was cancelled.")
                        if told
                        else WorkError("out_of_time", "It took longer than a job may take.")
                    )
                message = child.receive(_POLL_SECONDS)
                if message is None:
                    continue
                if "result" in message:
                    return str(message["result"])
                if "code" in message:
                    raise WorkError(message["code"], message["message"])
                done, total = message["progress"]
                first = first or (time.monotonic(), done)
                self._progress[record.id] = _progress(done, total, first)
        finally:
            del self.processes[record.id]
            child.end()

    def _clean(self) -> None:
        while not self._closing.wait(_CLEANING_SECONDS):
            try:
                self.store.expire(self.limits.keep_seconds)
            except (OSError, sqlite3.Error):
                LOG.exception("expired jobs could not be removed")


class _StoppedError(MienError):
    """The server stops."""


def _progress(done: int, total: int | None, first: tuple[float, int]) -> Progress:
    seconds = time.monotonic() - first[0]
    rate = (done - first[1]) / seconds if seconds > 0 and done > first[1] else None
    left = max(0, total - done) / rate if rate and total else None
    return Progress(
        done, total, None if rate is None else round(rate, 2), None if left is None else round(left)
    )


def run_job(pipe: Connection, order: dict[str, Any], place: str, limits: dict[str, Any]) -> None:
    """Do a job in its own process, and say through ``pipe`` how far it is and how it ended."""
    cancelled = threading.Event()

    def listen() -> None:
        try:
            while pipe.recv_bytes():
                cancelled.set()
        except (EOFError, OSError):
            os._exit(1)  # the server is gone; another one does this job again

    threading.Thread(target=listen, daemon=True).start()
    last = 0.0

    def tell(message: Mapping[str, object]) -> None:
        pipe.send_bytes(json.dumps(message).encode())

    def progress(done: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last >= _REPORT_SECONDS:
            last = now
            tell({"progress": [done, total]})

    folder = Path(place)
    try:
        tell({"result": perform(order, folder, limits, progress, cancelled.is_set)})
    except Exception as error:  # noqa: BLE001 - said to the server, which records it
        tell(failure(error, folder))
