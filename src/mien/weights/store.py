"""Where published weights are kept on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from mien.errors import WeightsError
from mien.media.output import whole_file
from mien.weights.manifest import Entry, entry

_INDEX: Final = "weights.json"
_LICENCES: Final = "licences.json"
_BLOCK: Final = 1 << 20

CACHE_VARIABLE: Final = "MIEN_CACHE"
"""Environment variable that names another folder."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Weights that are here.

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


def cache_folder() -> Path:
    """``$MIEN_CACHE``, or ``mien`` in the user's folder for caches."""
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
    """The folder of converted weights, with an index of what they are.

    Args:
        folder: where; :func:`cache_folder` by default.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder is not None else cache_folder()

    @property
    def downloads(self) -> Path:
        """Where published files are kept as they came."""
        return self.folder / "downloads"

    def kept(self) -> dict[str, Kept]:
        """What is here, by name."""
        data = self._read(_INDEX)
        try:
            return {name: Kept(**record) for name, record in data.items()}
        except TypeError as error:
            raise WeightsError(
                f"{self.folder / _INDEX} is of another version of mien; fetch the weights again."
            ) from error

    def locate(self, name: str) -> Path:
        """The file of converted weights.

        Raises:
            WeightsError: when it is not here, saying how to get it.
        """
        record = self.kept().get(name)
        path = self.folder / record.file if record else None
        if path is not None and path.is_file():
            return path
        item = entry(name)
        how = f"mien weights fetch {item.group} --accept-licence"
        if not item.repository:
            how = f"mien weights convert {name} FOLDER"
        raise WeightsError(
            f"The weights {name} ({item.about}) are not in {self.folder}. Get them with: {how}"
        )

    def has(self, name: str) -> bool:
        """Whether weights are here."""
        record = self.kept().get(name)
        return record is not None and (self.folder / record.file).is_file()

    def path_for(self, item: Entry) -> Path:
        """Where converted weights go; makes the folder."""
        path = self.folder / f"{item.name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def note(self, item: Entry, path: Path, origin: str, origin_sha256: str) -> Kept:
        """Put converted weights into the index."""
        record = Kept(
            item.name,
            str(path.relative_to(self.folder)),
            sha256_of(path),
            path.stat().st_size,
            item.licence,
            origin,
            origin_sha256,
        )
        index = {name: asdict(one) for name, one in self.kept().items()}
        self._write(_INDEX, {**index, item.name: asdict(record)})
        return record

    def accepted(self, item: Entry) -> bool:
        """Whether the user has accepted the licence before."""
        return self._read(_LICENCES).get(item.name) == item.licence

    def accept(self, item: Entry) -> None:
        """Remember that the licence was accepted."""
        self._write(_LICENCES, {**self._read(_LICENCES), item.name: item.licence})

    def damage(self, name: str) -> str | None:
        """What is wrong with weights that should be here; None where nothing is.

        Raises:
            WeightsError: when they never were.
        """
        record = self.kept().get(name)
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
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path} cannot be read ({error}); remove it.") from error
        return data if isinstance(data, dict) else {}

    def _write(self, name: str, data: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(self.folder / name) as part:
            part.write_text(json.dumps(data, indent=1), encoding="utf-8")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
