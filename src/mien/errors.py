"""Errors that a user can fix.

Each message says in one or two plain lines what was wrong, what was received and what to do. Each
class carries the exit code of the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class MienError(Exception):
    """Base of all errors that mien raises on purpose. ``exit_code`` 1: the work failed."""

    exit_code = 1


class InputError(MienError, ValueError):
    """A request or an input that cannot be used as given. Exit code 2."""

    exit_code = 2


class OutputError(MienError, OSError):
    """The result could not be written (disk full, device gone). Exit code 1."""


class FaceNotFoundError(MienError):
    """No usable face in the whole input. Exit code 3."""

    exit_code = 3


class CancelledError(MienError):
    """The caller cancelled the job; nothing was written. Exit code 130."""

    exit_code = 130


class WeightsError(MienError):
    """A net or preset is missing, damaged or of another kind than expected. Exit code 4."""

    exit_code = 4


class MissingExtraError(MienError, ImportError):
    """An optional part of mien is not installed; the message names the pip command. Exit code 4."""

    exit_code = 4


@contextmanager
def needs_extra(extra: str, feature: str) -> Iterator[None]:
    """Report a library that is missing inside the block as the extra that installs it.

    Args:
        extra: name of the extra, ``"svd"`` for ``mien[svd]``.
        feature: what needs it, as the subject of a sentence: ``"The svd engine"``.

    Raises:
        MissingExtraError: when an import in the block fails.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            f"{feature} needs a library that is not installed ({error.name}): "
            f"pip install 'mien[{extra}]'."
        ) from error
