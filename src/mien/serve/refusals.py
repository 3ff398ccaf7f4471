"""Requests that are not carried out, and the answers that say why."""

from __future__ import annotations

from starlette.responses import JSONResponse

from mien.errors import MienError


class RefusedError(MienError):
    """A request that is not carried out.

    Attributes:
        status: HTTP status that says so.
        code: a word for programs.
        headers: of the answer.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers


def problem(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return an answer that says what was wrong."""
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)
