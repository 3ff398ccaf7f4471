"""Read HEIC pictures: FFmpeg decodes the tiles, which are put together here."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from mien.errors import InputError
from mien.media.color import ColorSpec
from mien.media.container import MAX_PIXELS, open_container, too_large
from mien.media.frame import RGBWindow
from mien.media.planes import VideoPicture
from mien.utils.text import shown

BROKEN: Final = (struct.error, IndexError, KeyError, ValueError, StopIteration)
"""What reading the items of a damaged file raises."""

_CODED: Final = (b"hvc1", b"av01", b"avc1")


@dataclass(frozen=True, slots=True)
class HeifPicture:
    """A decoded HEIC picture.

    Attributes:
        array: RGB ``uint8`` or ``uint16 (H, W, 3)``, upright.
        profile: ICC profile; empty without one.
        exif: EXIF block; empty without one.
        xmp: XMP packet; empty without one.
    """

    array: RGBWindow
    profile: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""


def read_heic(path: Path, max_pixels: int = MAX_PIXELS) -> HeifPicture:
    """Decode the main picture of a HEIC file.

    Raises:
        InputError: when it is damaged, too large or built in a way that is not read.
    """
    try:
        items = Items(path.read_bytes())
        kind = items.kinds.get(items.primary, b"")
        if kind in _CODED:
            array = next(iter(_decoded(path, [items.primary], max_pixels).values()))
        elif kind == b"grid":
            array = _assembled(items, path, max_pixels)
        else:
            raise InputError(
                f"{shown(path)} is a HEIC picture of a kind that cannot be read; convert it to PNG."
            )
        return HeifPicture(items.upright(array), items.profile, items.exif, items.xmp)
    except InputError:
        raise
    except BROKEN as error:
        raise InputError(f"{shown(path)} is damaged: it cannot be decoded as an image.") from error


def _assembled(items: Items, path: Path, max_pixels: int) -> RGBWindow:
    """Decode a picture that is cut into tiles of one size."""
    grid = items.content(items.primary)
    rows, columns = grid[2] + 1, grid[3] + 1
    width, height = struct.unpack_from(">II" if grid[1] & 1 else ">HH", grid, 4)
    if width * height > max_pixels:
        raise too_large(path, width, height, max_pixels)
    tiles = _decoded(path, items.parts, max_pixels)
    lines = [
        np.concatenate([tiles[number] for number in items.parts[row * columns :][:columns]], axis=1)
        for row in range(rows)
    ]
    return np.concatenate(lines)[:height, :width]


def _decoded(path: Path, numbers: list[int], max_pixels: int) -> dict[int, RGBWindow]:
    """Return the RGB of coded items by number."""
    import av

    out: dict[int, RGBWindow] = {}
    left = 2 * max_pixels  # tiles may reach beyond the picture
    with open_container(path, max_pixels) as container:
        streams = [stream for stream in container.streams.video if stream.id in numbers]
        try:
            for packet in container.demux(streams):
                for frame in packet.decode():
                    left -= frame.width * frame.height
                    if left < 0:
                        raise ValueError("too many tiles")
                    picture = VideoPicture.of(frame, ColorSpec.of(frame))
                    out.setdefault(packet.stream.id, picture.read(picture.box))
        except av.FFmpegError as error:
            raise ValueError(str(error)) from error
    return out


class Items:
    """The items of a HEIF file: pictures, tiles and descriptions.

    Attributes:
        kinds: of the items, by number.
        primary: number of the main picture.
        parts: numbers of its tiles.
        profile: its ICC profile.

    Raises:
        One of BROKEN: for a damaged file.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        meta = next(span for kind, *span in _boxes(data, 0, len(data)) if kind == b"meta")
        self._boxes = {
            kind: (start, end) for kind, start, end in _boxes(data, meta[0] + 4, meta[1])
        }
        start, _ = self._boxes[b"pitm"]
        self.primary = int.from_bytes(data[start + 4 : start + (8 if data[start] else 6)], "big")
        self.kinds = dict(self._item_kinds())
        self.parts = list(self._references())
        self._properties = list(self._own_properties())
        colours = [body for kind, body in self._properties if kind == b"colr"]
        self.profile = next((c[4:] for c in colours if c[:4] in (b"prof", b"rICC")), b"")

    @property
    def exif(self) -> bytes:
        """The EXIF block."""
        content = self._of_kind(b"Exif")
        skipped = 4 + int.from_bytes(content[:4], "big")
        return content[skipped:].removeprefix(b"Exif\0\0")

    @property
    def xmp(self) -> bytes:
        """The XMP packet."""
        content = self._of_kind(b"mime")
        return content if b"xmpmeta" in content[:200] else b""

    def upright(self, array: RGBWindow) -> RGBWindow:
        """Turn and mirror a picture as the properties say, in their order."""
        for kind, body in self._properties:
            if kind == b"irot":  # anticlockwise
                array = np.rot90(array, body[0] & 3)
            elif kind == b"imir":
                array = array[:, ::-1] if body[0] & 1 else array[::-1]
        return np.ascontiguousarray(array)

    def content(self, number: int) -> bytes:
        """Return the bytes of an item."""
        data, (at, _) = self._data, self._boxes[b"iloc"]
        version, sizes = data[at], data[at + 4 : at + 6]
        offset_size, length_size = sizes[0] >> 4, sizes[0] & 15
        base_size, index_size = sizes[1] >> 4, sizes[1] & 15 if version else 0
        wide = 4 if version == 2 else 2
        at += 6

        def take(size: int) -> int:
            nonlocal at
            at += size
            return int.from_bytes(data[at - size : at], "big")

        for _ in range(take(wide)):
            item, method = take(wide), take(2) & 15 if version else 0
            take(2)
            base, parts = take(base_size), []
            for _ in range(take(2)):
                take(index_size)
                parts.append((take(offset_size), take(length_size)))
            if item == number:
                if method == 1:  # in a box of its own
                    base += self._boxes[b"idat"][0]
                return b"".join(data[base + at : base + at + size] for at, size in parts)
        raise KeyError(number)

    def _of_kind(self, kind: bytes) -> bytes:
        number = next((number for number, one in self.kinds.items() if one == kind), None)
        return b"" if number is None else self.content(number)

    def _item_kinds(self) -> Iterator[tuple[int, bytes]]:
        data, (start, end) = self._data, self._boxes[b"iinf"]
        for kind, at, _ in _boxes(data, start + (8 if data[start] else 6), end):
            if kind == b"infe" and data[at] >= 2:
                size = 4 if data[at] == 3 else 2
                number = int.from_bytes(data[at + 4 : at + 4 + size], "big")
                yield number, data[at + 6 + size : at + 10 + size]

    def _references(self) -> Iterator[int]:
        if b"iref" not in self._boxes:
            return
        data, (start, end) = self._data, self._boxes[b"iref"]
        size = 4 if data[start] else 2
        for kind, at, _ in _boxes(data, start + 4, end):
            if kind == b"dimg" and int.from_bytes(data[at : at + size], "big") == self.primary:
                (count,) = struct.unpack_from(">H", data, at + size)
                for place in range(at + size + 2, at + size + 2 + count * size, size):
                    yield int.from_bytes(data[place : place + size], "big")

    def _own_properties(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield kind and content of the main picture's properties."""
        data, inside = self._data, dict[bytes, tuple[int, int]]()
        for kind, start, end in _boxes(data, *self._boxes[b"iprp"]):
            inside[kind] = start, end
        known = [(kind, data[start:end]) for kind, start, end in _boxes(data, *inside[b"ipco"])]
        at, _ = inside[b"ipma"]
        version, long = data[at], data[at + 3] & 1
        (count,) = struct.unpack_from(">I", data, at + 4)
        at += 8
        for _ in range(count):
            size = 4 if version else 2
            number, links = int.from_bytes(data[at : at + size], "big"), data[at + size]
            at += size + 1
            for _ in range(links):
                link = int.from_bytes(data[at : at + 1 + long], "big") & (0x7FFF if long else 0x7F)
                at += 1 + long
                if number == self.primary and link:
                    yield known[link - 1]


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the content of the boxes in a part of a file."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            header = 16
        stop = end if size == 0 else min(start + size, end)
        if stop < start + header:
            return
        yield kind, start + header, stop
        start = stop
