"""Run one stage of a pipeline while the next one works."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Final, TypeVar

Item = TypeVar("Item")

_POLL_SECONDS: Final = 0.1

_START_SECONDS: Final = 2.0
"""Time after which a thread that was asked to start has surely begun."""


def prefetch(items: Iterable[Item], depth: int = 2) -> Generator[Item]:
    """Yield ``items``, which another thread makes up to ``depth`` in advance.

    An exception in the thread is raised here. Closing the generator (on leaving the loop or on an
    interrupt) stops the thread and closes ``items`` before it returns.
    """
    ready: queue.Queue[tuple[bool, Item | BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()

    def put(entry: tuple[bool, Item | BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                ready.put(entry, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    begun, finished = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        try:
            for item in items:
                if not put((True, item)):
                    break
            else:
                put((False, None))
        except BaseException as error:  # noqa: BLE001 - handed over, not swallowed
            put((False, error))
        finally:
            close = getattr(items, "close", None)
            try:
                if close is not None:
                    close()
            finally:
                finished.set()

    thread = threading.Thread(target=work, name="mien-stage", daemon=True)
    try:
        thread.start()
        while True:
            more, item = ready.get()
            if more:
                yield item  # type: ignore[misc]  # only items come with True
            elif isinstance(item, BaseException):
                try:
                    raise item
                finally:
                    del item  # its traceback holds this frame, which must not hold it in turn
            else:
                return
    finally:
        stop.set()
        # A signal may have come while the thread was starting, when it cannot be joined.
        if begun.wait(_START_SECONDS):
            finished.wait()
