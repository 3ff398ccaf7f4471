"""The folder of a training run: one run at a time, values and pictures in TensorBoard."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mien.errors import InputError
from mien.media.frame import RGBImage
from mien.media.still import write_still

if sys.platform != "win32":
    import fcntl

LOG: Final = "log"
SAMPLES: Final = "samples"


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder while the block runs (not on Windows).

    Raises:
        InputError: when another run writes there.
    """
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"Another run is training in {folder}; choose another folder or wait for its end."
            ) from error
        yield
    finally:
        os.close(handle)


class TrainingLog:
    """Writes values and pictures of a run.

    Args:
        folder: of the run; None writes nothing.
        writer: TensorBoard's, None where it is missing.
    """

    def __init__(self, folder: Path | None, writer: Any) -> None:  # noqa: ANN401
        self._folder, self._writer = folder, writer

    def values(self, values: Mapping[str, float], step: int) -> None:
        """Log values at a step, in TensorBoard alone."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def pictures(self, pictures: Mapping[str, RGBImage], step: int) -> None:
        """Write pictures of a step as ``samples/NAME-STEP.png`` and into TensorBoard."""
        for name, picture in pictures.items():
            if self._folder is not None:
                (self._folder / SAMPLES).mkdir(exist_ok=True)
                write_still(self._folder / SAMPLES / f"{name}-{step:08}.png", picture)
            if self._writer is not None:
                self._writer.add_image(name, picture, step, dataformats="HWC")


@contextmanager
def open_log(folder: Path | None, step: int) -> Iterator[TrainingLog]:
    """Open the log of a run that continues at ``step``; TensorBoard may be missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield TrainingLog(folder, None)
        return
    if folder is None:
        yield TrainingLog(None, None)
        return
    writer: Any = SummaryWriter(str(folder / LOG), purge_step=step or None)
    try:
        yield TrainingLog(folder, writer)
    finally:
        writer.close()
