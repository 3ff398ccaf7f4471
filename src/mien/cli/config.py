"""Defaults of the command line out of a TOML file: ``mien --config FILE`` or ``MIEN_CONFIG``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mien.errors import InputError

VARIABLE: Final = "MIEN_CONFIG"

_FILES: Final = ("FILE", "DIR", "SPEECH", "OUT", "OUT.png")
"""What help calls options that take paths."""


def load_defaults(path: Path, command: Any) -> dict[str, Any]:  # noqa: ANN401 - Typer's own type
    """Return the defaults that a file sets, in the form that Typer's context takes.

    Args:
        path: a TOML file with a table per command: ``[edit]``, ``[train.listener]``. Keys are long
            options without the dashes in front; paths are relative to the file.
        command: the root command.

    Raises:
        InputError: for a file that cannot be read, and for commands and options that do not exist.
    """
    import tomllib

    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The configuration {path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"The configuration {path} is not valid TOML ({error}).") from error
    return _defaults_of(data, command, path, "")


def _defaults_of(
    data: Mapping[str, Any],
    command: Any,  # noqa: ANN401
    path: Path,
    name: str,
) -> dict[str, Any]:
    commands: Mapping[str, Any] = getattr(command, "commands", {})
    options = {
        option[2:].replace("-", "_"): one
        for one in command.params
        for option in one.opts
        if option.startswith("--")
    }
    out: dict[str, Any] = {}
    for key, value in data.items():
        plain = key.replace("-", "_")
        if key in commands:
            if not isinstance(value, Mapping):
                raise InputError(f"{path}: {key} must be a table, [{key}]; got {value!r}.")
            out[key] = _defaults_of(value, commands[key], path, f"{name} {key}".strip())
        elif name and plain in options:
            option = options[plain]
            out[option.name] = _value(value, option, path, f"[{name}] {key}")
        else:
            valid = [*commands, *(options if name else ())]
            near = difflib.get_close_matches(plain, valid, 1)
            hint = f" Did you mean {near[0]}?" if near else f" Valid: {', '.join(valid)}."
            what = f"the option {key} of mien {name}" if name else f"the command {key}"
            raise InputError(f"{path}: there is not {what}.{hint}")
    return out


def _value(value: Any, option: Any, path: Path, where: str) -> Any:  # noqa: ANN401
    """Return a value as the command line would hold it: text, a list of texts, or a flag."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise InputError(f"{path}: {where} must be true or false; got {value!r}.")
        return value
    if option.multiple:
        several = value if isinstance(value, list) else [value]
        return [_text(one, option, path, where) for one in several]
    return _text(value, option, path, where)


def _text(value: Any, option: Any, path: Path, where: str) -> str:  # noqa: ANN401
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{path}: {where} must be text or a number; got {value!r}.")
    if option.metavar in _FILES:
        return str(path.parent / str(value))
    return str(value)
