"""Jobs and uploads in a folder: a SQLite database and files, which survive the server."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from mien.errors import InputError, MienError
from mien.utils.text import shown

if sys.platform != "win32":
    import fcntl

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
STATES: Final = (QUEUED, RUNNING, DONE, FAILED, CANCELLED)

_MOST_ATTEMPTS: Final = 2
"""How often a job is begun; one that was running twice when the server died is given up."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, verb TEXT NOT NULL, job_order TEXT NOT NULL,
    state TEXT NOT NULL, created REAL NOT NULL, started REAL, ended REAL,
    attempts INTEGER NOT NULL DEFAULT 0, code TEXT, message TEXT, result TEXT,
    idempotency_key TEXT, fingerprint TEXT,
    UNIQUE (owner, idempotency_key));
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, created);
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, bytes INTEGER NOT NULL,
    created REAL NOT NULL, used REAL NOT NULL);
"""


class QueueFullError(MienError):
    """As many jobs wait as the server accepts."""


class KeyReusedError(InputError):
    """An idempotency key came again with another request."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as it is stored; times are seconds since 1970.

    Attributes:
        id: name of the job and of its folder.
        owner: whose job it is; nobody else sees it.
        verb: ``edit``, ``talk`` or ``feel``.
        order: what is to be done, see :mod:`mien.serve.work`.
        state: one of ``STATES``.
        created, started, ended: times; None before.
        attempts: how often it was begun.
        code, message: why it failed.
        result: name of the result in the job's folder, once it is done.
    """

    id: str
    owner: str
    verb: str
    order: dict[str, Any]
    state: str
    created: float
    started: float | None
    ended: float | None
    attempts: int
    code: str | None
    message: str | None
    result: str | None


_COLUMNS: Final = (
    "id, owner, verb, job_order, state, created, started, ended, attempts, code, message, result"
)


class JobStore:
    """The jobs and uploads of one server; its methods may be called from any thread.

    Args:
        folder: where everything is kept; made if it does not exist.

    Raises:
        InputError: when the folder cannot be used or another server uses it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._guard = threading.RLock()
        try:
            for part in ("jobs", "uploads"):
                (folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = FileIO(folder / "lock", "w")
        except OSError as error:
            raise InputError(
                f"The folder {shown(folder)} cannot be used ({error.strerror})."
            ) from error
        if sys.platform != "win32":
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self._lock.close()
                raise InputError(
                    f"Another server uses the folder {shown(folder)}; choose another one."
                ) from error
        self._db = sqlite3.connect(
            folder / "jobs.sqlite", check_same_thread=False, isolation_level=None
        )
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self.close()
            raise InputError(
                f"{shown(folder / 'jobs.sqlite')} is not a database of mien ({error})."
            ) from error

    def close(self) -> None:
        """Close the database and let another server use the folder."""
        with self._guard:
            self._db.close()
            self._lock.close()

    def job_folder(self, job: str) -> Path:
        """Return where the files of a job are kept."""
        return self.folder / "jobs" / job

    def new_job_folder(self) -> tuple[str, Path]:
        """Return the id of a new job and its folder, which is empty."""
        job = token_hex(16)
        folder = self.job_folder(job)
        folder.mkdir(mode=0o700)
        return job, folder

    def submit(
        self,
        job: str,
        owner: str,
        order: dict[str, Any],
        *,
        most_waiting: int,
        key: str | None = None,
        fingerprint: str = "",
    ) -> tuple[JobRecord, bool]:
        """Enter a job; return it, and whether it is new.

        With an idempotency key that came before, nothing is entered and that job is returned.

        Raises:
            QueueFullError: when ``most_waiting`` jobs wait already.
            KeyReusedError: when the key came with another fingerprint.
        """
        with self._transaction() as db:
            if key is not None:
                row = db.execute(
                    f"SELECT {_COLUMNS}, fingerprint FROM jobs"  # noqa: S608 - constant columns
                    " WHERE owner = ? AND idempotency_key = ?",
                    (owner, key),
                ).fetchone()
                if row is not None:
                    if row[-1] != fingerprint:
                        raise KeyReusedError("This Idempotency-Key came with another request.")
                    return _record(row[:-1]), False
            (waiting,) = db.execute(
                "SELECT count(*) FROM jobs WHERE state = ?", (QUEUED,)
            ).fetchone()
            if waiting >= most_waiting:
                raise QueueFullError(f"{waiting} jobs wait already; try again later.")
            row = db.execute(
                "INSERT INTO jobs (id, owner, verb, job_order, state, created, idempotency_key,"  # noqa: S608
                f" fingerprint) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING {_COLUMNS}",
                (
                    job, owner, order["verb"], json.dumps(order), QUEUED, time.time(), key,
                    fingerprint,
                ),
            ).fetchone()  # fmt: skip
            return _record(row), True

    def job(self, job: str, owner: str) -> JobRecord | None:
        """Return a job of ``owner``; None where there is none."""
        rows = self._all(
            f"SELECT {_COLUMNS} FROM jobs WHERE id = ? AND owner = ?",  # noqa: S608
            job, owner,
        )  # fmt: skip
        return _record(rows[0]) if rows else None

    def jobs(self, owner: str, most: int = 100) -> list[JobRecord]:
        """Return the newest jobs of ``owner``."""
        query = f"SELECT {_COLUMNS} FROM jobs WHERE owner = ? ORDER BY created DESC LIMIT ?"  # noqa: S608
        return [_record(row) for row in self._all(query, owner, most)]

    def ahead_of(self, job: JobRecord) -> int:
        """Return how many jobs wait that came before ``job``."""
        query = "SELECT count(*) FROM jobs WHERE state = ? AND created < ?"
        return int(self._all(query, QUEUED, job.created)[0][0])

    def counts(self) -> dict[str, int]:
        """Return the number of jobs by state."""
        found = dict(self._all("SELECT state, count(*) FROM jobs GROUP BY state"))
        return {state: found.get(state, 0) for state in STATES}

    def claim(self) -> JobRecord | None:
        """Begin the next job: the oldest one of whoever has the fewest running."""
        query = (
            "UPDATE jobs SET state = ?, started = ?, attempts = attempts + 1 WHERE id ="  # noqa: S608
            " (SELECT id FROM jobs AS waiting WHERE state = ? ORDER BY (SELECT count(*) FROM jobs"
            " WHERE owner = waiting.owner AND state = ?), created LIMIT 1)"
            f" RETURNING {_COLUMNS}"
        )
        rows = self._all(query, RUNNING, time.time(), QUEUED, RUNNING)
        return _record(rows[0]) if rows else None

    def finish(
        self,
        job: str,
        state: str,
        *,
        code: str | None = None,
        message: str | None = None,
        result: str | None = None,
    ) -> None:
        """Say how a job ended; its result is visible from now on."""
        self._all(
            "UPDATE jobs SET state = ?, ended = ?, code = ?, message = ?, result = ? WHERE id = ?",
            state, time.time(), code, message, result, job,
        )  # fmt: skip

    def cancel_waiting(self, job: str) -> bool:
        """Cancel a job that has not begun; return whether it was one."""
        query = "UPDATE jobs SET state = ?, ended = ? WHERE id = ? AND state = ? RETURNING id"
        return bool(self._all(query, CANCELLED, time.time(), job, QUEUED))

    def requeue(self, job: str) -> None:
        """Put a job that was begun back into the queue, as if it had not been."""
        query = "UPDATE jobs SET state = ?, started = NULL, attempts = attempts - 1 WHERE id = ?"
        self._all(query, QUEUED, job)

    def remove(self, job: str) -> None:
        """Forget a job and remove its files."""
        self._all("DELETE FROM jobs WHERE id = ?", job)
        shutil.rmtree(self.job_folder(job), ignore_errors=True)

    def add_upload(self, upload: str, owner: str, name: str, size: int) -> None:
        """Enter an upload whose file is complete."""
        now = time.time()
        query = "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?)"
        self._all(query, upload, owner, name, size, now, now)

    def upload(self, upload: str, owner: str) -> Path | None:
        """Return the file of an upload of ``owner``; None where there is none."""
        query = "UPDATE uploads SET used = ? WHERE id = ? AND owner = ? RETURNING name"
        rows = self._all(query, time.time(), upload, owner)
        return self.upload_folder(upload) / rows[0][0] if rows else None

    def upload_folder(self, upload: str) -> Path:
        """Return where the file of an upload is kept."""
        return self.folder / "uploads" / upload

    def remove_upload(self, upload: str, owner: str) -> bool:
        """Remove an upload of ``owner``; return whether there was one."""
        query = "DELETE FROM uploads WHERE id = ? AND owner = ? RETURNING id"
        found = bool(self._all(query, upload, owner))
        if found:
            shutil.rmtree(self.upload_folder(upload), ignore_errors=True)
        return found

    def recover(self) -> None:
        """Clean up after a server that died: begin its jobs again, remove half-written files."""
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state = ?, ended = ?, code = 'interrupted', message = ?"
                " WHERE state = ? AND attempts >= ?",
                (
                    FAILED, time.time(), "The server ended during this job, twice.", RUNNING,
                    _MOST_ATTEMPTS,
                ),
            )  # fmt: skip
            db.execute(
                "UPDATE jobs SET state = ?, started = NULL WHERE state = ?", (QUEUED, RUNNING)
            )
        known = {row[0]: row[1] for row in self._all("SELECT id, result FROM jobs")}
        for folder in (self.folder / "jobs").iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
            elif known[folder.name] is None:
                discard_results(folder)
        uploads = {row[0] for row in self._all("SELECT id FROM uploads")}
        for folder in (self.folder / "uploads").iterdir():
            if folder.name not in uploads:
                shutil.rmtree(folder, ignore_errors=True)

    def clear(self) -> None:
        """Forget all jobs and uploads and remove their files."""
        self._all("DELETE FROM jobs")
        self._all("DELETE FROM uploads")
        self.recover()

    def expire(self, keep_seconds: float) -> int:
        """Remove jobs that ended and uploads that were used longer ago; return how many."""
        before = time.time() - keep_seconds
        jobs = self._all("SELECT id FROM jobs WHERE ended < ?", before)
        for (job,) in jobs:
            self.remove(job)
        uploads = self._all("DELETE FROM uploads WHERE used < ? RETURNING id", before)
        for (upload,) in uploads:
            shutil.rmtree(self.upload_folder(upload), ignore_errors=True)
        return len(jobs) + len(uploads)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guard:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _all(self, query: str, *values: object) -> list[Any]:
        with self._guard:
            return self._db.execute(query, values).fetchall()


def discard_results(folder: Path) -> None:
    """Remove what a job that did not finish has written into its folder; ``inputs`` stays."""
    for path in folder.iterdir():
        if path.is_file():
            with suppress(OSError):
                path.unlink()


def _record(row: tuple[Any, ...]) -> JobRecord:
    job, owner, verb, order, *rest = row
    return JobRecord(job, owner, verb, json.loads(order), *rest)
