"""Routes of the HTTP API about jobs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from fastapi import Depends, FastAPI, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from mien.provenance.credential import sidecar_of
from mien.serve.documents import JobAnswer, problems
from mien.serve.refusals import RefusedError
from mien.serve.service import Service
from mien.serve.store import (
    CANCELLED,
    DONE,
    FAILED,
    QUEUED,
    RUNNING,
    JobRecord,
)
from mien.serve.work import REPORT

_EVENT_SECONDS: Final = 0.25
_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")


def add_jobs(app: FastAPI, service: Service, owner: Any) -> None:  # noqa: ANN401 - FastAPI's
    """Add what is asked about jobs."""

    def find(job: str, who: str) -> JobRecord:
        record = service.store.job(job, who) if _JOB_ID.fullmatch(job) else None
        if record is None:
            raise RefusedError(404, "no_job", "There is no such job.")
        return record

    def finished(job: str, who: str) -> tuple[JobRecord, Path]:
        record = find(job, who)
        if record.state != DONE or record.result is None:
            raise RefusedError(409, "not_done", f"The job is {record.state}, not done.")
        return record, service.store.job_folder(job)

    @app.get("/v1/jobs", tags=["jobs"], responses=problems(401), response_model=list[JobAnswer])
    def jobs(who: str = owner) -> list[dict[str, Any]]:
        """Your newest jobs."""
        return [view(service, record) for record in service.store.jobs(who)]

    @app.get(
        "/v1/jobs/{job}", tags=["jobs"], responses=problems(401, 404), response_model=JobAnswer
    )
    def job_state(job: str, who: str = owner) -> dict[str, Any]:
        """State and progress of a job."""
        return view(service, find(job, who))

    def job_of(job: str, who: str = owner) -> JobRecord:
        return find(job, who)

    sought: Any = Depends(job_of)

    @app.get(
        "/v1/jobs/{job}/events",
        tags=["jobs"],
        response_class=EventSourceResponse,
        responses=problems(401, 404),
    )
    async def events(job: str, record: JobRecord = sought) -> AsyncIterator[ServerSentEvent]:
        """State and progress as server-sent events, until the job has ended."""
        last: dict[str, Any] | None = None
        while True:
            now = await run_in_threadpool(service.store.job, job, record.owner)
            if now is None:
                return
            seen = view(service, now)
            if seen != last:
                last = seen
                yield ServerSentEvent(event=now.state, data=seen)
            if now.state in (DONE, FAILED, CANCELLED):
                return
            await asyncio.sleep(_EVENT_SECONDS)

    @app.get(
        "/v1/jobs/{job}/result",
        tags=["jobs"],
        response_class=FileResponse,
        responses={200: {"content": {"*/*": {}}}, **problems(401, 404, 409)},
    )
    def result(job: str, who: str = owner) -> Response:
        """The picture, clip or reading that a job has made."""
        record, folder = finished(job, who)
        name = str(record.result)
        return FileResponse(folder / name, filename=name)

    @app.get(
        "/v1/jobs/{job}/credential",
        tags=["jobs"],
        response_class=FileResponse,
        responses={200: {"content": {"application/c2pa": {}}}, **problems(401, 404, 409)},
    )
    def credential(job: str, who: str = owner) -> Response:
        """The Content Credential of a result that cannot hold it (WebM, MKV, MPEG …)."""
        record, folder = finished(job, who)
        path = sidecar_of(folder / str(record.result))
        if not path.is_file():
            raise RefusedError(404, "no_sidecar", "There is none, or it is in the result itself.")
        return FileResponse(path, filename=path.name, media_type="application/c2pa")

    @app.get("/v1/jobs/{job}/report", tags=["jobs"], responses=problems(401, 404, 409))
    def report(job: str, who: str = owner) -> dict[str, Any]:
        """What was done, with which nets, and what should be known about it."""
        _, folder = finished(job, who)
        found: dict[str, Any] = json.loads((folder / REPORT).read_text("utf-8"))
        return found

    @app.delete("/v1/jobs/{job}", tags=["jobs"], status_code=204, responses=problems(401, 404))
    def remove(job: str, who: str = owner) -> Response:
        """Cancel a job that has not ended; remove one that has, with its files."""
        record = find(job, who)
        if record.state in (QUEUED, RUNNING):
            service.runner.cancel(record)
        else:
            service.store.remove(job)
        return Response(status_code=204)


def view(service: Service, record: JobRecord) -> dict[str, Any]:
    """Return what the owner of a job sees of it."""
    here = f"/v1/jobs/{record.id}"
    out: dict[str, Any] = {
        "id": record.id,
        "verb": record.verb,
        "state": record.state,
        "created": record.created,
        "started": record.started,
        "ended": record.ended,
        "links": {"self": here, "events": f"{here}/events"},
    }
    if record.state == QUEUED:
        out["waiting"] = service.store.ahead_of(record)
    if record.ended is not None:
        out["expires"] = record.ended + service.limits.keep_seconds
    progress = service.runner.progress(record.id) if record.state == RUNNING else None
    if progress is not None:
        out["progress"] = asdict(progress)
    if record.code is not None:
        out["error"] = {"code": record.code, "message": record.message}
    if record.state == DONE:
        out["links"] |= {"result": f"{here}/result", "report": f"{here}/report"}
    return out
