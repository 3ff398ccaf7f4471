"""All parts of a server: its store, its runner, the processes that answer at once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mien.errors import InputError
from mien.serve.desk import Desk
from mien.serve.limits import MEGABYTE, Limits
from mien.serve.process import Resources
from mien.serve.runner import Runner
from mien.serve.store import JobStore
from mien.serve.tokens import Tokens
from mien.utils.text import shown

_CHECK_SECONDS = 60
_PREVIEW_SECONDS = 60
_LIVE_SECONDS = 10


class Service:
    """What the HTTP API, MCP and the studio share.

    Args:
        folder: where jobs and uploads are kept.
        limits: what is accepted.
        tokens: who may use it.
        roots: folders whose files requests may name by path.
        keep: whether jobs and uploads stay for the next server.

    Raises:
        InputError: when one of the folders cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits | None = None,
        tokens: Tokens | None = None,
        roots: tuple[Path, ...] = (),
        *,
        keep: bool = True,
    ) -> None:
        for root in roots:
            if not root.is_dir():
                raise InputError(f"There is no folder {shown(root)} whose files could be used.")
        self.limits = limits or Limits()
        self.tokens = tokens or Tokens()
        self.roots = tuple(root.resolve() for root in roots)
        self.store = JobStore(folder.absolute())
        self._keep = keep
        if not keep:
            self.store.clear()
        self.runner = Runner(self.store, self.limits)
        resources = Resources(memory_bytes=int(self.limits.memory_mb * MEGABYTE))
        self.checks = Desk(self.store.folder, resources, _CHECK_SECONDS)
        self.previews = Desk(self.store.folder, resources, _PREVIEW_SECONDS)
        self.live = Desk(self.store.folder, resources, _LIVE_SECONDS)

    def start(self) -> None:
        """Begin to work."""
        self.runner.start()
        self.checks.start()
        self.previews.start()

    def close(self) -> None:
        """Stop; jobs that run are begun again by the next server."""
        self.runner.close()
        for desk in (self.checks, self.previews, self.live):
            desk.close()
        if not self._keep:
            self.store.clear()
        self.store.close()

    @property
    def input_limits(self) -> dict[str, Any]:
        """Limits of inputs as plain values for child processes."""
        return {"seconds": self.limits.seconds, "pixels": self.limits.pixels}

    @property
    def disk_is_full(self) -> bool:
        """Whether too little space is left to accept anything."""
        return shutil.disk_usage(self.store.folder).free < self.limits.free_mb * MEGABYTE
