"""Everything that can go wrong in a way a user can mend.

Each error says what was wrong, what was received and what to do, in one or two plain lines, and
carries the exit code the command line ends with.
"""

from __future__ import annotations


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


class WeightsError(MienError):
    """A net or preset is missing, damaged or of another kind than expected. Exit code 4."""

    exit_code = 4


class MissingExtraError(MienError, ImportError):
    """An optional part of mien is not installed; the message names the pip command. Exit code 4."""

    exit_code = 4
