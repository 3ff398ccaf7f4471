"""The rows of a batch: read from a manifest or a folder, and checked before any work."""

from __future__ import annotations

import csv
import hashlib
import inspect
import json
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin, get_type_hints

from mien.errors import InputError
from mien.media.output import IMAGE_SUFFIXES, STILL_SUFFIXES, VIDEO_SUFFIXES
from mien.utils.text import shown

if TYPE_CHECKING:
    pass

_VERBS: Final = ("edit", "talk")
_OWN: Final = ("verb", "input", "speech", "output")
_NOT_IN_ROWS: Final = (
    "progress", "on_frame", "cancel", "rate", "settings", "options", "encoding", "portrait",
)  # fmt: skip
_PATHS: Final = ("input", "speech", "output", "timeline", "restorer", "embedder", "connector")
_LISTS: Final = ("like", "neutral")
_LIST_SEPARATOR: Final = ";"


@dataclass(frozen=True, slots=True)
class Row:
    """One output to make.

    Attributes:
        number: place in the manifest, from 1.
        verb: ``edit`` or ``talk``.
        options: arguments of the verb, settings of its engine and of the encoder, by name.
    """

    number: int
    verb: str
    options: Mapping[str, Any]

    @property
    def output(self) -> str:
        """The file to write, a path or an address."""
        return str(self.options["output"])

    @property
    def key(self) -> str:
        """Return what tells it from every other request, 16 hexadecimal digits."""
        text = json.dumps([self.verb, dict(self.options)], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_address(value: object) -> bool:
    """Return whether a value is an address for fsspec rather than a path."""
    return "://" in str(value)


def read_rows(
    source: Path, defaults: Mapping[str, Any], folder: str | None = None
) -> tuple[Row, ...]:
    """Read a manifest (CSV with a header, or one JSON object per line), or list a folder.

    Args:
        source: manifest or folder; paths in a manifest are relative to it.
        defaults: options of rows that do not say otherwise.
        folder: where outputs go that a row does not name.

    Raises:
        InputError: naming the row, for anything that is not right.
    """
    if source.is_dir():
        raw: list[dict[str, Any]] = [{"input": str(path)} for path in _media_in(source)]
        if not raw:
            raise InputError(f"There are no pictures or videos in {shown(source)}.")
        base = Path()
    else:
        raw, base = _manifest(source), source.parent
    rows = tuple(
        _row(number, {**defaults, **given}, base, folder) for number, given in enumerate(raw, 1)
    )
    seen: dict[str, int] = {}
    for row in rows:
        if row.output in seen:
            raise InputError(
                f"Rows {seen[row.output]} and {row.number} have the same output {row.output}."
            )
        seen[row.output] = row.number
    return rows


def arguments(row: Row) -> dict[str, Any]:
    """Return the arguments with which the verb of a row is called.

    Raises:
        InputError: for settings that do not belong to its engine.
    """
    from mien.media.encode import EncodingSettings

    own = dict(row.options)
    engine = str(own.get("engine", "mesh"))
    encoding = {f.name: own.pop(f.name) for f in fields(EncodingSettings) if f.name in own}
    kind = _settings_of(row.verb, engine)
    settings = {f.name: own.pop(f.name) for f in fields(kind) if f.name in own} if kind else {}
    if encoding:
        own["encoding"] = EncodingSettings(**encoding)
    if settings and kind:
        own["settings" if engine == "mesh" else "options"] = kind(**settings)
    if row.verb == "talk":
        own["portrait"] = own.pop("input")
    return own


def _media_in(folder: Path) -> Iterable[Path]:
    suffixes = (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)
    found = (path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def _manifest(path: Path) -> list[dict[str, Any]]:
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise InputError(
            f"{shown(path)} must be a folder, a .csv file with a header, or a .jsonl file."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InputError(f"{shown(path)} cannot be read ({reason}).") from error
    if path.suffix.lower() == ".csv":
        table = csv.DictReader(text.splitlines(), restkey="", strict=True)
        try:
            rows = [
                {name: value for name, value in row.items() if value not in ("", None)}
                for row in table
            ]
        except csv.Error as error:
            raise InputError(f"{shown(path)}, line {table.line_num}: {error}.") from error
        for number, row in enumerate(rows, 1):
            if "" in row:
                raise InputError(f"Row {number} has more fields than {shown(path)} has columns.")
    else:
        rows = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                rows.append(_json_object(line, number, path))
    if not rows:
        raise InputError(f"{shown(path)} has no rows.")
    return rows


def _json_object(line: str, number: int, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{shown(path)}, line {number}: not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise InputError(f"{shown(path)}, line {number}: expected an object {{…}}.")
    return {name: one for name, one in value.items() if one is not None}


def _row(number: int, given: dict[str, Any], base: Path, folder: str | None) -> Row:
    verb = given.pop("verb", "talk" if "speech" in given else "edit")
    if verb not in _VERBS:
        raise InputError(f"Row {number}: there is no verb {shown(verb)}. Valid: edit, talk.")
    needed = ("input", "speech") if verb == "talk" else ("input",)
    for name in needed:
        if not given.get(name):
            raise InputError(f"Row {number} has no {name}.")
    if "output" not in given:
        if folder is None:
            raise InputError(f"Row {number} has no output; name it, or a folder with -o.")
        given["output"] = _output_in(folder, str(given["input"]), verb)
        outer: tuple[str, ...] = ("output",)
    else:
        outer = ()
    kinds = _kinds(verb, str(given.get("engine", "mesh")), number)
    options: dict[str, Any] = {}
    for name, value in given.items():
        if name not in kinds:
            raise InputError(
                f"Row {number}: {verb} has no option {shown(name)}. Valid: "
                f"{', '.join(sorted(kinds))}."
            )
        if name in _LISTS:
            options[name] = [_placed(one, base) for one in _listed(value)]
        elif name in _PATHS:
            options[name] = str(value) if name in outer else _placed(value, base)
        elif name == "face" and (base / str(value)).is_file():
            options[name] = _placed(value, base)
        else:
            options[name] = _converted(name, value, kinds[name], number)
    return Row(number, verb, options)


def _output_in(folder: str, source: str, verb: str) -> str:
    """Return where the output for an input goes: its name, in a format that can be written."""
    name = Path(source.rsplit("/", 1)[-1])
    suffix = name.suffix.lower()
    still = suffix in IMAGE_SUFFIXES
    if verb == "talk" or (not still and suffix not in VIDEO_SUFFIXES):
        name = name.with_suffix(".mp4")
    elif still and suffix not in (*STILL_SUFFIXES, ".gif", ".apng"):
        name = name.with_suffix(".png")
    return f"{folder.rstrip('/')}/{name}"


def _listed(value: object) -> Sequence[Any]:
    if isinstance(value, list):
        return value
    return [one.strip() for one in str(value).split(_LIST_SEPARATOR) if one.strip()]


def _placed(value: object, base: Path) -> str:
    return str(value) if is_address(value) else str(base / str(value))


def _settings_of(verb: str, engine: str) -> type[Any] | None:
    """Return the class of an engine's settings; None for edits with the mesh, which has none."""
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.engines.svd.settings import SvdSettings
    from mien.pipelines.mesh_talk import TalkSettings

    kinds: dict[str, type[Any]] = {"edtalk": EDTalkSettings, "svd": SvdSettings}
    return kinds.get(engine, TalkSettings if verb == "talk" else None)


def _kinds(verb: str, engine: str, number: int) -> dict[str, Any]:
    """Return the options of a verb with an engine, and their types."""
    from mien import api
    from mien.media.encode import EncodingSettings
    from mien.pipelines.start import EDITORS, TALKERS

    engines = EDITORS if verb == "edit" else TALKERS
    if engine not in engines:
        raise InputError(
            f"Row {number}: {verb} has no engine {shown(engine)}. Valid: {', '.join(engines)}."
        )
    names = [*inspect.signature(getattr(api, verb)).parameters, "input"]
    out: dict[str, Any] = dict.fromkeys(name for name in names if name not in _NOT_IN_ROWS)
    out |= {"intensity": float, "overwrite": bool, "provenance": bool, "max_pixels": int}
    kinds: list[type[Any]] = [EncodingSettings]
    settings = _settings_of(verb, engine)
    for kind in kinds if settings is None else [*kinds, settings]:
        hints = get_type_hints(kind)
        out |= {field.name: hints[field.name] for field in fields(kind)}
    return out


def _converted(name: str, value: Any, kind: Any, number: int) -> Any:  # noqa: ANN401
    """Return a value of a manifest, which in CSV is text, as its option takes it."""
    if not isinstance(value, str) or kind is None:
        return value
    union = get_origin(kind) in (Union, types.UnionType)
    accepted = [one for one in (get_args(kind) if union else (kind,)) if one is not type(None)]
    for one in (bool, int, float, str):
        if one not in accepted:
            continue
        if one is bool:
            known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
            if value.strip().lower() in known:
                return known[value.strip().lower()]
            continue
        try:
            return one(value)
        except ValueError:
            continue
    if all(one not in (bool, int, float) for one in accepted):
        return value
    words = {bool: "true or false", int: "a whole number", float: "a number"}
    expected = " or ".join(words[one] for one in accepted if one in words)
    raise InputError(f"Row {number}: {name} must be {expected}; got {shown(value)}.")
