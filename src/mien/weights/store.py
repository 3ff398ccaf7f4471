"""The folder of converted weights on this machine, and which weights a result used."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any, Final

from mien.errors import WeightsError
from mien.media.output import whole_file
from mien.utils.text import shown
from mien.weights.bundled import asset
from mien.weights.manifest import Entry, entry

_INDEX: Final = "weights.json"
_LICENCES: Final = "licences.json"

CACHE_VARIABLE: Final = "MIEN_CACHE"
"""Environment variable that names another folder."""


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """Converted weights in the store.

    Attributes:
        name: as in the manifest.
        file: relative to the store.
        sha256: of that file.
        size: bytes.
        licence: as its authors state it.
        origin: repository, file and revision, or the path it was converted from.
        origin_sha256: of the published file.
    """

    name: str
    file: str
    sha256: str
    size: int
    licence: str
    origin: str
    origin_sha256: str


@dataclass(frozen=True, slots=True)
class Weights:
    """A net or preset that a result was made with.

    Attributes:
        name: in the manifest, or of the file that ships with mien.
        sha256: of the file.
        licence: SPDX name, or as its authors state it.
    """

    name: str
    sha256: str
    licence: str


def cache_folder() -> Path:
    """Return ``$MIEN_CACHE``, or ``mien`` in the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "mien"


class Store:
    """A folder of converted weights (:func:`cache_folder` by default) and their index."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder is not None else cache_folder()

    @property
    def downloads(self) -> Path:
        """Folder of the published files as downloaded."""
        return self.folder / "downloads"

    def records(self) -> dict[str, StoredWeights]:
        """Return what the store holds, by name."""
        out = {}
        for name, record in self._read(_INDEX).items():
            out[name] = _stored(record)
            if out[name] is None:
                raise WeightsError(
                    f"{self.folder / _INDEX} is damaged or of another version of mien (its entry "
                    f"{shown(name)}); remove it, and fetch or convert the weights again."
                )
        return {name: record for name, record in out.items() if record is not None}

    def locate(self, name: str) -> Path:
        """Return the file of converted weights.

        Raises:
            WeightsError: when it is not in the store, with the command that gets it.
        """
        path = self._file(name)
        if path is not None:
            return path
        item = entry(name)
        how = f"mien weights fetch {item.group} --accept-licence"
        if not item.fetchable:
            how = f"mien weights convert {name} FOLDER"
        raise WeightsError(
            f"The weights {name} ({item.about}) are not in {self.folder}. Get them with: {how}"
        )

    def intact(self, name: str) -> Path:
        """Return the file of converted weights, compared with its checksum.

        Raises:
            WeightsError: when it is not in the store, or damaged.
        """
        path = self.locate(name)
        problem = self.damage(name)
        if problem is not None:
            raise WeightsError(
                f"The weights {name} are damaged: {problem}. Fetch or convert them again."
            )
        return path

    def has(self, name: str) -> bool:
        """Return whether the store has these weights."""
        return self._file(name) is not None

    def _file(self, name: str) -> Path | None:
        record = self.records().get(name)
        path = self.folder / record.file if record else None
        return path if path is not None and path.is_file() else None

    def path_for(self, item: Entry) -> Path:
        """Return where converted weights go; creates the folder."""
        path = self.folder / f"{item.name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def record(self, item: Entry, path: Path, origin: str, origin_sha256: str) -> StoredWeights:
        """Add converted weights to the index."""
        record = StoredWeights(
            item.name,
            str(path.relative_to(self.folder)),
            sha256_of(path),
            path.stat().st_size,
            item.licence,
            origin,
            origin_sha256,
        )
        self._write(_INDEX, {**self._read(_INDEX), item.name: asdict(record)})
        return record

    def accepted(self, item: Entry) -> bool:
        """Return whether the user has accepted the licence before."""
        return self._read(_LICENCES).get(item.name) == item.licence

    def accept(self, item: Entry) -> None:
        """Remember that the licence was accepted."""
        self._write(_LICENCES, {**self._read(_LICENCES), item.name: item.licence})

    def damage(self, name: str) -> str | None:
        """Describe what is wrong with stored weights; None when they are intact.

        Raises:
            WeightsError: when they were never in the store.
        """
        record = self.records().get(name)
        if record is None:
            self.locate(name)
            return None
        path = self.folder / record.file
        if not path.is_file():
            return f"{path} is gone"
        if path.stat().st_size != record.size:
            return f"{path} has {path.stat().st_size} bytes instead of {record.size}"
        found = sha256_of(path)
        if found != record.sha256:
            return f"{path} has SHA-256 {found[:12]}… instead of {record.sha256[:12]}…"
        return None

    def _read(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        if not path.is_file():
            return {}
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise WeightsError(f"{path} cannot be read ({error}); remove it.") from error
        if not isinstance(data, dict):
            raise WeightsError(f"{path} holds no table of weights; remove it.")
        return data

    def _write(self, name: str, data: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(self.folder / name) as part:
            part.write_text(json.dumps(data, indent=1), encoding="utf-8")


def _stored(record: object) -> StoredWeights | None:
    """Return an entry of the index; None for one that no version of mien wrote."""
    kinds = {one.name: int if one.name == "size" else str for one in fields(StoredWeights)}
    if not isinstance(record, dict) or record.keys() != kinds.keys():
        return None
    if any(type(record[name]) is not kind for name, kind in kinds.items()):
        return None
    file = PurePath(record["file"])
    if file.is_absolute() or ".." in file.parts or "\0" in record["file"]:
        return None
    return StoredWeights(**record)


def weights_used(names: Iterable[str], store: Store | None = None) -> tuple[Weights, ...]:
    """Look up hash and licence of the weights that a result was made with, each once.

    Args:
        names: manifest names (``group/part``), which ``store`` must hold, or names of files that
            ship with mien.
        store: where converted weights are; needed for manifest names only.
    """
    records = store.records() if store is not None else {}
    return tuple(
        Weights(name, records[name].sha256, records[name].licence)
        if name in records
        else _bundled(name)
        for name in dict.fromkeys(names)
    )


def own_weights(path: Path) -> Weights:
    """Describe a file of the user's own."""
    return Weights(path.name, sha256_of(path), "the user's own")


@lru_cache(maxsize=64)
def _bundled(name: str) -> Weights:
    return Weights(name, hashlib.sha256(asset(name).read_bytes()).hexdigest(), "Apache-2.0")


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
