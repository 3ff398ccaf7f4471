"""``mien serve``."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.options import Debug
from mien.errors import InputError, needs_extra

if TYPE_CHECKING:
    from mien.serve.limits import Limits

Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Where jobs and uploads are kept.", metavar="DIR"),
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")]


def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Port = 8000,
    folder: Folder = None,
    root: Annotated[
        list[Path] | None,
        typer.Option(
            "--root", help="Folder whose files requests may name; repeatable.", metavar="DIR"
        ),
    ] = None,
    mcp: Annotated[
        bool,
        typer.Option("--mcp", help="Offer the verbs as MCP tools on standard input and output."),
    ] = False,
    jobs: Annotated[int | None, typer.Option("--jobs", help="Jobs that run at once.")] = None,
    queue: Annotated[int | None, typer.Option("--queue", help="Jobs that may wait.")] = None,
    max_upload: Annotated[
        float | None, typer.Option("--max-upload", help="Largest request, megabytes.")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option("--max-seconds", help="Longest input, seconds.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option("--max-pixels", help="Largest input, width x height.")
    ] = None,
    max_memory: Annotated[
        float | None, typer.Option("--max-memory", help="Address space of a job, megabytes.")
    ] = None,
    max_cpu: Annotated[
        float | None, typer.Option("--max-cpu", help="Processor time of a job, seconds.")
    ] = None,
    max_time: Annotated[
        float | None, typer.Option("--max-time", help="Time of a job, seconds.")
    ] = None,
    keep: Annotated[
        float | None, typer.Option("--keep", help="Seconds that results and uploads are kept.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Offer the commands over HTTP, or with --mcp to AI assistants.

    The tokens that requests need are in the environment variable MIEN_TOKENS.
    """
    with needs_extra("serve", "The server"):
        from mien.serve.server import folder_of, run_http
        from mien.serve.service import Service
        from mien.serve.tokens import VARIABLE, Tokens
    from mien.serve.limits import Limits

    given = {
        "running": jobs,
        "queue": queue,
        "upload_mb": max_upload,
        "seconds": max_seconds,
        "pixels": max_pixels,
        "memory_mb": max_memory,
        "cpu_seconds": max_cpu,
        "job_seconds": max_time,
        "keep_seconds": keep,
    }
    limits: Limits = Limits(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    if mcp:
        from mien.serve.tools import run_tools

        roots = tuple(root or [Path.cwd()])
        with TemporaryDirectory(prefix="mien-mcp-") as place:
            run_tools(Service(folder or Path(place), limits, roots=roots))
        return
    tokens = Tokens.of_environment()
    if not tokens.required and host not in ("127.0.0.1", "localhost", "::1"):
        raise InputError(
            f"Without tokens the server listens on 127.0.0.1 only, not on {host}; set {VARIABLE}."
        )
    service = Service(folder_of(folder, "serve"), limits, tokens, tuple(root or ()))
    run_http(service, host, port)
