"""Run the HTTP server."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvicorn

from mien.errors import InputError
from mien.serve.app import create_app
from mien.serve.guard import JsonLines, PromptProtocol

if TYPE_CHECKING:
    from fastapi import FastAPI

    from mien.serve.service import Service

_KEEP_ALIVE_SECONDS: Final = 5
_SHUTDOWN_SECONDS: Final = 5
_BACKLOG: Final = 512
_CONNECTIONS: Final = 1000


def folder_of(folder: Path | None, name: str) -> Path:
    """Return the folder of a server: the one that was named, or one in the user's state."""
    if folder is not None:
        return folder
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "mien" / name


def run_http(
    service: Service,
    host: str,
    port: int,
    *,
    add: Callable[[FastAPI], None] | None = None,
    started: Callable[[str], None] | None = None,
    quiet: bool = False,
) -> None:
    """Serve until a signal ends it; the log goes to standard error as lines of JSON.

    Args:
        service: what is served.
        host: address to listen on.
        port: port; 0 takes a free one.
        add: adds routes to the application.
        started: called with the server's address once it listens.
        quiet: log warnings alone.

    Raises:
        InputError: when the address cannot be used.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("mien.serve", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        talks = name == "mien.serve" and not quiet
        logger.setLevel(logging.INFO if talks else logging.WARNING)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        service.close()
        raise InputError(
            f"The server cannot listen on {host}:{port} ({error.strerror})."
        ) from error
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listener.getsockname()[1]}"
    app = create_app(service)
    if add is not None:
        add(app)
    config = uvicorn.Config(
        app,
        http=PromptProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    with listener:
        logging.getLogger("mien.serve").info(f"listening on {address}")
        if started is not None:
            started(address)
        uvicorn.Server(config).run(sockets=[listener])
