"""What a server accepts and how much of the machine its jobs may use."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Final

from mien.errors import InputError
from mien.utils.numeric import is_number
from mien.utils.text import shown

MEGABYTE: Final = 10**6


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server accepts. Sizes are in megabytes (10^6 bytes), times in seconds.

    Attributes:
        upload_mb: largest request body.
        seconds: longest input.
        pixels: largest width x height of inputs.
        queue: jobs that may wait; more are refused with 429.
        running: jobs that run at once; by default one for every two cores.
        memory_mb: address space of a job's process.
        cpu_seconds: processor time of a job.
        job_seconds: wall-clock time of a job.
        output_mb: largest file that a job may write.
        keep_seconds: how long results and uploads are kept.
        free_mb: free disk space under which nothing more is accepted.
    """

    upload_mb: float = 1000
    seconds: float = 600
    pixels: int = 2**25
    queue: int = 250
    running: int = field(default_factory=lambda: max(1, (os.cpu_count() or 1) // 2))
    memory_mb: float = 6000
    cpu_seconds: float = 7200
    job_seconds: float = 7200
    output_mb: float = 4000
    keep_seconds: float = 86_400
    free_mb: float = 500

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            whole = item.type == "int"
            if not is_number(value) or not 0 < value < 2**40 or (whole and value != int(value)):
                kind = "whole number" if whole else "number"
                raise InputError(
                    f"The limit {item.name} must be a {kind} above 0; got {shown(value)}."
                )
