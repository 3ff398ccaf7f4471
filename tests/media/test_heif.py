from __future__ import annotations

import re
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from mien.errors import InputError
from mien.media.still import is_still, open_still

Image = npt.NDArray[np.uint8]


def box(kind: bytes, *parts: bytes) -> bytes:
    return struct.pack(">I4s", sum(map(len, parts)) + 8, kind) + b"".join(parts)


def full(kind: bytes, version: int, *parts: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24), *parts)


def coded(image: Image) -> tuple[bytes, bytes]:
    """Return the decoder's configuration and the data of an image, in HEVC without loss."""
    encoder = av.CodecContext.create("libx265", "w")
    encoder.width, encoder.height, encoder.pix_fmt = image.shape[1], image.shape[0], "yuv444p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {
        "x265-params": "log-level=none:keyint=1:lossless=1:info=0",
        "preset": "ultrafast",
    }
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv444p")
    stream = b"".join(bytes(packet) for one in (frame, None) for packet in encoder.encode(one))
    units = [unit for unit in re.split(rb"\0\0\0?\x01", stream) if unit]
    heads = [unit for unit in units if unit[0] >> 1 in (32, 33, 34)]
    profile = next(unit for unit in heads if unit[0] >> 1 == 33).replace(b"\0\0\3", b"\0\0")[3:15]
    config = b"\1" + profile + bytes.fromhex("f000fcfff8f800000f") + bytes([len(heads)])
    for unit in heads:
        config += bytes([0x80 | unit[0] >> 1]) + struct.pack(">HH", 1, len(unit)) + unit
    body = [unit for unit in units if unit not in heads]
    return config, b"".join(struct.pack(">I", len(unit)) + unit for unit in body)


def heic(image: Image, tiles: int, more: tuple[bytes, ...] = (), exif: bytes = b"") -> bytes:
    """Return a HEIC file of ``tiles`` x ``tiles`` parts; ``more`` properties are its own."""
    height, width = image.shape[0] // tiles, image.shape[1] // tiles
    parts = [
        coded(np.ascontiguousarray(image[y : y + height, x : x + width]))
        for y in range(0, height * tiles, height)
        for x in range(0, width * tiles, width)
    ]
    data = [body for _, body in parts]
    count = len(parts)
    primary = 1 if tiles == 1 else count + 1
    kinds = dict.fromkeys(range(1, count + 1), b"hvc1") | ({} if tiles == 1 else {primary: b"grid"})
    if exif:
        kinds[count + 2] = b"Exif"
        data.append(struct.pack(">I", 6) + b"Exif\0\0" + exif)
    infos = [
        full(b"infe", 2, struct.pack(">HH4sB", number, 0, kind, 0))
        for number, kind in kinds.items()
    ]
    size = full(b"ispe", 0, struct.pack(">II", width, height))
    properties = (box(b"hvcC", parts[0][0]), size, *more)
    own = bytes(range(3, 3 + len(more)))
    links = {
        number: b"\x81\2" + (own if number == primary else b"") for number in range(1, count + 1)
    }
    links.setdefault(primary, own)
    joined = [struct.pack(">HB", number, len(one)) + one for number, one in links.items()]
    association = full(b"ipma", 0, struct.pack(">I", len(joined)), *joined)
    grid = struct.pack(">4B2H", 0, 0, tiles - 1, tiles - 1, image.shape[1], image.shape[0])
    dimg = struct.pack(f">{count + 2}H", primary, count, *range(1, count + 1))
    head = box(b"ftyp", b"heic", bytes(4), b"mif1heic")

    def meta(at: int) -> bytes:
        stored = [number for number in kinds if kinds[number] != b"grid"]
        places = b""
        for number, one in zip(stored, data, strict=True):
            places += struct.pack(">4H2I", number, 0, 0, 1, at, len(one))
            at += len(one)
        if tiles > 1:
            places += struct.pack(">4H2I", primary, 1, 0, 1, 0, 8)
        return full(
            b"meta",
            0,
            full(b"hdlr", 0, bytes(4), b"pict", bytes(13)),
            full(b"pitm", 0, struct.pack(">H", primary)),
            full(b"iloc", 1, b"\x44\0", struct.pack(">H", len(kinds)), places),
            full(b"iinf", 0, struct.pack(">H", len(infos)), *infos),
            box(b"iprp", box(b"ipco", *properties), association),
            full(b"iref", 0, box(b"dimg", dimg)),
            box(b"idat", grid),
        )

    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", *data)


def picture() -> Image:
    image = np.full((128, 192, 3), 128, np.uint8)
    image[:64, :96] = 200, 40, 40
    image[64:, 96:] = 40, 40, 200
    return image


TURN = box(b"irot", b"\1")
"""A quarter turn anticlockwise."""

MIRROR = box(b"imir", b"\1")
"""Left and right exchanged."""


@pytest.mark.parametrize("tiles", [1, 2])
@pytest.mark.parametrize("more", [(), (TURN,), (MIRROR,), (TURN, MIRROR)])
def test_heic_is_put_together_and_turned(
    tmp_path: Path, tiles: int, more: tuple[bytes, ...]
) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(heic(picture(), tiles, more))
    assert is_still(path)
    true = picture()
    for one in more:
        true = np.rot90(true) if one is TURN else true[:, ::-1]
    still = open_still(path)
    assert still.array.shape == true.shape
    assert np.abs(still.array.astype(int) - true).max() <= 3
    assert not still.lossless


@pytest.mark.parametrize("tiles", [1, 2])
def test_profile_and_exif_of_heic_are_read(tmp_path: Path, tiles: int) -> None:
    exif = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, 6, 0)
    path = tmp_path / "a.heic"
    path.write_bytes(heic(picture(), tiles, (box(b"colr", b"prof", b"a profile"),), exif))
    still = open_still(path)
    assert still.metadata.profile == b"a profile"
    # The orientation of HEIC is a property of its own; EXIF's does not count.
    assert still.metadata.exif == exif.replace(b"\6", b"\1")
    assert still.array.shape == (128, 192, 3)


def test_damaged_and_huge_heic_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    whole = heic(picture(), 2)
    for data in (whole[:200], whole[: len(whole) // 2], whole.replace(b"dimg", b"gmid")):
        path.write_bytes(data)
        with pytest.raises(InputError, match="is damaged"):
            open_still(path)
    path.write_bytes(whole)
    with pytest.raises(InputError, match="192x128, above the limit of 20000"):
        open_still(path, 20_000)
    path.write_bytes(whole.replace(b"grid", b"iden"))
    with pytest.raises(InputError, match="cannot be read; convert it to PNG"):
        open_still(path)
