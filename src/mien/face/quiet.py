"""Keep native libraries' log lines off the standard error stream, and lose nothing else on it."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_CHATTER: Final = re.compile(
    rb"^(?:[IW]\d{4} \S+ +\d+ \S+:\d+\] .*|INFO: Created TensorFlow Lite .*"
    rb"|WARNING: All log messages before absl::InitializeLog.*)(?:\r?\n|$)"
)
"""Information and warnings of the landmark library; its errors are not among them."""

_one_at_a_time = threading.Lock()


@contextmanager
def native_logs_dropped() -> Iterator[None]:
    """Hold back what is written to file descriptor 2 inside; pass on all but log chatter after."""
    with _one_at_a_time, tempfile.TemporaryFile() as held:
        try:
            sys.stderr.flush()
            real = os.dup(2)
        except (OSError, ValueError, AttributeError):  # no standard error: nothing to keep clean
            yield
            return
        try:
            os.dup2(held.fileno(), 2)
            yield
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            said = b"".join(line for line in held if not _CHATTER.match(line))
            if said:
                os.write(2, said)
