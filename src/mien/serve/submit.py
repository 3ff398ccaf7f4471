"""Routes of the HTTP API that make jobs, uploads and previews."""

from __future__ import annotations

import re
import shutil
from base64 import b64decode
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any, Final

from fastapi import FastAPI, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from mien.serve.documents import JobAnswer, body_of, problems
from mien.serve.intake import Files, Parts, read_parts, save, suffix_of
from mien.serve.jobs import view
from mien.serve.refusals import RefusedError
from mien.serve.requests import EditRequest, FeelRequest, PreviewRequest, TalkRequest
from mien.serve.service import Service
from mien.serve.store import (
    QUEUED,
    KeyReusedError,
    QueueFullError,
)

RETRY_SECONDS: Final = 10
_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}")


def add_work(app: FastAPI, service: Service, owner: Any) -> None:  # noqa: ANN401 - FastAPI's
    """Add what makes jobs, uploads and previews."""

    async def enter(request: Request, who: str, kind: type[Any], key: str | None) -> JSONResponse:
        if key is not None and not _KEY.fullmatch(key):
            raise RefusedError(422, "bad_key", "An Idempotency-Key has 1 to 200 ASCII characters.")
        _check_room(service)
        job, folder = service.store.new_job_folder()
        entered = False
        try:
            inputs = folder / "inputs"
            inputs.mkdir()
            parts = await read_parts(request, inputs)
            model = parts.model(kind)
            order = await run_in_threadpool(_order, service, who, model, parts, inputs)
            fingerprint = f"{kind.__name__}:{parts.digest}"
            record, entered = await run_in_threadpool(
                service.runner.submit, job, who, order, key, fingerprint
            )
        except QueueFullError as error:
            raise _busy("queue_full", str(error)) from error
        except KeyReusedError as error:
            raise RefusedError(422, "key_reused", str(error)) from error
        finally:
            if not entered:
                await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)
        location = f"/v1/jobs/{record.id}"
        return JSONResponse(view(service, record), 202 if entered else 200, {"Location": location})

    def add(verb: str, kind: type[Any], what: str) -> None:
        @app.post(
            f"/v1/{verb}",
            tags=["work"],
            summary=what,
            status_code=202,
            response_model=JobAnswer,
            openapi_extra=body_of(kind),
            responses={
                200: {"model": JobAnswer},
                **problems(400, 401, 404, 408, 413, 415, 422, 429),
            },
            operation_id=verb,
        )
        async def run(
            request: Request,
            who: str = owner,
            idempotency_key: Annotated[str | None, Header()] = None,
        ) -> Response:
            return await enter(request, who, kind, idempotency_key)

    add("edit", EditRequest, "Change what a face feels in a video or picture")
    add("talk", TalkRequest, "Make a portrait speak")
    add("feel", FeelRequest, "Recognise the emotion of a voice")

    @app.post(
        "/v1/preview",
        tags=["work"],
        response_class=Response,
        openapi_extra=body_of(PreviewRequest),
        responses={
            200: {"content": {"image/jpeg": {}}},
            **problems(400, 401, 404, 408, 413, 415, 422, 429),
        },
    )
    async def preview(request: Request, who: str = owner) -> Response:
        """One frame of a video or picture with an emotion."""
        folder = service.store.folder / "uploads" / f"preview-{token_hex(8)}"
        folder.mkdir()
        try:
            parts = await read_parts(request, folder)
            model = parts.model(PreviewRequest)
            answer = await run_in_threadpool(_preview, service, who, model, parts, folder)
        finally:
            await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)
        return Response(b64decode(answer["jpeg"]), media_type="image/jpeg")

    @app.post(
        "/v1/uploads",
        tags=["work"],
        status_code=201,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "required": ["file"],
                            "properties": {"file": {"type": "string", "format": "binary"}},
                        }
                    }
                },
            }
        },
        responses=problems(400, 401, 408, 413, 415, 422, 429),
    )
    async def upload(request: Request, who: str = owner) -> JSONResponse:
        """Store a file once, to use it in several requests by its id; it expires when unused."""
        _check_room(service)
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise RefusedError(415, "bad_type", "Send a form with one file named file.")
        name = f"file-{token_hex(16)}"
        folder = service.store.upload_folder(name)
        async with request.form(max_files=1, max_fields=0) as form:
            file = form.get("file")
            if file is None or isinstance(file, str):
                raise RefusedError(422, "bad_field", "Send a form with one file named file.")
            folder.mkdir()
            path = folder / f"file{suffix_of(file.filename)}"
            try:
                await run_in_threadpool(save, file, path)
                question = {"do": "inspect", "path": str(path), "limits": service.input_limits}
                media = await run_in_threadpool(service.checks.ask, question)
                service.store.add_upload(name, who, path.name, path.stat().st_size)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return JSONResponse({"id": name, **media}, 201)

    @app.delete(
        "/v1/uploads/{upload}", tags=["work"], status_code=204, responses=problems(401, 404)
    )
    def remove_upload(upload: str, who: str = owner) -> Response:
        """Remove an upload."""
        if not service.store.remove_upload(upload, who):
            raise RefusedError(404, "no_upload", "There is no such upload.")
        return Response(status_code=204)


def _check_room(service: Service) -> None:
    if service.disk_is_full:
        raise _busy("disk_full", "Too little disk space is left; try again later.")
    waiting = service.store.counts()[QUEUED]
    if waiting >= service.limits.queue:
        raise _busy("queue_full", f"{waiting} jobs wait already; try again later.")


def _busy(code: str, message: str) -> RefusedError:
    return RefusedError(429, code, message, {"Retry-After": str(RETRY_SECONDS)})


def _order(
    service: Service,
    who: str,
    model: Any,  # noqa: ANN401 - any of the requests
    parts: Parts,
    folder: Path,
) -> dict[str, Any]:
    """Return the order of a request after it was checked."""
    files = Files(service.store, who, service.roots, parts)
    order: dict[str, Any] = model.order(files, folder)
    service.checks.ask({"do": "check", "order": order, "limits": service.input_limits})
    return order


def _preview(
    service: Service, who: str, model: PreviewRequest, parts: Parts, folder: Path
) -> dict[str, Any]:
    files = Files(service.store, who, service.roots, parts)
    path = files(model.input)
    arguments = model.arguments(files, folder)
    question = {
        "do": "preview",
        "path": str(path),
        "face": arguments.pop("face", "largest"),
        "arguments": arguments,
        "seconds": model.seconds,
        "side": model.side,
        "original": model.original,
        "limits": service.input_limits,
    }
    return service.previews.ask(question)
