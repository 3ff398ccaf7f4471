"""Output files: checked before any work, written completely or not at all."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Final

from mien.errors import InputError, OutputError
from mien.utils.text import shown

if sys.platform != "win32":
    import fcntl

VIDEO_SUFFIXES: Final = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")
ANIMATION_SUFFIXES: Final = (".gif", ".webp", ".apng", ".png")
STILL_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif")
"""Suffixes of the pictures that can be written."""

IMAGE_SUFFIXES: Final = (*STILL_SUFFIXES, ".gif", ".apng", ".heic", ".heif")
"""Suffixes of the pictures and animations that can be read."""

SOUND_SUFFIXES: Final = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au")
"""Suffixes of sound files."""

Finish = Callable[[Path, Path], None]
"""Makes the file that is kept (second path) out of one that has been written (first path)."""

_TEMPORARY: Final = re.compile(r"\.mien-[0-9a-f]{16}(\.|$)")


def check_output(
    path: Path, *, inputs: Iterable[Path], overwrite: bool, suffixes: tuple[str, ...]
) -> None:
    """Check that ``path`` can be written, before any work is done.

    Args:
        path: the file to be written.
        inputs: files that must not be overwritten.
        overwrite: whether an existing file may be replaced.
        suffixes: the suffixes that are allowed.

    Raises:
        InputError: when it cannot be written.
    """
    name = shown(path)
    if not re.fullmatch(r"[^\0\ud800-\udfff]+", str(path)):
        raise InputError(f"The output name {name} is not valid UTF-8; choose another.")
    if path.suffix.lower() not in suffixes:
        raise InputError(
            f"The output {shown(path.name)} must end in one of {' '.join(suffixes)} for this input."
        )
    try:
        if not path.parent.is_dir():
            raise InputError(
                f"The output folder {shown(path.parent)} does not exist; create it first."
            )
        if path.is_dir():
            raise InputError(f"The output {name} is a folder; name a file.")
        exists = path.exists()
        for other in inputs:
            if exists and other.exists() and path.samefile(other):
                raise InputError(f"The output is the input {shown(other)}; choose another name.")
    except OSError as error:
        raise InputError(f"The output {name} cannot be written ({error.strerror}).") from error
    if exists and not overwrite:
        raise InputError(f"{name} exists already; use --overwrite (overwrite=True) to replace it.")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"The output folder {shown(path.parent)} cannot be written to.")


@contextmanager
def whole_file(path: Path, finish: Finish | None = None) -> Iterator[Path]:
    """Yield a temporary path in the same folder, renamed to ``path`` when the block succeeds.

    With ``finish``, what it makes of the temporary file is renamed instead. On any exception,
    including an interrupt, temporary files are removed. Those of runs that were killed are removed
    by the next run into the folder.

    Raises:
        InputError: when the folder cannot be written to.
        OutputError: when the disk is full or writing fails.
    """
    with ExitStack() as stack:
        try:
            _remove_abandoned(path.parent)
            written, lock = stack.enter_context(_temporary(path))
            kept, lock = stack.enter_context(_temporary(path)) if finish else (written, lock)
        except OSError as error:
            raise InputError(
                f"{shown(path.parent)} cannot be written to ({error.strerror})."
            ) from error
        try:
            yield written
            if finish is not None:
                finish(written, kept)
            mask = os.umask(0)
            os.umask(mask)
            kept.chmod(0o666 & ~mask)
            if sys.platform == "win32":  # an open file cannot be renamed there
                lock.close()
            kept.replace(path)
        except OutputError:
            raise
        except OSError as error:
            raise output_error(error, path) from error


@contextmanager
def _temporary(path: Path) -> Iterator[tuple[Path, FileIO]]:
    """Yield a temporary file beside ``path`` and its lock; it is removed unless it was renamed."""
    temporary, handle = _create(path.parent, path.suffix)
    with FileIO(handle) as lock:
        try:
            yield temporary, lock
        finally:
            temporary.unlink(missing_ok=True)


def _create(folder: Path, suffix: str) -> tuple[Path, int]:
    """Create a temporary file; it belongs to this run while the handle is open.

    The handle holds a lock, or on Windows by itself keeps others from removing the file.
    """
    while True:
        path = folder / f".mien-{os.urandom(8).hex()}{suffix}"
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        if sys.platform != "win32":
            with suppress(OSError):  # a file system without locks: nobody will remove the file
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists():
            return path, handle
        os.close(handle)  # another run took it for an abandoned one before it was locked


def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files whose run has ended without doing so."""
    for path in folder.glob(".mien-*"):
        if not _TEMPORARY.match(path.name):
            continue
        with suppress(OSError):  # in use, or somebody else's
            if sys.platform == "win32":
                path.unlink()
                continue
            with path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def output_error(error: OSError, path: Path) -> OutputError:
    """Return a plain error for ``path``, which could not be written."""
    name = shown(path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return OutputError(f"The disk is full: {name} was not written. Free some space and retry.")
    return OutputError(f"{name} could not be written ({error.strerror or error}).")
