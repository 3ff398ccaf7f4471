"""Animated WebP, which FFmpeg does not decode: its frames are decoded and composed here."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.media.kinds import Data, image_kind, webp_chunks
from mien.utils.text import shown

if TYPE_CHECKING:
    import av

Canvas = npt.NDArray[np.uint8]

_ALPHA: Final = 0x10
"""Flag of a file, or of one frame that is wrapped as a file, with transparency."""

_DISPOSE, _REPLACE = 1, 2
"""Flags of a frame: its area is cleared after it; it replaces the canvas rather than covers it."""

_MILLISECOND: Final = Fraction(1, 1000)


class AnimatedWebP:
    """An animation that is decoded one frame after another, in constant memory.

    Attributes:
        width, height: of every frame, pixels.
        lossless: whether all frames are stored exactly.

    Args:
        path: an animated WebP file.

    Raises:
        InputError: when it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        kind = image_kind(path)
        self._delays = kind.delays if kind is not None else ()
        with path.open("rb") as file:
            head = file.read(30)
        if head[12:16] != b"VP8X" or len(head) < 30:
            raise InputError(f"{shown(path)} is damaged: it cannot be decoded as an image.")
        self._alpha = bool(head[20] & _ALPHA)
        self.width, self.height = _number(head, 24) + 1, _number(head, 27) + 1
        with self._opened() as data:
            codecs = [data[at : at + 4] for at, _ in _frames(data)]
        self.lossless = all(codec == b"VP8L" for codec in codecs)

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yield the frames, ``bgra`` or ``bgr24``, with times in milliseconds.

        Raises:
            ValueError: at a frame that cannot be decoded.
        """
        import av

        canvas = np.zeros((self.height, self.width, 4), np.uint8)
        time = Fraction(0)
        with self._opened() as data:
            for (at, size), delay in zip(_frames(data), self._delays, strict=False):
                left, top = 2 * _number(data, at - 16), 2 * _number(data, at - 13)
                flags = data[at - 1]
                image = _decoded(data[at : at + size - 16])
                height, width = image.shape[:2]
                area = canvas[top : top + height, left : left + width]
                if area.shape[:2] != image.shape[:2]:
                    raise ValueError("a frame reaches beyond the picture")
                area[...] = image if flags & _REPLACE else _covered(area, image)
                seen = canvas if self._alpha else np.ascontiguousarray(canvas[..., :3])
                frame = av.VideoFrame.from_ndarray(seen, format="bgra" if self._alpha else "bgr24")
                frame.pts, frame.time_base = round(time / _MILLISECOND), _MILLISECOND
                yield frame
                time += delay
                if flags & _DISPOSE:
                    area[...] = 0

    def _opened(self) -> mmap.mmap:
        with self._path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def set_last_delay(path: Path, seconds: Fraction) -> None:
    """Set how long the last frame of a file is shown: libwebp gives it an average length."""
    with path.open("r+b") as file:
        data = file.read()
        frames = list(_frames(data))
        if frames:
            file.seek(frames[-1][0] - 4)
            file.write(min(round(seconds / _MILLISECOND), 2**24 - 1).to_bytes(3, "little"))


def _frames(data: Data) -> Iterator[tuple[int, int]]:
    """Yield where the coded data of every whole frame begins, behind its header, and its size."""
    for kind, at, size in webp_chunks(data):
        if kind == b"ANMF" and size >= 16 and at + size <= len(data):
            yield at + 16, size


def _decoded(data: bytes) -> Canvas:
    """Decode one frame: blue, green, red and alpha."""
    extra = b""
    if data[:4] == b"ALPH":
        at = next((at for kind, at, _ in webp_chunks(data, 0) if kind == b"VP8 "), len(data))
        if at + 10 > len(data):
            raise ValueError("a frame has no picture")
        sizes = struct.unpack_from("<HH", data, at + 6)
        sides = b"".join(((size & 0x3FFF) - 1).to_bytes(3, "little") for size in sizes)
        extra = struct.pack("<4sIB3x", b"VP8X", 10, _ALPHA) + sides
    body = b"WEBP" + extra + data
    whole = np.frombuffer(struct.pack("<4sI", b"RIFF", len(body)) + body, np.uint8)
    try:
        image: Any = cv2.imdecode(whole, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(error.err) from error
    if image is None or image.ndim != 3:
        raise ValueError("a frame cannot be decoded")
    return image if image.shape[2] == 4 else cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)


def _covered(under: Canvas, over: Canvas) -> Canvas:
    """Lay one translucent picture over another; colours are not multiplied by alpha."""
    alpha = over[..., 3:]
    if alpha.min() == 255:
        return over
    share = alpha.astype(np.float32) / 255
    below = under[..., 3:].astype(np.float32) / 255 * (1 - share)
    total = share + below
    mixed = (over[..., :3] * share + under[..., :3] * below) / np.maximum(total, 1e-6)
    out = np.rint(np.concatenate([mixed, 255 * total], axis=2)).astype(np.uint8)
    return np.where(alpha == 0, under, np.where(alpha == 255, over, out))


def _number(data: Data, at: int) -> int:
    """Return a number of 24 bits."""
    return int.from_bytes(data[at : at + 3], "little")
