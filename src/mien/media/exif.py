"""How a camera was held: the EXIF orientation of JPEG, PNG and WebP data."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from mien.media.frame import RGBImage

_ORIENTATION: Final = 0x0112
_SHORT: Final = 3
_MOST_TAGS: Final = 512


def orientation(data: bytes) -> int:
    """Orientation 1..8 of a picture's data; 1 (upright) where it says none or nonsense."""
    try:
        block = _block(data)
        value = _tag(block) if block else 1
    except (struct.error, IndexError, ValueError):
        return 1
    return value if 1 <= value <= 8 else 1


def upright(image: RGBImage, how: int) -> RGBImage:
    """Turn and mirror a picture so that orientation ``how`` becomes 1."""
    if how in (2, 4, 5, 7):
        image = image[:, ::-1]
    turns = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(how, 0)
    return np.ascontiguousarray(np.rot90(image, turns))


def _block(data: bytes) -> bytes | None:
    """The TIFF block inside a picture's data."""
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG"):
        return _png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def _jpeg(data: bytes) -> bytes | None:
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        (size,) = struct.unpack_from(">H", data, place + 2)
        body = data[place + 4 : place + 2 + size]
        if data[place + 1] == 0xE1 and body.startswith(b"Exif\0\0"):
            return body[6:]
        place += 2 + max(size, 2)
    return None


def _png(data: bytes) -> bytes | None:
    place = 8
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"eXIf":
            return data[place + 8 : place + 8 + size]
        place += 12 + size
    return None


def _webp(data: bytes) -> bytes | None:
    place = 12
    while place + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, place)
        if kind == b"EXIF":
            body = data[place + 8 : place + 8 + size]
            return body.removeprefix(b"Exif\0\0")
        place += 8 + size + size % 2
    return None


def _tag(block: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    (first,) = struct.unpack_from(f"{order}I", block, 4)
    (count,) = struct.unpack_from(f"{order}H", block, first)
    for i in range(min(count, _MOST_TAGS)):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", block, first + 2 + 12 * i)
        if tag == _ORIENTATION and kind == _SHORT:
            return int(value)
    return 1
