"""Folders of videos, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mien.errors import InputError, MienError
from mien.media.output import VIDEO_SUFFIXES
from mien.pipelines.report import Progress


def each_video(
    root: Path,
    work: Callable[[Path], bool],
    *,
    say: Callable[[str], None],
    progress: Progress | None = None,
) -> int:
    """Do ``work`` on every video under ``root``; how often it answered yes.

    Args:
        root: folder of videos.
        work: told of a video; what it raises is said, and the next one's turn comes.
        say: told of videos that were left out.
        progress: called with (videos done, videos).

    Raises:
        InputError: when there is no video under ``root``.
    """
    videos = sorted(p for p in root.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise InputError(f"There is no video under {root}.")
    done = 0
    for number, path in enumerate(videos, 1):
        try:
            done += work(path)
        except MienError as error:
            say(f"left out: {error}")
        if progress is not None:
            progress(number, len(videos))
    return done
