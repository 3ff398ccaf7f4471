"""Output files: checked before any work, written completely or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mien.errors import InputError, OutputError

VIDEO_SUFFIXES: Final = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")
STILL_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp")
SOUND_SUFFIXES: Final = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au")
"""Suffixes of the files that libsndfile reads."""


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
    if path.suffix.lower() not in suffixes:
        raise InputError(
            f"The output {path.name!r} must end in one of {' '.join(suffixes)} for this input."
        )
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"The output folder {folder} does not exist; create it first.")
    if path.is_dir():
        raise InputError(f"The output {path} is a folder; name a file.")
    for other in inputs:
        if path.exists() and other.exists() and path.samefile(other):
            raise InputError(f"The output is the input {other}; choose another name.")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; use --overwrite (overwrite=True) to replace it.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"The output folder {folder} cannot be written to.")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, renamed to ``path`` when the block succeeds.

    On any exception, including an interrupt, the temporary file is removed.

    Raises:
        InputError: when the folder cannot be written to.
        OutputError: when the disk is full or writing fails.
    """
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        raise InputError(f"{path.parent} cannot be written to ({error.strerror}).") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def _explained(error: OSError, path: Path) -> OSError:
    if isinstance(error, OutputError):
        return error
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return OutputError(f"The disk is full: {path} was not written. Free some space and retry.")
    return OutputError(f"{path} could not be written ({error.strerror or error}).")
