"""What the OpenAPI document says beyond the code: bodies, examples, answers."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from mien.serve.requests import (
    FILES,
    SEVERAL,
    EditRequest,
    FeelRequest,
    PreviewRequest,
    TalkRequest,
)

DESCRIPTION: Final = """\
Work takes a while: a request enters a job, whose state, events, result and report are asked for
by its id. Files come with a request (`multipart/form-data`), were uploaded before, or lie in a
folder that the server may read. Where the server has tokens, every request needs one:
`Authorization: Bearer TOKEN`. A job is seen by its token alone.
"""


class JobLinks(BaseModel):
    """Where more is to be had; ``result`` and ``report`` once the job is done."""

    self: str
    events: str
    result: str | None = None
    report: str | None = None


class JobProgress(BaseModel):
    """How far a running job is."""

    done: int
    total: int | None
    frames_per_second: float | None
    seconds_left: float | None


class Problem(BaseModel):
    """What was wrong: a word for programs, a sentence for people."""

    code: str
    message: str


class ProblemAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: Problem


class JobAnswer(BaseModel):
    """A job; times are seconds since 1970."""

    id: str
    verb: str
    state: str
    created: float
    started: float | None = None
    ended: float | None = None
    expires: float | None = None
    waiting: int | None = None
    progress: JobProgress | None = None
    error: Problem | None = None
    links: JobLinks


_MEANINGS: Final = {
    400: "The request is malformed.",
    401: "The token is missing or wrong.",
    404: "There is no such thing, or it is another's.",
    408: "The request came too slowly.",
    409: "The job is not done.",
    413: "The request is too large.",
    415: "The kind of the body is not accepted.",
    422: "A field or a file cannot be used.",
    429: "Too much waits already; try again after Retry-After seconds.",
    503: "Not ready.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the answers with these statuses for the document."""
    return {
        status: {"model": ProblemAnswer, "description": _MEANINGS[status]} for status in statuses
    }


_EXAMPLES: Final[dict[type[BaseModel], dict[str, Any]]] = {
    EditRequest: {"input": "clips/anna.mp4", "emotion": "happy:0.7,surprised:0.4"},
    TalkRequest: {"portrait": "anna.jpg", "speech": "hello.wav", "emotion": "auto"},
    FeelRequest: {"input": "hello.wav"},
    PreviewRequest: {"input": "clips/anna.mp4", "seconds": 1.5, "emotion": "sad:0.6"},
}


def body_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the body of a request for the document: JSON, or a form with files."""
    schema = kind.model_json_schema()
    definitions = schema.pop("$defs", {})
    inlined = _inlined(schema, definitions)
    form = {**inlined, "properties": dict(inlined["properties"])}
    for name in FILES:
        if name in form["properties"]:
            file = {"type": "string", "format": "binary"}
            form["properties"][name] = {"type": "array", "items": file} if name in SEVERAL else file
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "application/json": {"schema": inlined, "example": _EXAMPLES[kind]},
            },
        }
    }


def _inlined(value: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """Return a schema without references."""
    if isinstance(value, list):
        return [_inlined(item, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return _inlined(definitions[value["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(item, definitions) for name, item in value.items()}
