"""Sizes of pictures and videos, read from their headers before anything is decoded."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Final

from mien.errors import InputError
from mien.media.container import MAX_PIXELS, existing_file, open_container, too_large
from mien.utils.text import shown

_NO_FRAME_HEADER: Final = (0xC4, 0xC8, 0xCC)
"""JPEG markers among those of frame headers that are none: tables and an extension."""

_MOST_TIFF_TAGS: Final = 4096


def check_size(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return width and height of a picture or video; (0, 0) where there is neither.

    Raises:
        InputError: when it cannot be opened or has more than ``max_pixels`` pixels.
    """
    existing_file(path)
    size = image_size(path)
    if size is None:
        with open_container(path, max_pixels) as container:
            contexts = [s.codec_context for s in container.streams.video]
            return max(((c.width, c.height) for c in contexts if c is not None), default=(0, 0))
    if 0 in size:
        raise InputError(f"{shown(path)} is damaged: it cannot be decoded as an image.")
    if size[0] * size[1] > max_pixels:
        raise too_large(path, *size, max_pixels)
    return size


def image_size(path: Path) -> tuple[int, int] | None:
    """Return width and height of a PNG, JPEG, WebP, GIF, BMP or TIFF file; None for others.

    The size is that of the stored pixels, not turned upright; (0, 0) where the header is damaged.
    """
    with path.open("rb") as file:
        head = file.read(32)
        try:
            return _size(head, file)
        except struct.error:
            return 0, 0


def _size(head: bytes, file: BinaryIO) -> tuple[int, int] | None:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _two(">II", head, 16)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return _two("<HH", head, 6)
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg_size(file)
    if head.startswith((b"II*\0", b"MM\0*")):
        return _tiff_size(file, "<" if head[0:1] == b"I" else ">")
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _webp_size(head)
    if head.startswith(b"BM") and head[15:18] == b"\0\0\0":
        width, height = _two("<HH", head, 18) if head[14] == 12 else _two("<ii", head, 18)
        return abs(width), abs(height)
    return None


def _two(layout: str, data: bytes, at: int) -> tuple[int, int]:
    first, second = struct.unpack_from(layout, data, at)
    return first, second


def _jpeg_size(file: BinaryIO) -> tuple[int, int]:
    file.seek(2)
    while True:
        byte = file.read(1)
        if not byte:
            return 0, 0
        if byte != b"\xff":
            continue
        marker = file.read(1)
        while marker == b"\xff":
            marker = file.read(1)
        if not marker or marker[0] in (0xD9, 0xDA):
            return 0, 0
        if marker[0] < 0xC0 or 0xD0 <= marker[0] <= 0xD8:  # stuffing and markers without a length
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if 0xC0 <= marker[0] <= 0xCF and marker[0] not in _NO_FRAME_HEADER:
            height, width = _two(">HH", file.read(5), 1)
            return width, height
        file.seek(max(0, length - 2), 1)


def _webp_size(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8X":
        low, high, third, fourth = *_two("<HB", head, 24), *_two("<HB", head, 27)
        return (low | high << 16) + 1, (third | fourth << 16) + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = _two("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def _tiff_size(file: BinaryIO, order: str) -> tuple[int, int]:
    file.seek(4)
    file.seek(struct.unpack(order + "I", file.read(4))[0])
    (count,) = struct.unpack(order + "H", file.read(2))
    sizes = {}
    for _ in range(min(count, _MOST_TIFF_TAGS)):
        entry = file.read(12)
        tag, kind = _two(order + "HH", entry, 0)
        if tag in (256, 257):  # width and height, as 16 or 32 bits
            sizes[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), entry, 8)[0]
    return sizes.get(256, 0), sizes.get(257, 0)
