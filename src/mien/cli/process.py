"""Standard streams that may be closed, and signals that end a run."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from types import FrameType

_SIGNALS: Final = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]

_READING: Final = "mien.media.container"
_AGAIN_SECONDS: Final = 0.02
"""After how long a signal is delivered again that came at a bad moment."""


class EndedError(BaseException):
    """A signal ends the run; raised in the main thread, so that everything is cleaned up.

    Attributes:
        exit_code: 128 and the number of the signal, as shells count.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def end_on_signals() -> None:
    """Raise :class:`EndedError` on an interrupt, a request to end or a closed terminal."""

    def end(number: int, frame: FrameType | None) -> None:
        if _in_callback(frame):
            threading.Timer(_AGAIN_SECONDS, signal.raise_signal, (number,)).start()
            return
        for other in _SIGNALS:  # a second Ctrl-C ends it at once; the others often come in pairs
            signal.signal(
                other, signal.default_int_handler if other == signal.SIGINT else signal.SIG_IGN
            )
        raise EndedError(number)

    for number in _SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end)


def _in_callback(frame: FrameType | None) -> bool:
    """Whether FFmpeg is calling Python to read a file; it swallows what is raised there."""
    while frame is not None:
        if frame.f_code.co_name == "seek" and frame.f_globals.get("__name__") == _READING:
            return True
        frame = frame.f_back
    return False


class Stream(io.TextIOWrapper):
    """Standard output or error; when it cannot be written any more, the rest is dropped.

    Characters that its encoding lacks are written as escapes.

    Attributes:
        failure: why it could not be written, unless its reader had just gone; None while it works.
    """

    failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write ``text``, or drop it."""
        try:
            return super().write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        try:
            super().flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        if error.errno != errno.EPIPE:
            self.failure = error
        _open_nowhere(self.fileno())


def prepare_streams(*, native_messages: bool) -> Stream:
    """Replace the standard streams by ones that never fail, and return standard output.

    Args:
        native_messages: whether what native libraries write to standard error appears.
    """
    for number in range(3):  # a closed one would be taken by the next file that is opened
        try:
            os.fstat(number)
        except OSError:
            _open_nowhere(number)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    kept = 2
    if not native_messages:
        kept = os.dup(2)
        _open_nowhere(2)
    sys.stderr = _stream(kept, sys.stderr)
    sys.stdout = out = _stream(1, sys.stdout)
    return out


def _stream(number: int, former: TextIO | None) -> Stream:
    raw = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
    encoding = former.encoding if former else None
    return Stream(raw, encoding, "backslashreplace", line_buffering=True)


def _open_nowhere(number: int) -> None:
    """Let a file descriptor lead to the null device."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
