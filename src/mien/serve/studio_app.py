"""The studio: a page over the HTTP API, and the few questions that only it asks."""

from __future__ import annotations

import shutil
import time
from base64 import b64decode, b64encode
from importlib.resources import files
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field

from mien.serve.intake import Files
from mien.serve.refusals import RefusedError
from mien.serve.requests import Reference
from mien.serve.service import Service
from mien.serve.tokens import LOCAL

EXAMPLES: Final = ("clip.mp4", "woman.jpg", "man.jpg", "speech.ogg")
"""Demo files that the studio offers."""

_LIVE_BYTES: Final = 4_000_000

_POLICY: Final = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Content security policy: the page can reach nothing but this server."""


class FrameQuestion(BaseModel):
    """A frame of a clip."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    input: Reference
    seconds: float = Field(default=0.0, ge=0, le=10**7)


class FileQuestion(BaseModel):
    """A file."""

    model_config = ConfigDict(extra="forbid")

    input: Reference


def add_studio(app: FastAPI, service: Service) -> None:
    """Add the page and its questions to the application of a service without tokens."""
    page = Path(str(files("mien.serve") / "studio"))
    find = Files(service.store, LOCAL, service.roots)

    @app.get("/", include_in_schema=False)
    def index() -> Response:
        return FileResponse(
            page / "index.html",
            headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"},
        )

    @app.post("/studio/faces", include_in_schema=False)
    def faces(question: FrameQuestion) -> dict[str, Any]:
        return service.previews.ask(
            {
                "do": "faces",
                "path": str(find(question.input)),
                "seconds": question.seconds,
                "limits": service.input_limits,
            }
        )

    @app.post("/studio/waveform", include_in_schema=False)
    def waveform(question: FileQuestion) -> dict[str, Any]:
        return service.checks.ask({"do": "waveform", "path": str(find(question.input))})

    @app.post("/studio/examples/{name}", include_in_schema=False)
    def example(name: str) -> dict[str, Any]:
        if name not in EXAMPLES:
            raise RefusedError(404, "not_found", "There is no such example.")
        upload = f"file-{token_hex(16)}"
        folder = service.store.upload_folder(upload)
        folder.mkdir()
        path = folder / name
        shutil.copyfile(str(files("mien") / "assets" / "demo" / name), path)
        question = {"do": "inspect", "path": str(path), "limits": service.input_limits}
        media = service.checks.ask(question)
        service.store.add_upload(upload, LOCAL, name, path.stat().st_size)
        return {"id": upload, "name": name, **media}

    @app.post("/studio/live", include_in_schema=False)
    async def live(request: Request, emotion: str) -> Response:
        picture = await request.body()
        if len(picture) > _LIVE_BYTES:
            raise RefusedError(413, "too_large", "The camera's picture is too large.")
        question = {
            "do": "live",
            "jpeg": b64encode(picture).decode(),
            "emotion": emotion,
            "time": time.monotonic(),
        }
        answer = await run_in_threadpool(service.live.ask, question)
        return Response(b64decode(answer["jpeg"]), media_type="image/jpeg")

    app.mount("/studio", StaticFiles(directory=page), name="studio")
