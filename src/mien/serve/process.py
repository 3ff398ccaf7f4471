"""Child processes with limits of their own; a crash in one never reaches the server."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from mien.errors import MienError

if sys.platform != "win32":
    import resource

_PRELOADED: Final = [
    "mien.api",
    "mien.pipelines.mesh_edit",
    "mien.pipelines.mesh_preview",
    "mien.pipelines.mesh_talk",
    "mien.serve.inspect",
    "mien.speech.listener",
]
"""Modules that are imported once for all children, where processes can fork."""

_GRACE_SECONDS: Final = 5
_NEARLY: Final = 0.85
"""Share of the allowed memory from which a failure is taken for one of memory."""


class WorkError(MienError):
    """Work in a child process failed; ``code`` says in a word why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Resources:
    """What a child process may use; 0: as much as there is. Not enforced on Windows.

    Attributes:
        memory_bytes: address space.
        cpu_seconds: processor time.
        file_bytes: size of a file it writes.
    """

    memory_bytes: int = 0
    cpu_seconds: int = 0
    file_bytes: int = 0

    def apply(self) -> None:
        """Limit the current process."""
        if sys.platform == "win32":
            return
        for kind, value in (
            (resource.RLIMIT_AS, self.memory_bytes),
            (resource.RLIMIT_CPU, self.cpu_seconds),
            (resource.RLIMIT_FSIZE, self.file_bytes),
        ):
            if value:
                _, hard = resource.getrlimit(kind)
                allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
                resource.setrlimit(kind, (allowed, hard))


class Child:
    """A process that is sent and answers JSON messages. It ends when the server does.

    Args:
        main: what it runs, with its end of the pipe and ``arguments``.
        arguments: plain values for it.
        resources: what it may use.
    """

    def __init__(
        self,
        main: Callable[..., None],
        *arguments: object,
        resources: Resources,
    ) -> None:
        context = _context()
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_run, args=(main, theirs, arguments, resources), daemon=True
        )
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return int(self._process.pid)

    def send(self, message: object) -> None:
        """Send a message; nothing happens when the process has ended."""
        with contextlib.suppress(OSError):
            self._pipe.send_bytes(json.dumps(message).encode())

    def receive(self, seconds: float) -> Any:  # noqa: ANN401 - any plain value
        """Return the next message; None when there is none within ``seconds``.

        Raises:
            WorkError: when the process has ended.
        """
        try:
            if not self._pipe.poll(seconds):
                return None
            return json.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            raise self._why_it_ended() from None

    def ask(self, question: object, seconds: float) -> Any:  # noqa: ANN401 - any plain value
        """Send a question and return its answer.

        Raises:
            WorkError: when the process ends or takes longer than ``seconds``.
        """
        self.send(question)
        answer = self.receive(seconds)
        if answer is None:
            raise WorkError("out_of_time", f"It took longer than {seconds:g} s.")
        return answer

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._pipe.close()

    def _why_it_ended(self) -> WorkError:
        self._process.join(_GRACE_SECONDS)
        code = self._process.exitcode
        if sys.platform != "win32" and code == -signal.SIGXCPU:
            return WorkError("out_of_time", "It took more processor time than it may use.")
        if code == -getattr(signal, "SIGKILL", 9):
            return WorkError("killed", "Its process was killed, perhaps because memory ran out.")
        return WorkError(
            "crashed", f"Its process crashed ({code}); the input may be damaged on purpose."
        )


def memory_ran_out() -> bool:
    """Whether this process has come close to the memory it may use; False where unknown."""
    if sys.platform == "win32":
        return False
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    status = Path("/proc/self/status")
    if allowed == resource.RLIM_INFINITY or not status.is_file():
        return False
    peak = re.search(r"VmPeak:\s*(\d+) kB", status.read_text())
    return peak is not None and int(peak[1]) * 1024 > _NEARLY * allowed


def _context() -> Any:  # noqa: ANN401 - the contexts have no common type
    """Return how children are started: from a process that has imported everything already."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _run(
    main: Callable[..., None],
    pipe: Connection,
    arguments: tuple[object, ...],
    resources: Resources,
) -> None:
    """Run ``main`` in the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's; the server ends its children
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):  # native libraries write there
        os.dup2(nowhere, number)
    resources.apply()
    main(pipe, *arguments)
