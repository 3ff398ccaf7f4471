"""The HTTP API: the application, its errors and its state."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import Depends, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.exceptions import HTTPException

from mien import __version__
from mien.emotion.named import named_emotions
from mien.face.facs import MEANINGS
from mien.serve.documents import DESCRIPTION, problems
from mien.serve.guard import Guard
from mien.serve.jobs import add_jobs
from mien.serve.process import WorkError
from mien.serve.refusals import RefusedError, problem
from mien.serve.service import Service
from mien.serve.submit import RETRY_SECONDS, add_work

_STATUS: Final = {"busy": 429, "internal": 422, "missing_part": 422}
"""Error code of a question to the status of the answer; others are 422."""


def create_app(service: Service) -> FastAPI:
    """Return the application of a service; it starts and stops the service with itself."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.start)
        yield
        await run_in_threadpool(service.close)

    app = FastAPI(
        title="mien",
        summary="Change what a face feels in a video; make portraits talk.",
        description=DESCRIPTION,
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # they would come from the network
        redoc_url=None,
        redirect_slashes=False,
    )
    registry = CollectorRegistry()
    _answer_errors(app)
    _add_status(app, service, registry)
    owner = Depends(_owner_of(service))
    add_work(app, service, owner)
    add_jobs(app, service, owner)
    app.add_middleware(Guard, service=service, registry=registry)
    return app


def _owner_of(service: Service) -> Callable[[Request], str]:
    """Return the dependency that says whose a request is."""

    def owner(request: Request) -> str:
        found = service.tokens.owner(request.headers.get("authorization"))
        if found is None:
            raise RefusedError(
                401,
                "no_token",
                "Send a valid token: Authorization: Bearer TOKEN.",
                {"WWW-Authenticate": "Bearer"},
            )
        return found

    return owner


def _answer_errors(app: FastAPI) -> None:
    """Give every error the same form."""

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> JSONResponse:
        return problem(error.status, error.code, str(error), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        found = [
            f"{'.'.join(str(part) for part in one['loc'])[:80] or 'request'}: {one['msg']}"
            for one in error.errors()[:5]
        ]
        return problem(422, "bad_field", "; ".join(found)[:1000])

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        codes = {404: "not_found", 405: "bad_method", 413: "too_large"}
        code = codes.get(error.status_code, "bad_request")
        headers = dict(error.headers) if error.headers else None
        return problem(error.status_code, code, str(error.detail), headers)

    @app.exception_handler(WorkError)
    async def work(_: Request, error: WorkError) -> JSONResponse:
        status = _STATUS.get(error.code, 422)
        headers = {"Retry-After": str(RETRY_SECONDS)} if status == 429 else None
        return problem(status, error.code, str(error), headers)


def _add_status(app: FastAPI, service: Service, registry: CollectorRegistry) -> None:
    """Add what monitoring asks for."""

    @app.get("/health", tags=["status"])
    def health() -> dict[str, str]:
        """Whether the server runs."""
        return {"status": "ok", "version": __version__}

    @app.get("/ready", tags=["status"], responses=problems(503))
    def ready() -> Response:
        """Whether jobs are accepted and run."""
        try:
            service.store.counts()
        except sqlite3.Error as error:
            return problem(503, "no_store", f"The store cannot be read ({error}).")
        if not service.runner.alive:
            return problem(503, "no_runner", "Jobs are not being run.")
        if service.disk_is_full:
            return problem(503, "disk_full", "Too little disk space is left.")
        return JSONResponse({"status": "ready"})

    @app.get("/v1/emotions", tags=["status"])
    def emotions() -> dict[str, Any]:
        """The emotions that have a name, and the action units."""
        return {"emotions": named_emotions(), "action_units": dict(MEANINGS)}

    @app.get("/metrics", tags=["status"], dependencies=[Depends(_owner_of(service))])
    def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
