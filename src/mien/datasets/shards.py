"""Arrays of many clips in few uncompressed files, of which any part is read without the rest.

A folder holds pairs of files. ``NAME.shard`` holds the bytes of arrays, one after another;
``NAME.jsonl`` has a line per clip, written when its arrays are complete and on the disk::

    {"clip": "M003/front/happy/level_1/001", "arrays": {"mask": ["|u1", [512, 512], 0], …}}

The numbers are dtype, shape and place in the shard. Several writers, each with a pair of its own,
can work in one folder at the same time. Bytes that no index names (a killed run leaves part of a
clip) are ignored.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.media.output import output_error

Array = npt.NDArray[Any]

Arrays = Iterable[tuple[str, Iterable[Array]]]
"""Arrays by name, each in parts that are joined along the first axis."""

_LARGEST: Final = 2**30
"""Bytes of a shard from which the next clip begins another one."""


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array in a shard.

    Attributes:
        file: the shard.
        dtype, shape: of the array; it has at least one axis.
        offset: place of its first byte.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int = 0, stop: int | None = None) -> Array:
        """Read the rows from ``start`` to ``stop``, all by default.

        Raises:
            InputError: when the shard is missing or cut off, or a value is not finite.
        """
        first, last, _ = slice(start, stop).indices(len(self))
        kind, row = np.dtype(self.dtype), math.prod(self.shape[1:])
        count = max(0, last - first) * row
        try:
            place = self.offset + first * row * kind.itemsize
            values = np.fromfile(self.file, kind, count, offset=place)
        except OSError as error:
            raise InputError(f"{self.file} cannot be read ({error.strerror or error}).") from error
        if len(values) != count:
            raise InputError(f"{self.file} is cut off; remove it and its index, and make it again.")
        if kind.kind == "f" and not np.isfinite(values).all():
            raise InputError(f"{self.file} holds values that are not finite; make it again.")
        return values.reshape(-1, *self.shape[1:])


def read_index(folder: Path) -> dict[str, dict[str, StoredArray]]:
    """Return the arrays of every clip under ``folder``, by name, in order of the clips.

    Raises:
        InputError: when an index is damaged.
    """
    out: dict[str, dict[str, StoredArray]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines(keepends=True):
            if not line.endswith("\n"):  # a killed run was writing it
                continue
            try:
                row = json.loads(line)
                out[row["clip"]] = {
                    name: StoredArray(path.with_suffix(".shard"), dtype, tuple(shape), offset)
                    for name, (dtype, shape, offset) in row["arrays"].items()
                }
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(f"{path} is no index of clips ({error}).") from error
    return dict(sorted(out.items()))


class ShardWriter:
    """Adds clips to a pair of files of its own in ``folder``, which it makes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shard: int | None = None
        self._index: int | None = None

    def add(self, clip: str, arrays: Arrays) -> None:
        """Add a clip, whole or not at all; one part of an array is in memory at a time.

        Raises:
            OutputError: when the disk is full or writing fails.
        """
        shard, index = self._files()
        starts = {file: os.lseek(file, 0, os.SEEK_CUR) for file in (shard, index)}
        try:
            stored = {name: self._put_array(shard, parts) for name, parts in arrays}
            self._put(shard, b"", flush=True)
            line = json.dumps({"clip": clip, "arrays": stored}) + "\n"
            self._put(index, line.encode(), flush=True)
        except BaseException:
            for file, start in starts.items():
                with suppress(OSError):  # what remains is in no index
                    os.truncate(file, start)
                    os.lseek(file, start, os.SEEK_SET)
            raise

    def close(self) -> None:
        """Close the files; the next clip begins new ones."""
        for file in (self._shard, self._index):
            if file is not None:
                os.close(file)
        self._shard = self._index = None

    def _files(self) -> tuple[int, int]:
        """Return the files to write to, new ones where there are none or the shard is large."""
        if self._shard is not None and os.lseek(self._shard, 0, os.SEEK_CUR) >= _LARGEST:
            self.close()
        if self._shard is None or self._index is None:
            name = self._folder / uuid4().hex[:12]
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._shard = os.open(name.with_suffix(".shard"), flags, 0o666)
                self._index = os.open(name.with_suffix(".jsonl"), flags, 0o666)
            except OSError as error:
                raise output_error(error, self._folder) from error
        return self._shard, self._index

    def _put_array(self, file: int, parts: Iterable[Array]) -> tuple[str, list[int], int]:
        """Write an array and return what the index says of it."""
        offset, rows = os.lseek(file, 0, os.SEEK_CUR), 0
        kind, shape = "", (0,)
        for part in parts:
            rows += len(part)
            kind, shape = part.dtype.str, part.shape
            self._put(file, np.ascontiguousarray(part).tobytes())
        return kind, [rows, *shape[1:]], offset

    def _put(self, file: int, data: bytes, *, flush: bool = False) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(file, left) :]
            if flush:
                os.fsync(file)
        except OSError as error:
            raise output_error(error, self._folder) from error


def whole(arrays: Mapping[str, Array]) -> Iterator[tuple[str, Iterable[Array]]]:
    """Yield arrays that are in memory as :meth:`ShardWriter.add` takes them."""
    for name, values in arrays.items():
        yield name, (values,)
