"""Results in memory: the edited picture, or the frames of a clip as they are finished."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from itertools import chain
from typing import Final

from mien.errors import InputError
from mien.media.arrays import FrameSource
from mien.media.frame import RGBImage
from mien.media.read import VideoReader
from mien.media.still import opaque
from mien.pipelines.job import Job
from mien.pipelines.report import Report
from mien.utils.closing import Closing

_READY: Final = 2
"""Frames that are finished before they are asked for."""

_POLL_SECONDS: Final = 0.1


class Result(Closing):
    """What :func:`mien.edit` and :func:`mien.talk` return where no output file is named.

    Of a clip, ``frames`` are made while they are taken; memory does not grow with its length.
    Leaving them before the end, or :meth:`close`, stops the work. Notebooks show a result as the
    picture before and after.

    Attributes:
        image: the edited picture, RGB ``uint8 (H, W, 3)``; of a clip, its first frame.
        frames: the pictures in order, each RGB ``uint8 (H, W, 3)``; they can be taken once.
    """

    image: RGBImage
    frames: Iterator[RGBImage]

    def __init__(self, job: Job, run: Callable[[Job], Report]) -> None:
        """Start a job without an output file; return when its first picture is finished.

        Raises:
            As :func:`mien.edit`.
        """
        self._job = job
        self._reports: list[Report] = []
        self._made = _made(job, run, self._reports)
        self.image = next(self._made)
        if job.makes_picture:
            next(self._made, None)  # ends the job
        self.frames = chain([self.image], self._made)

    @property
    def original(self) -> RGBImage:
        """The picture before; of a clip, its first frame."""
        if isinstance(self._job.given, FrameSource):
            return self._job.given.first
        if self._job.still:
            return opaque(self._job.open_picture())
        with VideoReader(self._job.source, self._job.max_pixels) as reader:
            return reader.frame_at(0).image

    @property
    def report(self) -> Report:
        """What was done; complete once the last frame was taken.

        Raises:
            InputError: before that.
        """
        if not self._reports:
            raise InputError(
                "The report is complete when all frames are; take them first: "
                "for image in result.frames: ..."
            )
        return self._reports[0]

    def close(self) -> None:
        """Stop the work; frames that were not taken are lost."""
        self._made.close()

    def _repr_html_(self) -> str:
        from mien.pipelines.display import result_html

        return result_html(self.original, self.image, next(iter(self._reports), None))

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        what = "picture" if self._job.makes_picture else "clip"
        return f"<mien.Result: {what} of {width}x{height} pixels>"


def _made(job: Job, run: Callable[[Job], Report], reports: list[Report]) -> Generator[RGBImage]:
    """Yield the pictures of a job, which runs in a thread; its report is added to ``reports``."""
    ready: queue.Queue[RGBImage | BaseException | None] = queue.Queue(_READY)
    stop, own_cancel, own_show = threading.Event(), job.cancel, job.on_frame

    def put(entry: RGBImage | BaseException | None) -> None:
        while not stop.is_set():
            try:
                ready.put(entry, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return

    def show(image: RGBImage, time: float) -> None:
        if own_show is not None:
            own_show(image, time)
        put(image)

    def cancelled() -> bool:
        return stop.is_set() or (own_cancel is not None and own_cancel())

    def work() -> None:
        try:
            reports.append(run(replace(job, on_frame=show, cancel=cancelled)))
        except BaseException as error:  # noqa: BLE001 - handed over, not swallowed
            put(error)
        else:
            put(None)

    thread = threading.Thread(target=work, name="mien-result", daemon=True)
    thread.start()
    try:
        while True:
            entry = ready.get()
            if entry is None:
                return
            if isinstance(entry, BaseException):
                try:
                    raise entry
                finally:
                    del entry  # its traceback holds this frame, which must not hold it in turn
            yield entry
    finally:
        stop.set()
        thread.join()
