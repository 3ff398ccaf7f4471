"""Folders of videos, processed one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mien.datasets.mead import sound_beside
from mien.errors import InputError, MienError
from mien.media.audio import has_sound
from mien.media.output import VIDEO_SUFFIXES


def process_videos(
    root: Path,
    process: Callable[[Path], bool],
    *,
    log: Callable[[str], None],
    progress: Callable[[int, int | None], None] | None = None,
) -> int:
    """Process every video under ``root`` and count the successes.

    Args:
        root: folder of videos.
        process: called with each path; returns whether there is a result. A video for which it
            raises a ``MienError`` is logged and skipped.
        log: called with a line per skipped video.
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
            done += process(path)
        except MienError as error:
            log(f"left out: {error}")
        if progress is not None:
            progress(number, len(videos))
    return done


def speech_of(video: Path) -> Path | None:
    """Return the file with a video's speech: itself or MEAD's sound file beside it; else None."""
    return video if has_sound(video) else sound_beside(video)
