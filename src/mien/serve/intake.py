"""Read a request: a form with files, or JSON with references to files."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile

from mien.media.container import existing_file
from mien.media.output import IMAGE_SUFFIXES, SOUND_SUFFIXES, VIDEO_SUFFIXES
from mien.serve.refusals import RefusedError
from mien.serve.requests import FILES, SEVERAL
from mien.serve.store import JobStore

Model = TypeVar("Model", bound=BaseModel)

UPLOAD_ID: Final = re.compile(r"file-[0-9a-f]{32}")

_MOST_FILES: Final = 50
_MOST_FIELDS: Final = 100
_SUFFIXES: Final = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, *SOUND_SUFFIXES, ".m4a", ".aac", ".ts")


@dataclass(slots=True)
class Parts:
    """The fields of a request, and the files that came with it.

    Attributes:
        fields: by name; files are there as references.
        files: where the file of such a reference is.
        digest: of everything, to recognise a request that comes again.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    digest: str = ""

    def model(self, kind: type[Model]) -> Model:
        """Return the fields as a request of one kind.

        Raises:
            RequestValidationError: naming the fields that cannot be used.
        """
        try:
            return kind.model_validate(self.fields)
        except ValidationError as error:
            raise RequestValidationError(error.errors(), body=None) from error


@dataclass(frozen=True, slots=True)
class Files:
    """Finds the files that requests of one owner refer to.

    Attributes:
        store: with the uploads.
        owner: whose uploads may be used.
        roots: folders whose files may be used by path.
        parts: with the files of this request.
    """

    store: JobStore
    owner: str
    roots: tuple[Path, ...]
    parts: Parts = field(default_factory=Parts)

    def __call__(self, reference: str) -> Path:
        """Return the file behind a reference.

        Raises:
            RefusedError: where there is none that this owner may use.
        """
        if reference in self.parts.files:
            return self.parts.files[reference]
        if UPLOAD_ID.fullmatch(reference):
            path = self.store.upload(reference, self.owner)
            if path is None or not path.is_file():
                raise RefusedError(404, "no_upload", f"There is no upload {reference}.")
            return path
        return allowed_path(reference, self.roots)


def allowed_path(text: str, roots: tuple[Path, ...]) -> Path:
    """Return a file inside one of the folders, all links followed.

    Raises:
        RefusedError: for anything else; it does not say whether the file exists.
    """
    for root in roots:
        try:
            path = (root / text).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            continue
        if path.is_relative_to(root) and path.is_file():
            return existing_file(path)
    raise RefusedError(
        422, "no_file", "No file of that name is among the uploads or in a folder of this server."
    )


async def read_parts(request: Request, folder: Path | None) -> Parts:
    """Read a request; the files of a form are stored in ``folder``.

    Raises:
        RefusedError: for a body that is neither, or files where none are expected.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RefusedError(415, "bad_encoding", "Send the body as it is, not compressed.")
    if kind == "application/json":
        return _json_parts(await request.body())
    if kind not in ("multipart/form-data", "application/x-www-form-urlencoded"):
        raise RefusedError(
            415, "bad_type", "The body must be multipart/form-data or application/json."
        )
    parts = Parts()
    async with request.form(max_files=_MOST_FILES, max_fields=_MOST_FIELDS) as form:
        digest = hashlib.sha256()
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name not in FILES or folder is None:
                    raise RefusedError(422, "bad_field", f"The field {name[:40]!r} is no file.")
                path = folder / f"{len(parts.files)}{suffix_of(value.filename)}"
                content = await run_in_threadpool(save, value, path)
                value = f"part:{path.name}"
                parts.files[value] = path
                digest.update(content)
            else:
                value = _value(name, value)
            digest.update(json.dumps([name, value], sort_keys=True).encode())
            if name in SEVERAL:
                parts.fields.setdefault(name, []).append(value)
            elif name in parts.fields:
                raise RefusedError(422, "bad_field", f"The field {name[:40]!r} came twice.")
            else:
                parts.fields[name] = value
        parts.digest = digest.hexdigest()
    return parts


def save(upload: UploadFile, path: Path) -> bytes:
    """Store an uploaded file, and return a digest of its content."""
    digest = hashlib.sha256()
    with path.open("xb") as file:
        shutil.copyfileobj(upload.file, file, 2**20)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.digest()


def suffix_of(name: str | None) -> str:
    """Return the suffix of an uploaded file's name if it is a known one; its content decides."""
    suffix = Path(name or "").suffix.lower()
    return suffix if suffix in _SUFFIXES else ""


def _json_parts(body: bytes) -> Parts:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(400, "bad_json", "The body is not valid JSON.") from None
    if not isinstance(data, dict):
        raise RefusedError(422, "bad_json", "The body must be a JSON object.")
    text = json.dumps(data, sort_keys=True).encode("utf-8", "surrogatepass")
    return Parts(data, {}, hashlib.sha256(text).hexdigest())


def _value(name: str, text: str) -> Any:  # noqa: ANN401 - any plain value
    """Return the value of a form field; the timeline is JSON there."""
    if name != "timeline":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RefusedError(422, "bad_json", "The timeline is not valid JSON.") from None
