"""Frames of at most 256 colours, for GIF."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mien.media.frame import Picture, RGBImage, RGBWindow, as_picture, to_8_bits
from mien.media.planes import VideoPicture

if TYPE_CHECKING:
    import av

Codes = npt.NDArray[np.int32]
"""Colours as numbers, ``red << 16 | green << 8 | blue``."""

_COLORS: Final = 255
"""One entry of the palette stands for transparency."""

_SPREAD: Final = 14
"""Strength of the dither in levels, about the distance of neighbours in a palette."""

_WORSE: Final = 1.5
"""Growth of a palette's error from which a scene gets a new one."""

_BAYER: Final = np.array(
    [
        [0, 32, 8, 40, 2, 34, 10, 42],
        [48, 16, 56, 24, 50, 18, 58, 26],
        [12, 44, 4, 36, 14, 46, 6, 38],
        [60, 28, 52, 20, 62, 30, 54, 22],
        [3, 35, 11, 43, 1, 33, 9, 41],
        [51, 19, 59, 27, 49, 17, 57, 25],
        [15, 47, 7, 39, 13, 45, 5, 37],
        [63, 31, 55, 23, 61, 29, 53, 21],
    ]
)
_PATTERN: Final = ((_BAYER / 63 - 0.5) * _SPREAD).astype(np.float32)
"""Ordered dither: it depends on the place alone, so that what stands still does not flicker."""


class PaletteMapper:
    """Turns the pictures of a clip into ``pal8`` frames.

    A picture that has few enough colours, such as one out of a GIF file, keeps them: pixels that
    an edit did not change stay exact. Other scenes get one palette each.

    Attributes:
        reduced: whether pictures had too many colours.
        hardened: whether partly transparent pixels became opaque or invisible.
    """

    def __init__(self) -> None:
        self.reduced = self.hardened = False
        self._palette: Codes = np.zeros(0, np.int32)
        self._error: float | None = None

    def frame(self, image: Picture | RGBWindow) -> av.VideoFrame:
        """Return a picture as a frame with a palette."""
        import av

        picture = as_picture(image)
        shown = _codes(picture)
        before, hidden = shown, np.zeros(shown.shape, bool)
        if isinstance(picture, VideoPicture):
            before = _codes(picture.decoded) if picture.edited else shown
            hidden = self._hidden(picture)
        colors = _few_colors(before[~hidden])
        if colors is None:
            self.reduced = True
            self._follow_scene(before[~hidden])
            out = self._dithered(shown)
        else:
            self._error = None
            if not len(self._palette) or not np.isin(colors, self._palette).all():
                self._palette = colors if len(colors) else np.zeros(1, np.int32)
            out = np.searchsorted(self._palette, before).clip(0, len(self._palette) - 1)
            changed = shown != before
            if changed.any():
                out[changed] = self._dithered(shown)[changed]
        out = out.astype(np.uint8)
        out[hidden] = _COLORS
        return av.VideoFrame.from_ndarray((out, self._entries()), format="pal8")

    def _hidden(self, picture: VideoPicture) -> npt.NDArray[np.bool_]:
        alpha = picture.alpha()
        if alpha is None:
            return np.zeros((picture.height, picture.width), bool)
        peak = 2**picture.layout.bits - 1
        self.hardened |= bool(((alpha > 0) & (alpha < peak)).any())
        return np.asarray(alpha <= peak // 2)

    def _entries(self) -> npt.NDArray[np.uint8]:
        """Return the palette as alpha, red, green, blue."""
        out = np.zeros((256, 4), np.uint8)
        out[:_COLORS, 0] = 255
        out[: len(self._palette), 1:] = _channels(self._palette)
        return out

    def _follow_scene(self, codes: Codes) -> None:
        """Make a palette for a new scene; keep the present one while it does."""
        sample = codes[:: max(1, codes.size // 4096)]
        if self._error is None or self._mean_error(sample) > _WORSE * self._error + 1:
            self._palette = _best_palette(codes)
            self._error = self._mean_error(sample)

    def _mean_error(self, codes: Codes) -> float:
        nearest = self._palette[_nearest(_channels(codes), self._palette)]
        return float(np.abs(_channels(codes) - _channels(nearest)).mean())

    def _dithered(self, codes: Codes) -> npt.NDArray[np.intp]:
        """Return the entries whose mixture comes nearest to each colour."""
        height, width = codes.shape
        pattern = np.tile(_PATTERN, (height // 8 + 1, width // 8 + 1))[:height, :width, None]
        wanted = (_channels(codes) + pattern).clip(0, 255)
        # Colours are looked up in steps of four levels.
        cells = (wanted.astype(np.int32) >> 2) @ np.array([4096, 64, 1])
        present = np.zeros(64**3, bool)
        present[cells] = True
        used = np.flatnonzero(present)
        levels = np.stack([used >> 12, used >> 6 & 63, used & 63], axis=1) * 4 + 1.5
        entries = np.zeros(64**3, np.intp)
        entries[used] = _nearest(levels, self._palette)
        return entries[cells]


def _codes(picture: Picture) -> Codes:
    rgb = to_8_bits(picture.read(picture.box)).astype(np.int32)
    return rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]


def _channels(codes: Codes) -> npt.NDArray[np.float32]:
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1).astype(np.float32)


def _few_colors(codes: Codes) -> Codes | None:
    """Return all colours in rising order; None where there are too many for a palette."""
    if len(np.unique(codes[::17])) > _COLORS:
        return None
    found = np.unique(codes)
    return found if len(found) <= _COLORS else None


def _nearest(colors: npt.NDArray[Any], palette: Codes) -> npt.NDArray[np.intp]:
    """Return the entry nearest to each of the colours ``(N, 3)``."""
    entries = _channels(palette)
    out = [
        (np.square(entries).sum(1) - 2 * part.astype(np.float32) @ entries.T).argmin(1)
        for part in np.array_split(colors, len(colors) // 8192 + 1)
    ]
    return np.concatenate(out)


def _best_palette(codes: Codes) -> Codes:
    """Return the colours that stand best for all others, in rising order."""
    import av
    import av.filter

    rows = max(1, min(codes.size // 64, 2**14))
    picked = np.resize(codes[:: max(1, codes.size // (64 * rows))], (rows, 64))
    image: RGBImage = _channels(picked).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="bgra")
    graph = av.filter.Graph()
    source = graph.add_buffer(width=64, height=rows, format=frame.format, time_base=Fraction(1, 25))
    maker = graph.add("palettegen", f"max_colors={_COLORS}:reserve_transparent=0")
    sink = graph.add("buffersink")
    source.link_to(maker)
    maker.link_to(sink)
    graph.configure()
    graph.vpush(frame)
    graph.vpush(None)
    colors = graph.vpull().to_ndarray(format="rgb24").reshape(-1, 3).astype(np.int32)[:_COLORS]
    return np.unique(colors @ np.array([65536, 256, 1], np.int32)).astype(np.int32)
