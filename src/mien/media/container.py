"""Open input files: each is read by itself, as video, images or sound, up to a size."""

from __future__ import annotations

import errno
import os
import re
import stat
from fractions import Fraction
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mien.errors import InputError
from mien.media.output import IMAGE_SUFFIXES, SOUND_SUFFIXES, VIDEO_SUFFIXES
from mien.utils.text import shown

if TYPE_CHECKING:
    import av.container

MAX_PIXELS: Final = 2**27
"""Largest size of a frame by default: 16K x 8K."""

_FORMATS: Final = (
    "3gp,aac,ac3,aiff,amr,ape,apng,asf,asf_o,au,av1,avi,avs2,avs3,bmp_pipe,caf,cavsvideo,"
    "dds_pipe,dhav,dirac,dnxhd,dpx_pipe,dsf,dts,dtshd,dv,eac3,exr_pipe,flac,flic,flv,gif,"
    "gif_pipe,gxf,h261,h263,h264,hdr_pipe,hevc,iff,ivf,j2k_pipe,jpeg_pipe,jpegls_pipe,"
    "jpegxl_anim,jpegxl_pipe,live_flv,loas,lxf,m4v,matroska,mjpeg,mjpeg_2000,mlp,mov,mp3,mpc,"
    "mpc8,mpeg,mpegts,mpegvideo,mpjpeg,mxf,nsv,nut,nuv,obu,ogg,oma,pam_pipe,pbm_pipe,"
    "pcx_pipe,pgm_pipe,png_pipe,ppm_pipe,psd_pipe,pva,qcp,qoi_pipe,rm,sgi_pipe,smjpeg,"
    "sunrast_pipe,swf,tak,tiff_pipe,truehd,tta,ty,vc1,vc1test,voc,vvc,w64,wav,webp_anim,"
    "webp_pipe,wtv,wv,xwma,yuv4mpegpipe"
)
"""FFmpeg's demuxers of files that hold their own pictures and sound.

Playlists, patterns of names, network sessions, scripts and texts are not among them.
"""

_BUFFER_BYTES: Final = 2**18
_HEAD_BYTES: Final = 1024


def existing_file(path: str | Path) -> Path:
    """Return ``path`` if it is a file with content.

    Raises:
        InputError: when it does not exist, is a folder, a pipe or a device, is empty or cannot be
            read.
    """
    path = Path(path)
    name = shown(path)
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        if re.match(r"[A-Za-z][\w+.-]+:/", str(path)):
            raise InputError(
                f"{name.replace(':/', '://')} is an address, not a path; download the file first."
            ) from error
        if isinstance(error, OSError) and error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise InputError(f"{name} cannot be opened ({error.strerror}).") from error
        raise InputError(f"There is no file {name}.") from error
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{name} is a folder; name a file, or use mien batch.")
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{name} is a pipe or a device; save its content to a file first.")
    if found.st_size == 0:
        raise InputError(f"{name} is empty (0 bytes).")
    if not os.access(path, os.R_OK):
        raise InputError(f"{name} cannot be opened ({os.strerror(errno.EACCES)}).")
    return path


_TS_DISCONT: Final = 0x0200
"""FFmpeg's flag of formats whose time stamps may jump: transport and program streams."""

_LARGEST_STEP_BACK: Final = Fraction(1, 4)
_LARGEST_STEP_AHEAD: Final = 6 * 3600
_LARGEST_BROADCAST_STEP: Final = 10
"""Seconds that time stamps can be apart within one recording."""


class _File(FileIO):
    """A file that closes when the container that reads it is freed: PyAV does not close it."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Return -1 for a place that is not there: PyAV would print an exception."""
        try:
            return super().seek(offset, whence)
        except OSError:
            return -1

    def __del__(self) -> None:
        self.close()


def open_container(
    path: Path, max_pixels: int | None = None, kind: str | None = None
) -> av.container.InputContainer:
    """Open a media file, whatever its name; FFmpeg goes by the content and opens nothing else.

    Args:
        path: the file.
        max_pixels: largest width x height of its frames; None where only sound is wanted.
        kind: FFmpeg's name of its format, where the content does not tell it.

    Raises:
        InputError: when it does not exist, cannot be decoded, refers to other files or is too
            large.
    """
    import av

    existing_file(path)
    unopened = [path]
    limit = {"max_pixels": str(max_pixels or MAX_PIXELS)}

    def open_once(url: str, flags: int, options: dict[str, str]) -> FileIO:
        if not unopened:
            raise PermissionError(errno.EACCES, "an input may not open other files")
        return _File(unopened.pop())

    try:
        container = av.open(
            "input",
            format=kind,
            io_open=open_once,
            buffer_size=_BUFFER_BYTES,
            metadata_errors="ignore",
            options={
                "protocol_whitelist": "none",
                "format_whitelist": _FORMATS,
                **limit,
            },
        )
    except (av.FFmpegError, ValueError, OSError, UnicodeDecodeError) as error:
        raise _not_media(path, error) from error
    for stream in container.streams.video:
        context = stream.codec_context
        if context is None:
            continue
        if max_pixels and context.width * context.height > max_pixels:
            container.close()
            raise too_large(path, context.width, context.height, max_pixels)
        context.options = limit
    return container


def may_be_joined(container: av.container.InputContainer) -> bool:
    """Return whether recordings in this format can be appended to one another."""
    return bool(container.format.flags & _TS_DISCONT)


def is_join(step: Fraction, *, joinable: bool) -> bool:
    """Return whether a step between time stamps, seconds, begins another recording or is broken."""
    ahead = _LARGEST_BROADCAST_STEP if joinable else _LARGEST_STEP_AHEAD
    return step < -_LARGEST_STEP_BACK or step > ahead


def too_large(path: Path, width: int, height: int, max_pixels: int) -> InputError:
    """Return the error for a picture above the limit."""
    return InputError(
        f"{shown(path)} is {width}x{height}, above the limit of {max_pixels} pixels; raise it with "
        "--max-pixels (max_pixels=)."
    )


def _not_media(path: Path, error: Exception) -> InputError:
    """Return the error for a file that FFmpeg cannot open."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    reason = getattr(error, "strerror", None) or str(error)
    if _is_text(head):
        reason = "it is text, perhaps a playlist; name the media file itself"
    kinds = {"a video": VIDEO_SUFFIXES, "an image": IMAGE_SUFFIXES, "sound": SOUND_SUFFIXES}
    for kind, suffixes in kinds.items():
        if path.suffix.lower() in suffixes:
            return InputError(
                f"{shown(path)} is damaged: it cannot be decoded as {kind} ({reason})."
            )
    return InputError(f"{shown(path)} cannot be decoded as a video, an image or sound ({reason}).")


def _is_text(head: bytes) -> bool:
    if re.search(rb"[\x00-\x08\x0e-\x1f]", head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:  # a character may be cut off at the end
        return error.start > _HEAD_BYTES - 4
    return True
