"""Around every request: who may send it, how slowly, and what is logged and counted of it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.datastructures import Headers
from uvicorn.protocols.http.h11_impl import H11Protocol

from mien.serve.limits import MEGABYTE
from mien.serve.refusals import RefusedError, problem

if TYPE_CHECKING:
    from starlette.responses import JSONResponse
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from mien.serve.service import Service

LOG: Final = logging.getLogger("mien.serve")

HEADER_SECONDS: Final = 10.0
"""How long a client may take to send the head of a request."""

SILENCE_SECONDS: Final = 20.0
"""How long a client may be silent within a body."""

_LEAST_BYTES_PER_SECOND: Final = 2_000
_SLOW_START_SECONDS: Final = 30.0
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_FIELDS: Final = ("job", "verb", "state", "code", "request", "method", "route", "status", "ms")
"""What a line of the log may say besides its message; never a name or content of a file."""


class PromptProtocol(H11Protocol):
    """HTTP/1.1 that closes connections whose request does not come in time."""

    header_seconds = HEADER_SECONDS
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the client its time for the first request."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._late = self.loop.call_later(self.header_seconds, self._close_if_late)

    def data_received(self, data: bytes) -> None:
        """Take what came; the head of a further request has its time too."""
        if self.cycle is not None and self.cycle.response_complete and self._late is None:
            self._late = self.loop.call_later(self.header_seconds, self._close_if_late)
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before and self._late is not None:
            self._late.cancel()
            self._late = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer with the connection."""
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)

    def _close_if_late(self) -> None:
        self.transport.close()


class Guard:
    """ASGI middleware of the whole server."""

    def __init__(self, app: ASGIApp, service: Service, registry: CollectorRegistry) -> None:
        self._app, self._service = app, service
        self._requests = Counter(
            "mien_requests", "Requests.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "mien_request_seconds", "Time until the answer began.", ("route",), registry=registry
        )
        self._most_bytes = service.limits.upload_mb * MEGABYTE
        registry.register(_Jobs(service))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless it is refused, and record it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        begun, request, status = time.perf_counter(), token_hex(8), 0

        async def record(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                ]
                self._record(scope, status, request, time.perf_counter() - begun)
            await send(message)

        refused = self._refusal(Headers(scope=scope), scope.get("method", "GET"))
        if scope["type"] == "websocket":
            if refused is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
        elif refused is not None:
            await refused(scope, receive, record)
        else:
            await self._app(scope, _prompt(receive, self._most_bytes), record)

    def _refusal(self, headers: Headers, method: str) -> JSONResponse | None:
        """Return the answer to requests that are too large, or that a web page elsewhere caused."""
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname if "@" not in host else None
        if not self._service.tokens.required and name not in _LOOPBACK:
            return problem(421, "bad_host", "This server answers only as localhost.")
        origin = headers.get("origin")
        elsewhere = origin is not None and urlsplit(origin).netloc != host
        if elsewhere and method not in ("GET", "HEAD") and not self._service.tokens.required:
            return problem(403, "bad_origin", "Requests of other web pages are refused.")
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length[:20]) > self._most_bytes:
            return problem(413, "too_large", _TOO_LARGE, _CLOSE)
        return None

    def _record(self, scope: Scope, status: int, request: str, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(route).observe(seconds)
        LOG.info(
            "request",
            extra={
                "request": request,
                "method": method,
                "route": route,
                "status": status,
                "ms": round(1000 * seconds, 1),
            },
        )


_CLOSE: Final = {"Connection": "close"}
_TOO_LARGE: Final = "The request is larger than this server accepts."
_METHODS: Final = ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH")


class _Jobs(Collector):
    """Metrics of the jobs, read from the store when they are asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        jobs = GaugeMetricFamily("mien_jobs", "Jobs that are kept.", labels=("state",))
        for state, count in self._service.store.counts().items():
            jobs.add_metric((state,), count)
        yield jobs
        ended = CounterMetricFamily("mien_jobs_ended", "Jobs that ended.", labels=("verb", "state"))
        for labels, number in list(self._service.runner.ended.items()):
            ended.add_metric(labels, number)
        yield ended


def _prompt(receive: Receive, most_bytes: float) -> Receive:
    """Return ``receive`` that gives up on a client which sends too slowly or too much.

    Raises:
        RefusedError: in whatever reads the body.
    """
    begun: float | None = None
    count, whole = 0, False

    async def receive_in_time() -> Message:
        nonlocal begun, count, whole
        if whole:  # waits for the client to leave, as long as the answer takes
            return await receive()
        now = time.monotonic()
        begun = begun or now
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                message = await receive()
        except TimeoutError:
            raise _too_slow() from None
        count += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if count > most_bytes:
            raise RefusedError(413, "too_large", _TOO_LARGE, _CLOSE)
        late = time.monotonic() - begun - _SLOW_START_SECONDS
        if not whole and late > 0 and count < late * _LEAST_BYTES_PER_SECOND:
            raise _too_slow()
        return message

    return receive_in_time


def _too_slow() -> RefusedError:
    return RefusedError(408, "too_slow", "The request came too slowly.", _CLOSE)


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)
