"""Open input files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import InputError
from mien.media.output import SOUND_SUFFIXES, STILL_SUFFIXES, VIDEO_SUFFIXES

if TYPE_CHECKING:
    import av.container


def existing_file(path: str | Path) -> Path:
    """Return ``path`` if it is a file with content.

    Raises:
        InputError: when it does not exist, is a folder or is empty.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no file {path}.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes).")
    return path


def open_container(path: Path) -> av.container.InputContainer:
    """Open a media file.

    Raises:
        InputError: when it does not exist or cannot be decoded.
    """
    import av

    existing_file(path)
    try:
        return av.open(str(path), mode="r", metadata_errors="ignore")
    except (av.FFmpegError, ValueError, OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        kinds = {"a video": VIDEO_SUFFIXES, "an image": STILL_SUFFIXES, "sound": SOUND_SUFFIXES}
        for kind, suffixes in kinds.items():
            if path.suffix.lower() in suffixes:
                raise InputError(
                    f"{path} is damaged: it cannot be decoded as {kind} ({reason})."
                ) from error
        raise InputError(
            f"{path} cannot be decoded as a video, an image or sound ({reason})."
        ) from error
