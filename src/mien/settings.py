"""Settings of trainings, read from TOML files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from mien.errors import InputError


def read_settings(path: Path, kind: type[Any]) -> dict[str, Any]:
    """Entries of a TOML file, all of which are fields of the dataclass ``kind``.

    Raises:
        InputError: for a missing file, no TOML, or unknown entries.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The settings {path} cannot be opened ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"The settings {path} are not valid TOML ({error}).") from error
    only_known(path, data, kind)
    return data


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
