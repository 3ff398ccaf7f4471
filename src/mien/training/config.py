"""Settings of training runs: typed dataclasses, read from TOML files and the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

from mien.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings that every training has; each training adds its own and may change defaults.

    A training that restricts its values extends ``__post_init__``, which raises
    :class:`InputError`.

    Attributes:
        steps: updates of the weights.
        learning_rate, weight_decay: of AdamW.
        measure_every: steps between measures on held-out data; each also writes a checkpoint.
        save_every: steps between further checkpoints; 0 for none.
        checkpoints: how many of the last checkpoints are kept.
        device: ``auto`` (CUDA, or else the CPU), ``cpu``, ``cuda[:N]`` or ``mps``.
        seed: of all random numbers; on a CPU, runs with the same settings are equal.
    """

    written: ClassVar[tuple[str, ...]] = ()
    """Names of the paths that a run writes; all others must exist before it starts."""

    harmless: ClassVar[tuple[str, ...]] = ("measure_every", "save_every", "checkpoints", "device")
    """Names of settings that may change when a run is resumed."""

    steps: int = 10_000
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    measure_every: int = 500
    save_every: int = 0
    checkpoints: int = 1
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "measure_every", "checkpoints", "batch", "frames", "measured"):
            if getattr(self, name, 1) < 1:
                raise InputError(f"{name} must be at least 1; got {getattr(self, name)}.")

    @classmethod
    def load(
        cls, path: str | Path, *, data: Path | None = None, changes: Sequence[str] = ()
    ) -> Self:
        """Read a TOML file.

        Args:
            path: the file.
            data: folder that relative paths in the file start from; the file's own by default.
            changes: further settings as ``"name=value"``, which win over the file; relative paths
                in them start from the current folder.

        Raises:
            InputError: for a file that cannot be read, for unknown or missing settings and for
                values that cannot be used.
        """
        path = Path(path)
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"The settings {path} cannot be opened ({error.strerror}).") from error
        except ValueError as error:
            raise InputError(f"The settings {path} are not valid TOML ({error}).") from error
        values = _values(cls, table, path.parent if data is None else data, f"The settings {path}")
        values |= _values(cls, dict(map(_assignment, changes)), Path(), "The command line")
        missing = [item.name for item in fields(cls) if _required(item) and item.name not in values]
        if missing:
            raise InputError(f"The settings {path} must set {' and '.join(missing)}.")
        try:
            return cls(**values)
        except InputError as error:
            raise InputError(f"The settings {path} cannot be used: {error}") from error

    def check_files(self) -> None:
        """Make sure that every file and folder that the settings name is there.

        Raises:
            InputError: listing those that are not.
        """
        missing = [f"{name} ({path})" for name, path in self._inputs() if not path.exists()]
        if missing:
            raise InputError(
                f"The data for this training is missing: {', '.join(missing)}. Relative paths "
                "start from the folder given with --data."
            )

    def sizes(self, spec: type[Any]) -> dict[str, Any]:
        """Return the settings that have the names of a net's sizes, the fields of ``spec``."""
        own = {item.name for item in fields(self)}
        return {item.name: getattr(self, item.name) for item in fields(spec) if item.name in own}

    def _inputs(self) -> Iterator[tuple[str, Path]]:
        for item in fields(self):
            value = getattr(self, item.name)
            entries = value.items() if isinstance(value, Mapping) else [("", value)]
            for key, entry in entries:
                if isinstance(entry, Path) and item.name not in self.written:
                    yield f"{item.name}.{key}" if key else item.name, entry


def _assignment(text: str) -> tuple[str, Any]:
    """Split ``name=value``; the value is TOML, or else plain text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"{text!r} sets nothing; write NAME=VALUE.")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()


def _required(item: Any) -> bool:  # noqa: ANN401 - a field
    return item.default is MISSING and item.default_factory is MISSING


def _values(kind: type[Any], table: Mapping[str, Any], folder: Path, source: str) -> dict[str, Any]:
    """Convert the entries of a table to the types of a dataclass's fields."""
    hints = get_type_hints(kind)
    known = [item.name for item in fields(kind)]
    for name in table:
        if name not in known:
            raise InputError(f"{source}: unknown entry {name!r}; valid: {', '.join(known)}.")
    return {
        name: _value(hints[name], entry, folder, f"{source}: {name}")
        for name, entry in table.items()
    }


def _value(kind: Any, value: Any, folder: Path, source: str) -> Any:  # noqa: ANN401
    """Convert one value; paths are relative to ``folder``."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        kind = next(part for part in parts if part is not type(None))
        return _value(kind, value, folder, source)
    if origin is Literal:
        if value in parts:
            return value
        raise InputError(f"{source} is {value!r}; valid: {', '.join(map(str, parts))}.")
    if kind is Path and isinstance(value, str) and value:
        return folder / value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(parts[0], entry, folder, source) for entry in value)
    if isinstance(value, dict):
        if is_dataclass(kind) and isinstance(kind, type):
            return kind(**_values(kind, value, folder, source))
        if parts:
            return {k: _value(parts[1], v, folder, f"{source}.{k}") for k, v in value.items()}
    if isinstance(kind, type) and type(value) is kind:
        return value
    name = "a path" if kind is Path else getattr(origin or kind, "__name__", str(kind))
    raise InputError(f"{source} must be of type {name}; got {value!r}.")
