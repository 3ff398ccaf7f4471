"""TIFF structures: the tags of EXIF blocks and TIFF files, and TIFF files written."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

ORIENTATION, SAMPLES, XMP, PROFILE = 274, 277, 700, 34_675
SUBFILE: Final = 254
"""Its lowest bit says that a picture is a smaller version of another one."""

_BYTES: Final = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_SHORT, _LONG, _UNDEFINED = 3, 4, 7
_STRIP_BYTES: Final = 2**20


def read_tags(data: bytes) -> dict[int, tuple[int, bytes]]:
    """Return offset and bytes of every value in the first directory; nothing where it is corrupt.

    Args:
        data: a TIFF file, or an EXIF block without its ``Exif`` header.
    """
    order = _order(data)
    out: dict[int, tuple[int, bytes]] = {}
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, number, offset = struct.unpack_from(order + "HHII", data, at)
            size = _BYTES.get(kind, 1) * number
            where = at + 8 if size <= 4 else offset
            out[tag] = where, data[where : where + size]
    except struct.error:
        return {}
    return out


def number_tag(data: bytes, tag: int, default: int) -> int:
    """Return a number of 16 or 32 bits in the first directory, or ``default``."""
    _, value = read_tags(data).get(tag, (0, b""))
    order: Literal["big", "little"] = "big" if _order(data) == ">" else "little"
    return int.from_bytes(value, order) if len(value) in (2, 4) else default


def has_more_pages(data: bytes) -> bool:
    """Return whether a second directory follows the first one."""
    order = _order(data)
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        return bool(struct.unpack_from(order + "I", data, start + 2 + 12 * count)[0])
    except struct.error:
        return False


def upright_exif(block: bytes) -> bytes:
    """Return an EXIF block for an upright picture, without its thumbnail; as it is if corrupt."""
    tags, order, out = read_tags(block), _order(block), bytearray(block)
    if not tags:
        return block
    if len(tags.get(ORIENTATION, (0, b""))[1]) >= 2:
        struct.pack_into(order + "H", out, tags[ORIENTATION][0], 1)
    (start,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, start)
    following = start + 2 + 12 * count
    out[following : following + 4] = bytes(4)
    return bytes(out)


def encode_tiff(image: npt.NDArray[Any], tags: Mapping[int, bytes | int]) -> bytes:
    """Return a TIFF file, compressed without loss.

    Args:
        image: grey ``(H, W)``, RGB ``(H, W, 3)`` or RGB and alpha ``(H, W, 4)``; ``uint8`` or
            ``uint16``.
        tags: further values, such as a colour profile.
    """
    height, width = image.shape[:2]
    samples = 1 if image.ndim == 2 else image.shape[2]
    flat = np.ascontiguousarray(image, image.dtype.newbyteorder("<")).reshape(height, width, -1)
    steps = flat.copy()
    steps[:, 1:] -= flat[:, :-1]
    rows = max(1, _STRIP_BYTES // steps[0].nbytes)
    strips = [zlib.compress(steps[top : top + rows].tobytes()) for top in range(0, height, rows)]
    starts = 8 + np.cumsum([0, *map(len, strips)])
    values = {
        256: _longs(width),
        257: _longs(height),
        258: _shorts(*[8 * image.dtype.itemsize] * samples),
        259: _shorts(8),  # deflate
        262: _shorts(1 if samples == 1 else 2),
        273: _longs(*starts[:-1]),
        277: _shorts(samples),
        278: _longs(rows),
        279: _longs(*map(len, strips)),
        317: _shorts(2),  # differences along a row
        **({338: _shorts(2)} if samples == 4 else {}),
        **{
            tag: _shorts(value) if isinstance(value, int) else (_UNDEFINED, len(value), value)
            for tag, value in tags.items()
        },
    }
    start = int(starts[-1] + starts[-1] % 2)
    more, entries = start + 2 + 12 * len(values) + 4, b""
    extra = b""
    for tag, (kind, number, value) in sorted(values.items()):
        stored = value.ljust(4, b"\0")
        if len(value) > 4:
            stored = struct.pack("<I", more + len(extra))
            extra += value + bytes(len(value) % 2)
        entries += struct.pack("<HHI", tag, kind, number) + stored
    body = b"".join(strips).ljust(start - 8, b"\0")
    directory = struct.pack("<H", len(values)) + entries + bytes(4) + extra
    return struct.pack("<2sHI", b"II", 42, start) + body + directory


def _order(data: bytes) -> str:
    return ">" if data[:2] == b"MM" else "<"


def _shorts(*values: int) -> tuple[int, int, bytes]:
    return _SHORT, len(values), struct.pack(f"<{len(values)}H", *values)


def _longs(*values: int) -> tuple[int, int, bytes]:
    return _LONG, len(values), struct.pack(f"<{len(values)}I", *values)
