"""What an input is, read from its headers; run in a process of its own."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mien.errors import InputError
from mien.media.audio import has_sound
from mien.media.container import existing_file, open_container
from mien.media.read import VideoReader
from mien.media.size import check_size
from mien.media.still import is_still


@dataclass(frozen=True, slots=True)
class Media:
    """What a file holds.

    Attributes:
        kind: ``picture``, ``video`` or ``sound``.
        width, height: pixels, upright where it is a video; 0 for sound.
        seconds: length as the file states it; 0 for a picture, None where it states none.
        rate: frames per second of a video; 0 for others.
        sound: whether there is a voice to hear.
    """

    kind: str
    width: int
    height: int
    seconds: float | None
    rate: float
    sound: bool


def inspect(path: Path, max_pixels: int) -> Media:
    """Say what a file holds.

    Raises:
        InputError: when it is no picture, video or sound, or has more than ``max_pixels``.
    """
    width, height = check_size(path, max_pixels)
    if is_still(path):
        return Media("picture", width, height, 0.0, 0.0, sound=False)
    if width:
        with closing(VideoReader(path, max_pixels)) as reader:
            info = reader.info
        seconds = None if info.duration is None else float(info.duration)
        sound = info.has_audio and has_sound(path)
        return Media("video", info.width, info.height, seconds, float(info.rate), sound)
    with open_container(existing_file(path)) as container:
        seconds = container.duration / 1e6 if container.duration else None
    if not has_sound(path):
        raise InputError(f"{path} holds neither a picture nor sound.")
    return Media("sound", 0, 0, seconds, 0.0, sound=True)


def check_limits(path: Path, seconds: float, max_pixels: int) -> Media:
    """Return what a file holds if it is within the limits.

    Raises:
        InputError: as :func:`inspect`, or when it is longer than ``seconds``.
    """
    found = inspect(path, max_pixels)
    if found.seconds is not None and found.seconds > seconds:
        raise InputError(
            f"{path} is {found.seconds:.0f} s long; this server takes at most {seconds:g} s."
        )
    return found
