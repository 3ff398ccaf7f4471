"""Settings of trainings, read from TOML files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from mien.errors import InputError


def read_settings(
    path: Path, kind: type[Any], *, needed: Sequence[str] = (), paths: Sequence[str] = ()
) -> dict[str, Any]:
    """Entries of a TOML file, all of which are fields of the dataclass ``kind``.

    Args:
        path: the file.
        kind: a dataclass.
        needed: entries that must be there.
        paths: entries that are relative to the file; they come back relative to here.

    Raises:
        InputError: for a missing file, no TOML, unknown or missing entries.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The settings {path} cannot be opened ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"The settings {path} are not valid TOML ({error}).") from error
    only_known(path, data, kind)
    missing = [name for name in needed if not data.get(name)]
    if missing:
        raise InputError(f"The settings {path} must name {' and '.join(missing)}.")
    data |= {name: str(path.parent / data[name]) for name in paths if data.get(name)}
    return data


def part_of(path: Path, data: dict[str, Any], name: str, kind: type[Any]) -> None:
    """Turn the table ``name`` of ``data``, where there is one, into the dataclass ``kind``.

    Raises:
        InputError: for unknown entries.
    """
    if name in data:
        only_known(path, data[name], kind)
        data[name] = kind(**data[name])


def only_known(path: Path, data: Mapping[str, Any], kind: type[Any]) -> None:
    """Refuse entries that are no fields of the dataclass ``kind``.

    Raises:
        InputError: naming the entry and the valid ones.
    """
    known = [item.name for item in fields(kind)]
    for name in data:
        if name not in known:
            raise InputError(
                f"The settings {path} have the unknown entry {name!r}; valid: {', '.join(known)}."
            )
