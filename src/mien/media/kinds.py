"""Kinds of image files, recognised by content, and the timing of animations."""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

Data = bytes | mmap.mmap

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MOTION_JPEG: Final = "Motion JPEG"
_BMP_HEADERS: Final = (12, 16, 40, 52, 56, 64, 108, 124)
_AVIF_BRANDS: Final = (b"avif",)
_HEIC_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis")
_NAMES: Final = {
    b"iCCP": "colour profile",
    b"ICCP": "colour profile",
    b"eXIf": "EXIF",
    b"EXIF": "EXIF",
    b"XMP ": "XMP",
}
"""Chunks of PNG and WebP that describe the picture."""

_PNG_XMP: Final = b"XML:com.adobe.xmp" + bytes(5)
"""Start of the content of an uncompressed text chunk with an XMP packet."""

_SHORT_GIF_DELAY, _USUAL_GIF_DELAY = 2, 10
_SHORT_WEBP_DELAY, _USUAL_WEBP_DELAY = 11, 100
_USUAL_APNG_DELAY: Final = Fraction(1, 15)


@dataclass(frozen=True, slots=True)
class ImageKind:
    """What an image file holds.

    Attributes:
        name: ``"PNG"``, ``"JPEG"``, ``"WebP"``, ``"GIF"``, ``"BMP"``, ``"TIFF"``, ``"BigTIFF"``,
            ``"AVIF"``, ``"HEIC"``, or ``"Motion JPEG"`` for one JPEG file after another.
        delays: how long each picture of an animation is shown, seconds; as browsers do, GIF's
            below 20 ms and WebP's below 11 ms count as 100 ms. Empty for a single picture.
        plays: how often an animation is shown; 0 for endlessly.
        metadata: what is stored beside the pictures of a PNG or WebP file.
    """

    name: str
    delays: tuple[Fraction, ...] = ()
    plays: int = 1
    metadata: tuple[str, ...] = ()

    @property
    def animated(self) -> bool:
        """Whether it is an animation of more than one picture."""
        return len(self.delays) > 1

    @property
    def still(self) -> bool:
        """Whether it is a single picture."""
        return not self.animated and self.name != MOTION_JPEG


def image_kind(path: Path) -> ImageKind | None:
    """Return the kind of an image file; None for anything else.

    Raises:
        OSError: when it cannot be opened.
    """
    with path.open("rb") as file:
        head = file.read(64)
        simple = _simple_kind(head)
        if simple is not None:
            return simple
        walk = next((walk for start, walk in _WALKS.items() if head.startswith(start)), None)
        if walk is None or (walk is _webp and head[8:12] != b"WEBP"):
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return walk(data)


def _simple_kind(head: bytes) -> ImageKind | None:
    """Return the kind where the first bytes tell it."""
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return ImageKind("BMP")
    if head[:4] in (b"II*\0", b"MM\0*"):
        return ImageKind("TIFF")
    if head[:4] in (b"II+\0", b"MM\0+"):
        return ImageKind("BigTIFF")
    if head[4:8] == b"ftyp":
        size = int.from_bytes(head[:4], "big")
        major, others = head[8:12], head[16:size]
        brands = [major] if major != b"mif1" else re.findall(b"....", others, re.DOTALL)
        for name, known in (("AVIF", _AVIF_BRANDS), ("HEIC", _HEIC_BRANDS)):
            if any(brand in known for brand in brands):
                return ImageKind(name)
    return None


def _png(data: Data) -> ImageKind:
    plays, pictures, found = 1, 0, []
    delays = []
    for kind, at, size in png_chunks(data):
        if kind == b"acTL" and size >= 8:
            pictures, plays = struct.unpack_from(">II", data, at)
        elif kind == b"fcTL" and size >= 26:
            over, under = struct.unpack_from(">HH", data, at + 20)
            delays.append(Fraction(over, under or 100) or _USUAL_APNG_DELAY)
        elif kind in _NAMES:
            found.append(_NAMES[kind])
        elif kind == b"IDAT" and pictures < 2:
            break
    return ImageKind("PNG", tuple(delays) if pictures > 1 else (), plays, tuple(found))


def png_chunks(data: Data) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, offset and size of the content of a PNG file's whole chunks."""
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        if at + 8 + size > len(data):
            return
        yield data[at + 4 : at + 8], at + 8, size
        at += size + 12


def png_xmp(data: Data) -> bytes:
    """Return the XMP packet of a PNG file; empty without one."""
    for kind, at, size in png_chunks(data):
        if kind == b"iTXt" and data[at : at + len(_PNG_XMP)] == _PNG_XMP:
            return bytes(data[at + len(_PNG_XMP) : at + size])
    return b""


def with_png_xmp(data: bytes, packet: bytes) -> bytes:
    """Return a PNG file with an XMP packet, behind its header."""
    _, at, size = next(png_chunks(data))
    chunk = b"iTXt" + _PNG_XMP + packet
    more = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[: at + size + 4] + more + data[at + size + 4 :]


def _webp(data: Data) -> ImageKind:
    plays, delays, found = 1, [], []
    for kind, at, size in webp_chunks(data):
        if kind == b"ANIM" and size >= 6 and at + 6 <= len(data):
            (plays,) = struct.unpack_from("<H", data, at + 4)
        elif kind == b"ANMF" and size >= 16:
            stated = int.from_bytes(data[at + 12 : at + 15], "little")
            delay = _USUAL_WEBP_DELAY if stated < _SHORT_WEBP_DELAY else stated
            delays.append(Fraction(delay, 1000))
        elif kind in _NAMES:
            found.append(_NAMES[kind])
    return ImageKind("WebP", tuple(delays), plays, tuple(found))


def webp_chunks(
    data: Data, start: int = 12, end: int | None = None
) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, offset and size of the content of a WebP file's chunks; the last may be cut."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        (size,) = struct.unpack_from("<I", data, start + 4)
        yield data[start : start + 4], start + 8, size
        start += 8 + size + size % 2


def _gif(data: Data) -> ImageKind:
    plays, delays, delay = 1, [], _USUAL_GIF_DELAY
    at = 13 + _color_table(data, 10)
    while at + 2 <= len(data):
        block = data[at]
        if block == 0x2C:  # a picture
            delays.append(Fraction(delay, 100))
            delay = _USUAL_GIF_DELAY
            at = _after_blocks(data, at + 11 + _color_table(data, at + 9))
        elif block == 0x21:  # an extension
            if data[at + 1] == 0xF9 and at + 6 <= len(data):
                (stated,) = struct.unpack_from("<H", data, at + 4)
                delay = _USUAL_GIF_DELAY if stated < _SHORT_GIF_DELAY else stated
            elif data[at + 1] == 0xFF and data[at + 3 : at + 14] == b"NETSCAPE2.0":
                (repeats,) = struct.unpack_from("<H", data[at + 16 : at + 18].ljust(2, b"\0"))
                plays = repeats + 1 if repeats else 0
            at = _after_blocks(data, at + 2)
        else:  # the end, or damage
            break
    return ImageKind("GIF", tuple(delays), plays)


def _color_table(data: Data, at: int) -> int:
    """Return the bytes of the colour table that the flags at ``at`` announce."""
    flags = data[at] if at < len(data) else 0
    return 3 << (flags % 8 + 1) if flags & 0x80 else 0


def _after_blocks(data: Data, at: int) -> int:
    """Return where a series of sub-blocks ends."""
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


def _jpeg(data: Data) -> ImageKind:
    # Raw Motion JPEG is one JPEG file after another, all of one size. So are files of several
    # pictures (MPF: previews, gain maps), which say so.
    second = re.search(rb"\xff\xd9\x00*(\xff\xd8\xff)", data)
    if second is None or b"MPF\0" in data[: second.start()]:
        return ImageKind("JPEG")
    sizes = [_jpeg_size(data, start) for start in (0, second.start(1))]
    return ImageKind(MOTION_JPEG if sizes[0] == sizes[1] else "JPEG")


def _jpeg_size(data: Data, at: int) -> bytes:
    """Return the stored height and width of the JPEG image at ``at``."""
    at += 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return data[at + 5 : at + 9]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return b""


_WALKS: Final = {
    PNG_SIGNATURE: _png,
    b"RIFF": _webp,
    b"GIF87a": _gif,
    b"GIF89a": _gif,
    b"\xff\xd8\xff": _jpeg,
}
