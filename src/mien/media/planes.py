"""Decoded video frames in the file's own planes: windows become RGB, changes are written back.

A change is added to the planes as a difference, so that a sample whose colour did not change keeps
its value exactly, whatever the format, and rounding of the conversion does not add up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.media.color import UNSPECIFIED, ColorSpec, from_rgb_difference, to_rgb_matrix
from mien.media.frame import Box, Picture, RGBImage, RGBWindow, sparse_samples

if TYPE_CHECKING:
    import av

Plane = npt.NDArray[Any]

_SUBSAMPLING_NAMES: Final = {
    (1, 1): "444",
    (2, 1): "422",
    (2, 2): "420",
    (4, 1): "411",
    (4, 4): "410",
    (1, 2): "440",
}
_DEPTHS: Final = (8, 9, 10, 12, 14, 16)
_BT2020: Final = 9

EXACT: Final = 4 | 0x40000 | 0x2000
"""libswscale's flags for bicubic with full chroma and exact rounding; others darken."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A planar pixel format in the processor's byte order, one plane per component.

    Attributes:
        name: FFmpeg's name.
        kind: ``"yuv"``, ``"rgb"`` or ``"gray"``.
        bits: per sample, 8 to 16.
        across, down: factors by which chroma is subsampled.
        planes: number of the plane of each component, in the order Y U V (or R G B), alpha last.
        alpha: whether there is an alpha plane.
    """

    name: str
    kind: str
    bits: int
    across: int
    down: int
    planes: tuple[int, ...]
    alpha: bool

    @property
    def dtype(self) -> type[np.uint8 | np.uint16]:
        """Type of the samples."""
        return np.uint8 if self.bits == 8 else np.uint16

    def steps(self, component: int) -> tuple[int, int]:
        """Return the subsampling of a component, across and down."""
        chroma = self.kind == "yuv" and component in (1, 2)
        return (self.across, self.down) if chroma else (1, 1)


@lru_cache(maxsize=64)
def layout_of(name: str) -> Layout:
    """Return the layout in which frames of the pixel format ``name`` are edited.

    It is the format itself where it is planar, otherwise the planar one with the same content.
    """
    from av.video.format import VideoFormat

    form = VideoFormat(name, 64, 64)
    parts = form.components
    alpha = any(part.is_alpha for part in parts)
    colors = [part for part in parts if not part.is_alpha]
    rgb = form.is_rgb or form.has_palette or name.startswith(("bayer", "xyz"))
    chroma = [] if rgb else colors[1:]
    across, down = (64 // chroma[0].width, 64 // chroma[0].height) if chroma else (1, 1)
    bits = min(max(part.bits for part in parts), 16)
    planar = (
        len({part.plane for part in parts}) == len(parts)
        and bits in _DEPTHS
        and not (form.is_big_endian and bits > 8)
        and not form.has_palette
        and not re.search(r"msb|f16|f32|^bayer|^xyz|^mono", name)
    )
    if planar and not (len(colors) == 1 and alpha):
        kind = "rgb" if rgb else "yuv" if chroma else "gray"
        order = tuple(part.plane for part in (*colors, *(p for p in parts if p.is_alpha)))
        return Layout(name, kind, bits, across, down, order, alpha)
    depth = min((d for d in _DEPTHS if d >= bits), default=16)
    suffix = "" if depth == 8 else f"{depth}le"
    if rgb or (len(colors) == 1 and alpha):
        other = f"gbrap{suffix}" if alpha else f"gbrp{suffix}"
    elif not chroma:
        other = f"gray{suffix}"
    else:
        other = f"yuv{'a' * alpha}{_SUBSAMPLING_NAMES.get((across, down), '444')}p{suffix}"
    return layout_of(other)


@dataclass(frozen=True, slots=True)
class Orientation:
    """How decoded frames are turned upright.

    Attributes:
        turns: quarter turns clockwise, 0 to 3.
        mirrored: whether left and right are exchanged before the turn.
    """

    turns: int = 0
    mirrored: bool = False

    @classmethod
    def of(cls, matrix: Sequence[int]) -> Orientation:
        """Read a display matrix: nine numbers, the first four of a plane's linear map."""
        if len(matrix) < 5:
            return cls()
        a, b, _, c, d = matrix[:5]
        mirrored = a * d - b * c < 0
        if mirrored:
            a, b = -a, -b
        angle = float(np.degrees(np.arctan2(b - c, a + d)))
        return cls(round(angle / 90) % 4, mirrored)

    @property
    def sideways(self) -> bool:
        """Whether width and height are exchanged."""
        return self.turns % 2 == 1

    def layout(self, layout: Layout) -> Layout:
        """Return a layout that can be turned: 4:1:1 and 4:2:2 lying on their side need names."""
        if self.sideways and (layout.down, layout.across) not in _SUBSAMPLING_NAMES:
            return layout_of(
                layout.name.replace(_SUBSAMPLING_NAMES[layout.across, layout.down], "444")
            )
        return layout

    def upright(self, plane: Plane) -> Plane:
        """Return an upright view of a plane ``(H, W)``."""
        return np.rot90(plane[:, ::-1] if self.mirrored else plane, -self.turns)


@dataclass(frozen=True, slots=True)
class _Patch:
    """New samples of every colour component in an aligned box of the upright picture."""

    box: Box
    planes: tuple[Plane, ...]


@dataclass(slots=True)
class VideoPicture(Picture):
    """A decoded frame. The frame itself is never written to.

    Attributes:
        frame: in the format of ``layout``, not yet upright.
        layout: of the decoded planes.
        color: of the samples.
        orientation: how it is turned upright.
    """

    frame: av.VideoFrame
    layout: Layout
    color: ColorSpec
    orientation: Orientation = Orientation()
    _patches: tuple[_Patch, ...] = ()
    _views: tuple[Plane, ...] | None = None
    _last: tuple[Box, RGBWindow] | None = None

    @classmethod
    def of(
        cls, frame: av.VideoFrame, color: ColorSpec, orientation: Orientation | None = None
    ) -> VideoPicture:
        """Wrap a decoded frame of any pixel format; packed formats are rearranged to planes."""
        orientation = orientation or Orientation()
        layout = orientation.layout(layout_of(frame.format.name))
        if layout.name != frame.format.name:
            same = 2 if color.full_range else 1
            frame = frame.reformat(format=layout.name, src_color_range=same, dst_color_range=same)
        return cls(frame, layout, color, orientation)

    @classmethod
    def from_rgb(cls, image: RGBWindow, pixel_format: str, color: ColorSpec) -> VideoPicture:
        """Convert RGB ``uint8`` or ``uint16 (H, W, 3)`` to a picture of ``pixel_format``."""
        return cls.of(frame_from_rgb(image, pixel_format, color), color)

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.frame.height if self.orientation.sideways else self.frame.width)

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.frame.width if self.orientation.sideways else self.frame.height)

    @property
    def interlaced(self) -> bool:
        """Whether the frame holds two fields."""
        return bool(self.frame.interlaced_frame)

    @property
    def decoded(self) -> VideoPicture:
        """The picture without its changes."""
        return replace(self, _patches=(), _last=None) if self._patches else self

    @property
    def edited(self) -> bool:
        """Whether any sample differs from the decoded one."""
        return bool(self._patches)

    def read(self, box: Box) -> RGBWindow:
        """Convert a part to RGB; the last part read is kept, for others inside it."""
        if self._last is not None and self._last[0].covers(box):
            return self._last[1][box.relative_to(self._last[0]).slices]
        layout = self.layout
        if layout.kind != "yuv":
            window = self._rgb_or_gray(box)
        else:
            across, down = self._steps(1)
            margin = Box(
                box.left - 2 * across,
                box.top - 2 * down,
                box.right + 2 * across,
                box.bottom + 2 * down,
            )
            outer = margin.aligned(across, down).within(self.box)
            luma = self._samples(0, outer)
            chroma = [self._upsampled(component, outer) for component in (1, 2)]
            matrix = to_rgb_matrix(self.color.used_matrix, self.color.full_range, layout.bits)
            inner = box.relative_to(outer).slices
            yuv = cv2.merge([plane[inner] for plane in (luma, *chroma)])
            window = cv2.transform(yuv, matrix)
        window.setflags(write=False)
        self._last = (box, window)
        return window

    def replaced(self, box: Box, window: RGBWindow) -> VideoPicture:
        """Add the difference between ``window`` and the present content to the samples."""
        old = self.read(box)
        changed = _changed_part(old, window)
        if changed is None:
            return self
        across, down = self._steps(1) if self.layout.kind == "yuv" else (1, 1)
        part = Box(
            box.left + changed.left,
            box.top + changed.top,
            box.left + changed.right,
            box.top + changed.bottom,
        )
        outer = Box(part.left - across, part.top - down, part.right + across, part.bottom + down)
        outer = outer.aligned(across, down).within(self.box)
        # Differences of 8-bit samples are exact in 16 bits, which is several times faster.
        kind = cv2.CV_16S if self.layout.bits == 8 else cv2.CV_32F
        inner = part.relative_to(outer)
        change = cv2.copyMakeBorder(
            cv2.subtract(window[changed.slices], old[changed.slices], dtype=kind),
            inner.top,
            outer.height - inner.bottom,
            inner.left,
            outer.width - inner.right,
            cv2.BORDER_CONSTANT,
        )
        planes = tuple(
            self._added(i, outer, delta) for i, delta in enumerate(self._differences(change))
        )
        return replace(self, _patches=(*self._patches, _Patch(outer, planes)), _last=None)

    def brightened(self, box: Box, change: npt.NDArray[np.float32]) -> VideoPicture:
        """Add to luma, or to red, green and blue alike."""
        layout = self.layout
        across, down = self._steps(1) if layout.kind == "yuv" else (1, 1)
        outer = box.aligned(across, down).within(self.box)
        inner = box.relative_to(outer)
        limited = layout.kind != "rgb" and not self.color.full_range
        unit = 2.0 ** (layout.bits - 8) * (219 / 255 if limited else 1.0)
        delta = cv2.copyMakeBorder(
            change * np.float32(unit),
            inner.top,
            outer.height - inner.bottom,
            inner.left,
            outer.width - inner.right,
            cv2.BORDER_CONSTANT,
        )
        bright = range(3 if layout.kind == "rgb" else 1)
        planes = tuple(
            self._added(i, outer, delta) if i in bright else self._samples(i, outer)
            for i in range(1 if layout.kind == "gray" else 3)
        )
        return replace(self, _patches=(*self._patches, _Patch(outer, planes)), _last=None)

    def small(self, longest: int) -> RGBImage:
        """Scale the decoded frame down with libswscale."""
        from av.video.reformatter import Interpolation

        scale = min(1.0, longest / max(self.frame.width, self.frame.height))
        out: RGBImage = self.frame.to_ndarray(
            width=max(1, round(self.frame.width * scale)),
            height=max(1, round(self.frame.height * scale)),
            format="rgb24",
            src_colorspace=self.color.swscale_matrix,
            dst_colorspace=self.color.swscale_matrix,
            src_color_range=2 if self.color.full_range else 1,
            dst_color_range=2,
            interpolation=Interpolation.AREA,
            threads=1,
        )
        return np.ascontiguousarray(self.orientation.upright(out))

    def thumbnail(self) -> npt.NDArray[np.int16]:
        """Return samples of luma, or of green."""
        component = 1 if self.layout.kind == "rgb" else 0
        return sparse_samples(self._planes()[component], self.layout.bits)

    def to_frame(self) -> av.VideoFrame:
        """Return the upright frame in the format of ``layout``.

        Unedited upright frames are the decoded ones; others are copies with their side data.
        """
        turned = self.orientation != Orientation()
        if turned:
            return self._upright_frame()
        if not self._patches:
            return self.frame
        frame = _copied(self.frame)
        # It leaves the last line of subsampled chroma out where a side is odd.
        odd = frame.width % self.layout.across or frame.height % self.layout.down
        for component, plane in enumerate(_arrays(frame, self.layout)):
            if odd:
                plane[...] = self._planes()[component]
            self._patch(component, plane)
        return frame

    def alpha(self) -> Plane | None:
        """Return the upright alpha plane, where there is one."""
        return self._planes()[-1] if self.layout.alpha else None

    def _upright_frame(self) -> av.VideoFrame:
        import av

        across, down = self._steps(1)
        name = self.layout.name
        if (across, down) != (self.layout.across, self.layout.down):
            chroma = _SUBSAMPLING_NAMES[self.layout.across, self.layout.down]
            name = name.replace(chroma, _SUBSAMPLING_NAMES.get((across, down), "444"), 1)
        frame = av.VideoFrame(self.width, self.height, name)
        for tag in ("colorspace", "color_range", "color_primaries", "color_trc"):
            setattr(frame, tag, getattr(self.frame, tag))
        target = replace(self.layout, name=name, across=across, down=down)
        for component, (plane, own) in enumerate(
            zip(_arrays(frame, target), self._planes(), strict=True)
        ):
            plane[...] = own
            self._patch(component, plane)
        return frame

    def _planes(self) -> tuple[Plane, ...]:
        """Return upright views of the decoded components."""
        if self._views is None:
            arrays = _arrays(self.frame, self.layout)
            self._views = tuple(self.orientation.upright(plane) for plane in arrays)
        return self._views

    def _steps(self, component: int) -> tuple[int, int]:
        """Return the subsampling of a component in the upright picture."""
        across, down = self.layout.steps(component)
        return (down, across) if self.orientation.sideways else (across, down)

    def _patch(self, component: int, plane: Plane) -> None:
        """Write the patches of a component into an upright plane, in place."""
        if component >= (1 if self.layout.kind == "gray" else 3):
            return
        for patch in self._patches:
            plane[patch.box.divided(*self._steps(component)).slices] = patch.planes[component]

    def _samples(self, component: int, box: Box) -> Plane:
        """Return the samples of a component in an aligned box of the picture."""
        area = box.divided(*self._steps(component))
        out = self._planes()[component][area.slices]
        for patch in self._patches:
            there = patch.box.divided(*self._steps(component))
            common = there.within(area)
            if not common.empty:
                out = out.copy()
                part = patch.planes[component][common.relative_to(there).slices]
                out[common.relative_to(area).slices] = part
        return np.ascontiguousarray(out)

    def _rgb_or_gray(self, box: Box) -> RGBWindow:
        bits, gray = self.layout.bits, self.layout.kind == "gray"
        parts = [self._samples(i, box) for i in range(1 if gray else 3)]
        low, span = 0.0, 2.0**bits - 1
        if gray and not self.color.full_range:
            low, span = 16 * 2.0 ** (bits - 8), 219 * 2.0 ** (bits - 8)
        window = cv2.merge(parts * 3 if gray else parts)
        peak = 255.0 if bits == 8 else 65535.0
        if low == 0 and span == peak:
            return window
        gain = peak / span
        scale = np.hstack([np.eye(3) * gain, np.full((3, 1), -low * gain)])
        return cv2.transform(window, scale)

    def _upsampled(self, component: int, box: Box) -> Plane:
        """Return chroma at every pixel of an aligned box."""
        across, down = self._steps(component)
        plane = self._samples(component, box)
        if across == down == 1:
            return plane
        plane = _shifted(plane, *self._siting(), forward=True)
        size = (plane.shape[1] * across, plane.shape[0] * down)
        out = cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)
        return out[: box.height, : box.width]

    def _differences(self, change: Plane) -> list[Plane]:
        """Return the change of every component's samples for a change of RGB ``(h, w, 3)``."""
        layout = self.layout
        peak = 255.0 if layout.bits == 8 else 65535.0
        if layout.kind != "yuv":
            limited = layout.kind == "gray" and not self.color.full_range
            span = 219 * 2.0 ** (layout.bits - 8) if limited else 2.0**layout.bits - 1
            weights = _GRAY if layout.kind == "gray" else np.eye(3)
            return list(cv2.split(cv2.transform(change, weights * (span / peak))))
        matrix = from_rgb_difference(self.color.used_matrix, self.color.full_range, layout.bits)
        luma = cv2.transform(change, matrix[:1])
        across, down = self._steps(1)
        coarse = change
        if (across, down) != (1, 1):
            height, width = change.shape[:2]
            rows, columns = -(-height // down), -(-width // across)
            if (rows * down, columns * across) != (height, width):
                below, beside = rows * down - height, columns * across - width
                border = cv2.BORDER_REPLICATE
                coarse = cv2.copyMakeBorder(change, 0, below, 0, beside, border)
            coarse = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_AREA)
            coarse = _shifted(coarse, *self._siting(), forward=False)
        return [luma, *cv2.split(cv2.transform(coarse, matrix[1:]))]

    def _added(self, component: int, box: Box, delta: Plane) -> Plane:
        old = self._samples(component, box)
        if self.layout.bits == 8:
            return cv2.add(old, delta, dtype=cv2.CV_8U)
        total = cv2.add(old, delta, dtype=cv2.CV_16U)
        return cv2.min(total, 2**self.layout.bits - 1)

    def _siting(self) -> tuple[float, float]:
        """Return how far chroma lies left of and above the middle of its pixels, chroma samples.

        By convention: left in MPEG video, top left in BT.2020 4:2:0, centred where luma has the
        full range (JPEG). Where a file says otherwise the error is half a pixel of chroma at most.
        """
        across, down = self.layout.across, self.layout.down
        if self.color.full_range:
            return 0.0, 0.0
        left = 0.25 if across > 1 else 0.0
        top = 0.25 if down > 1 and self.color.matrix == _BT2020 else 0.0
        return (0.0, 0.0) if self.orientation != Orientation() else (left, top)


_GRAY: Final = np.array([[0.299, 0.587, 0.114]])


def frame_from_rgb(image: RGBWindow, pixel_format: str, color: ColorSpec) -> av.VideoFrame:
    """Convert RGB ``uint8`` or ``uint16 (H, W, 3)`` to a frame of ``pixel_format``."""
    import av

    source = "rgb24" if image.dtype == np.uint8 else "rgb48le"
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=source)
    return rgb.reformat(
        format=pixel_format,
        src_colorspace=color.swscale_matrix,
        dst_colorspace=color.swscale_matrix,
        src_color_range=2,
        dst_color_range=2 if color.full_range else 1,
        interpolation=EXACT,
    )


def _copied(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a copy of a frame with its side data.

    libswscale copies planes as they are where nothing but a tag differs from "not stated"; between
    two stated ones it would convert, slowly.
    """
    tags = frame.color_trc, frame.color_primaries
    frame.color_trc = frame.color_primaries = UNSPECIFIED
    out = frame.reformat(dst_color_trc=1, threads=1)
    for one in (frame, out):
        one.color_trc, one.color_primaries = tags
    return out


def _arrays(frame: av.VideoFrame, layout: Layout) -> list[Plane]:
    """Return the components of a frame as arrays ``(H, W)`` on its own memory."""
    out = []
    for component, number in enumerate(layout.planes):
        plane = frame.planes[number]
        across, down = layout.steps(component)
        width, height = -(-frame.width // across), -(-frame.height // down)
        samples = np.frombuffer(plane, layout.dtype)
        stride = plane.line_size // samples.itemsize
        rows = np.lib.stride_tricks.as_strided(
            samples, (height, width), (stride * samples.itemsize, samples.itemsize)
        )
        out.append(rows)
    return out


def _changed_part(old: RGBWindow, new: RGBWindow) -> Box | None:
    """Return the box in which two windows differ; None where they are equal."""
    apart = cv2.absdiff(old, new).reshape(old.shape[0], -1)
    rows = np.flatnonzero(apart.max(1))
    if not len(rows):
        return None
    columns = np.flatnonzero(apart.max(0)) // 3
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _shifted(plane: Plane, left: float, top: float, *, forward: bool) -> Plane:
    """Move samples that lie ``left`` and ``top`` of the middle of their pixels to it, or back."""
    if left == top == 0:
        return plane

    def kernel(shift: float) -> npt.NDArray[np.float32]:
        taps = np.array([0.0, 1 - shift, shift], np.float32)
        return taps if forward else taps[::-1].copy()

    return cv2.sepFilter2D(plane, -1, kernel(left), kernel(top), borderType=cv2.BORDER_REPLICATE)
