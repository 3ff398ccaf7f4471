"""Single pictures in and out: PNG, JPEG, WebP; upright, RGB, 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from mien.errors import InputError, OutputError
from mien.media.exif import orientation, upright
from mien.media.frame import RGBImage
from mien.media.output import whole_file

_SIGNATURES: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
_JPEG_QUALITY: Final = 95
_LARGEST_SIDE: Final = 32_767


def is_still(path: Path) -> bool:
    """Whether a file is a PNG, JPEG or WebP picture, by its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}).") from error
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    return head.startswith(_SIGNATURES[:2])


def read_still(path: str | Path) -> RGBImage:
    """Read a picture upright (EXIF orientation applied; a corrupt EXIF block is ignored).

    Grey becomes RGB, 16 bits become 8, transparency is laid over white.

    Raises:
        InputError: when it is no picture.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no file {path}.")
    data = np.fromfile(path, np.uint8)
    if data.size == 0:
        raise InputError(f"{path} is empty (0 bytes).")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        raw = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise InputError(f"{path} cannot be read as a picture ({error.err}).") from error
    if image is None:
        raise InputError(f"{path} cannot be read as a picture; it may be damaged or another kind.")
    if raw is not None and raw.ndim == 3 and raw.shape[2] == 4 and raw.shape[:2] == image.shape[:2]:
        alpha = raw[..., 3:].astype(np.float32) / np.iinfo(raw.dtype).max
        image = np.round(image * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return upright(image[..., ::-1], orientation(data.tobytes()))


def write_still(path: str | Path, image: RGBImage) -> None:
    """Write a picture, whole or not at all; the ending chooses the format.

    Raises:
        OutputError: when it cannot be encoded or written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix in (".jpg", ".jpeg") else []
    if suffix == ".webp":
        options = [cv2.IMWRITE_WEBP_QUALITY, _JPEG_QUALITY]
    if max(image.shape[:2]) > _LARGEST_SIDE:
        raise OutputError(
            f"A picture of {image.shape[1]}x{image.shape[0]} is too large for {suffix}."
        )
    try:
        done, data = cv2.imencode(suffix, image[..., ::-1], options)
    except cv2.error as error:
        raise OutputError(f"{path} could not be encoded ({error.err}).") from error
    if not done:
        raise OutputError(f"{path} could not be encoded as {suffix}.")
    with whole_file(path) as temporary:
        temporary.write_bytes(data.tobytes())
