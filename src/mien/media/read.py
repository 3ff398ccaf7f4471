"""Read videos: one frame after another in the file's own planes, with its own times."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from mien.errors import InputError
from mien.media.color import ColorSpec
from mien.media.container import (
    MAX_PIXELS,
    existing_file,
    is_join,
    may_be_joined,
    open_container,
)
from mien.media.frame import Frame, Picture, RGBImage
from mien.media.kinds import MOTION_JPEG, ImageKind, image_kind
from mien.media.planes import (
    Layout,
    Orientation,
    VideoPicture,
    frame_from_rgb,
    layout_of,
)
from mien.media.size import check_size
from mien.media.webp import AnimatedWebP
from mien.utils.closing import Closing
from mien.utils.text import shown

if TYPE_CHECKING:
    import av.container
    import av.video

    _Timed = tuple[av.VideoFrame, Fraction]

_MAX_MISSING: Final = 0.02
"""Fraction of a video that may be missing before it counts as damaged."""

_FALLBACK_FRAMES_PER_SECOND: Final = Fraction(25)

_FAR_APART: Final = 8
"""Frames between pictures of a first look from which it may miss the frame meant by some."""

_BOTTOM_FIRST: Final = (3, 4)
"""FFmpeg's codes of field orders in which the lower field is shown first."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Properties of a video, known before its frames are read.

    Attributes:
        path: the file.
        width, height: of the upright frame, pixels.
        rate: average frames per second, exact.
        time_base: seconds per tick of the time stamps.
        frames: number of frames, if the container states it.
        duration: seconds, if the container states it.
        orientation: how decoded frames are turned upright.
        has_audio: whether there is a sound track.
        color: matrix, range and tags.
        layout: pixel format of the frames.
        pixel_aspect: width of a pixel of the upright frame divided by its height.
        start: time of the first frame on the container's clock, seconds.
        interlaced: whether frames hold two fields.
        bottom_first: whether the lower field comes first.
        codec: FFmpeg's name of the codec.
        mastering: bytes of FFmpeg's record of the mastering display of an HDR video, if stated.
        light_level: likewise of its content light level.
        plays: how often an animation is shown; 0 for endlessly, as any other clip.
        last_delay: how long the last frame of an animation is shown, seconds; None if unknown.
        exact: whether the frames of an animation are stored without loss.
    """

    path: Path
    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    frames: int | None
    duration: Fraction | None
    orientation: Orientation
    has_audio: bool
    color: ColorSpec
    layout: Layout
    pixel_aspect: Fraction = Fraction(1)
    start: Fraction = Fraction(0)
    interlaced: bool = False
    bottom_first: bool = False
    codec: str = ""
    mastering: bytes = b""
    light_level: bytes = b""
    plays: int = 0
    last_delay: Fraction | None = None
    exact: bool = False

    @classmethod
    def new(cls, path: Path, image: RGBImage, rate: Fraction, frames: int | None) -> Self:
        """Describe a video to be made of pictures like ``image``, of ``frames`` where known."""
        height, width = image.shape[:2]
        return cls(
            path=path,
            width=width,
            height=height,
            rate=rate,
            time_base=1 / (rate * 512),
            frames=frames,
            duration=None if frames is None else frames / rate,
            orientation=Orientation(),
            has_audio=False,
            color=ColorSpec.usual(min(width, height)),
            layout=layout_of("yuv420p"),
        )


class VideoReader(Closing):
    """Reads a video lazily; use it as a context manager and iterate over it.

    Frames come in the order they are shown; times count from the first frame. Memory does not
    grow with length. A truncated file yields what can be decoded; ``damaged`` then holds a
    description of what is missing, and ``warnings`` what else was changed.

    Args:
        path: the file.
        max_pixels: largest width x height of its frames.

    Raises:
        InputError: when the file cannot be read, has no video stream or is too large.
    """

    def __init__(self, path: str | Path, max_pixels: int = MAX_PIXELS) -> None:
        self.path = Path(path)
        self._max_pixels = max_pixels
        self.damaged: str | None = None
        self.warnings: tuple[str, ...] = ()
        self._refitted = False
        self._kind = image_kind(existing_file(self.path))
        if self._animation is not None:
            check_size(self.path, self._max_pixels)
        if self._animation is not None and self._animation.metadata:
            found = ", ".join(dict.fromkeys(self._animation.metadata))
            self.warnings = (f"{shown(self.path)}: {found} of the animation cannot be kept.",)
        self._container: av.container.InputContainer | None = None
        self._webp: AnimatedWebP | None = None
        self._slots: list[Fraction] = []
        self._packets = 0
        try:
            self._open()
            self.info = self._describe(self._first_frame())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame from the start."""
        self._open()
        start: Fraction | None = None
        last = Fraction(-1)
        end = before = skipped = Fraction(0)
        count = 0
        joinable = self._container is not None and may_be_joined(self._container)
        for index, raw in enumerate(self._decode()):
            time = self._time_of(raw, index)
            start = time if start is None else start
            end = time + 1 / self.info.rate
            step = time - before
            if index and (joinable or step > 0) and is_join(step, joinable=joinable):
                skipped += step - 1 / self.info.rate  # the next recording follows at once
            before = time
            time = time - start - skipped
            if time <= last:  # broken time stamps: keep the order, one nominal frame apart
                time = last + 1 / self.info.rate
            last = time
            yield Frame(self._picture(raw), time, index)
            count = index + 1
        self._check_complete(count, end)

    def first_look(self, count: int, seconds: float, begin: float = 0.0) -> Iterator[Picture]:
        """Yield up to ``count`` pictures, spread evenly over the ``seconds`` from ``begin`` on.

        Where they are far apart, frames that no other one is predicted from are not decoded.
        """
        rate = float(self.info.rate)
        length = min(seconds, max(0.0, float(self.info.duration or begin + seconds) - begin))
        every = max(1, int(length * rate / count))
        self._open()
        if begin:
            self._seek(begin)
        sparse = every >= _FAR_APART and self._container is not None
        if sparse:
            self._stream.codec_context.skip_frame = "NONREF"
        taken, first = 0, 0
        for index, raw in enumerate(self._decode()):
            place = self._packets - 1 if sparse else index
            if begin and self._time_of(raw, index) - self.info.start < begin:
                first = place + 1
                continue
            if place - first >= every * count:
                return
            if place - first >= every * taken:
                taken += 1
                yield self._picture(raw)

    def frame_at(self, seconds: float) -> Frame:
        """Return the frame that is shown at a time, or the last one; its index is an estimate.

        The file is searched, not decoded from its start, where it can be.

        Raises:
            InputError: when nothing can be decoded.
        """
        return next(self.frames_from(seconds))

    def frames_from(self, seconds: float) -> Iterator[Frame]:
        """Yield the frame that :meth:`frame_at` returns and all after it; indices are estimates.

        Raises:
            InputError: when nothing can be decoded.
        """
        self._open()
        sought = self._seek(seconds)
        shown, rest = self._shown_at(seconds)
        if sought and (shown is None or shown[1] > seconds + 1 / self.info.rate):
            self._open()  # the file's index is wrong, or it has none
            shown, rest = self._shown_at(seconds)
        if shown is None:
            raise InputError(f"{self.path} is damaged: none of its frames can be decoded.")
        for raw, stamp in itertools.chain((shown,), rest):
            time = max(Fraction(0), stamp)
            yield Frame(self._picture(raw), time, round(time * self.info.rate))

    def _seek(self, seconds: float) -> bool:
        """Move to the last key frame before a time; return whether that is possible."""
        import av

        if self._container is None or self._reordered or may_be_joined(self._container):
            return False
        place = (Fraction(seconds) + self.info.start) / (
            self._stream.time_base or self.info.time_base
        )
        try:
            self._container.seek(int(place), stream=self._stream)
        except av.FFmpegError:
            return False
        return True

    def _shown_at(self, seconds: float) -> tuple[_Timed | None, Iterator[_Timed]]:
        """Decode on; return the last frame that begins by a time, or else the first, and the rest.

        Times count from the first frame.
        """
        timed = (
            (raw, self._time_of(raw, index) - self.info.start)
            for index, raw in enumerate(self._decode())
        )
        shown: _Timed | None = None
        for one in timed:
            if shown is not None and one[1] > seconds:
                return shown, itertools.chain((one,), timed)
            shown = one
        return shown, timed

    def _check_complete(self, count: int, end: Fraction) -> None:
        """Set ``damaged`` when clearly less came than the container states.

        ``end`` is when the last frame ends on the container's clock.
        """
        if self.damaged is not None:
            return
        name = "" if self._container is None else self._container.format.name
        stated = 0
        came = self._packets
        tolerated = 2
        if self._animation is not None:
            stated, came, tolerated = len(self._animation.delays), count, 0
        elif "mov" in name:  # an edit list may hide frames that are there
            stated = len(self._stream.index_entries or ())
        elif name == "avi":  # a repeated frame is a slot without a packet
            stated, came = self._stream.frames, round(end * self.info.rate)
        if stated - came > max(tolerated, _MAX_MISSING * stated):
            self.damaged = f"it breaks off after {count} of {stated} frames"
        if "matroska" not in name:
            return
        length = _tag_seconds(self._stream.metadata.get("DURATION", ""))
        short = length - float(end) if length is not None else 0.0
        if length is not None and short > max(2 / float(self.info.rate), _MAX_MISSING * length):
            self.damaged = f"it breaks off {short:.1f} s before its end"

    @property
    def _animation(self) -> ImageKind | None:
        return self._kind if self._kind is not None and self._kind.animated else None

    def _open(self) -> None:
        """Open the file at its start."""
        # Seeking to the start loses frames in some containers (MPEG-PS); opening again does not.
        self.close()
        self._slots, self._packets = [], 0
        if self._animation is not None and self._animation.name == "WebP":
            self._webp = AnimatedWebP(self.path)
            return
        raw = self._kind is not None and self._kind.name == MOTION_JPEG
        self._container = open_container(self.path, self._max_pixels, "mjpeg" if raw else None)
        if self._container.format.name.endswith("_pipe"):
            raise InputError(
                f"{shown(self.path)} is a single image or damaged, not a video; images of kinds "
                "that are not read must be converted to PNG first."
            )
        streams = _pictures(self._container)
        if not streams:
            raise InputError(f"{self.path} has no video stream (sound only?).")
        self._stream = streams[0]
        self._stream.thread_type = "AUTO"
        self._decoder = self._alpha_decoder()
        # AVI counts slots; the order of B-frames is not in it.
        self._reordered = self._container.format.name == "avi" and bool(
            self._stream.codec_context.has_b_frames
        )

    def _alpha_decoder(self) -> av.VideoCodecContext | None:
        """Return libvpx for transparent VP8 and VP9: FFmpeg's own decoders drop the alpha."""
        import av

        name = {"vp9": "libvpx-vp9", "vp8": "libvpx"}.get(self._stream.codec_context.name)
        tags = {key.lower(): value for key, value in self._stream.metadata.items()}
        if name is None or tags.get("alpha_mode") != "1":
            return None
        decoder = av.CodecContext.create(name, "r")
        return decoder if isinstance(decoder, av.VideoCodecContext) else None

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Yield decoded frames; damaged packets are recorded in ``damaged`` and skipped."""
        import av

        if self._webp is not None:
            try:
                yield from self._webp.frames()
            except ValueError as error:
                self.damaged = f"a part could not be decoded: {error}"
            return
        if self._container is None:
            return
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                self.damaged = f"reading broke off: {error}"
                return
            if packet.size:
                self._packets += 1
                if self._reordered and packet.dts is not None:
                    heapq.heappush(self._slots, packet.dts * Fraction(packet.time_base))
            try:
                if self._decoder is None:
                    yield from packet.decode()
                else:
                    for frame in self._decoder.decode(packet if packet.size else None):
                        frame.time_base = self._stream.time_base
                        yield frame
            except av.FFmpegError as error:
                self.damaged = f"a part could not be decoded: {error}"

    def _first_frame(self) -> av.VideoFrame:
        for raw in self._decode():
            return raw
        raise InputError(f"{self.path} is damaged: none of its frames can be decoded.")

    def _time_of(self, raw: av.VideoFrame, index: int) -> Fraction:
        if self._slots:
            return heapq.heappop(self._slots)
        if raw.pts is None or raw.time_base is None:
            return index / self.info.rate
        return raw.pts * raw.time_base

    def _picture(self, raw: av.VideoFrame) -> Picture:
        info = self.info
        decoded = (
            (info.height, info.width) if info.orientation.sideways else (info.width, info.height)
        )
        if (raw.width, raw.height) != decoded:
            raw = self._letterboxed(raw, *decoded)
        if info.orientation.layout(layout_of(raw.format.name)) != info.layout:
            raw = raw.reformat(format=info.layout.name)
        return VideoPicture.of(raw, info.color, info.orientation)

    def _letterboxed(self, raw: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
        """Fit a frame of another size into the size of the first one, with black bars."""
        if not self._refitted:
            self._refitted = True
            self.warnings += (
                f"{self.path}: frames change from {width}x{height} to {raw.width}x{raw.height} on "
                "the way; they were fitted into the first size, with black bars.",
            )
        scale = min(width / raw.width, height / raw.height)
        inner = (max(1, round(raw.width * scale)), max(1, round(raw.height * scale)))
        small = raw.to_ndarray(format="rgb24", width=inner[0], height=inner[1])
        canvas = np.zeros((height, width, 3), np.uint8)
        left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
        canvas[top : top + inner[1], left : left + inner[0]] = small
        out = frame_from_rgb(canvas, self.info.layout.name, self.info.color)
        out.pts, out.time_base = raw.pts, raw.time_base
        return out

    def _describe(self, first: av.VideoFrame) -> VideoInfo:
        side_data = _side_data(first)
        matrix = side_data.get("DISPLAYMATRIX")
        orientation = Orientation(round(-first.rotation / 90) % 4)
        if matrix:
            orientation = Orientation.of(np.frombuffer(matrix, np.int32).tolist())
        width, height = first.width, first.height
        if orientation.sideways:
            width, height = height, width
        start = Fraction(0)
        if self._slots:
            start = self._slots[0]
        elif first.pts is not None and first.time_base is not None:
            start = first.pts * Fraction(first.time_base)
        info = VideoInfo(
            path=self.path,
            width=width,
            height=height,
            rate=_FALLBACK_FRAMES_PER_SECOND,
            time_base=Fraction(first.time_base or Fraction(1, 90_000)),
            frames=None,
            duration=None,
            orientation=orientation,
            has_audio=False,
            color=ColorSpec.of(first),
            layout=orientation.layout(layout_of(first.format.name)),
            start=start,
            interlaced=bool(first.interlaced_frame),
            mastering=side_data.get("MASTERING_DISPLAY_METADATA", b""),
            light_level=side_data.get("CONTENT_LIGHT_LEVEL", b""),
        )
        return self._animation_of(self._stream_of(info))

    def _stream_of(self, info: VideoInfo) -> VideoInfo:
        """Add what the container and its video stream state."""
        if self._container is None:
            return info
        stream = self._stream
        rate = Fraction(stream.average_rate or stream.guessed_rate or info.rate)
        duration: Fraction | None = None
        if stream.duration and stream.time_base:
            duration = stream.duration * stream.time_base
        elif self._container.duration:
            duration = Fraction(self._container.duration, 1_000_000)
        frames = stream.frames or (round(duration * rate) if duration else None)
        return replace(
            info,
            rate=rate if rate > 0 else info.rate,
            time_base=Fraction(stream.time_base or Fraction(1, 90_000)),
            frames=frames or None,
            duration=duration,
            has_audio=bool(self._container.streams.audio),
            pixel_aspect=_pixel_aspect(stream, info.orientation),
            bottom_first=stream.codec_context.field_order in _BOTTOM_FIRST,
            codec=stream.codec_context.name,
        )

    def _animation_of(self, info: VideoInfo) -> VideoInfo:
        """Add the timing that an animation states."""
        if self._animation is None:
            return info
        delays = self._animation.delays
        duration = sum(delays, Fraction(0))
        return replace(
            info,
            rate=len(delays) / duration,
            frames=len(delays),
            duration=duration,
            codec=info.codec or "webp",
            plays=self._animation.plays,
            last_delay=delays[-1],
            exact=self._webp is None or self._webp.lossless,
        )


def _side_data(frame: av.VideoFrame) -> dict[str, bytes]:
    try:
        return {data.type.name: bytes(data) for data in frame.side_data}
    except ValueError:  # a kind that PyAV does not know, such as EXIF
        return {}


def has_picture(path: str | Path) -> bool:
    """Return whether a file has a video stream that is not the cover image of a song.

    Raises:
        InputError: when there is no such file, or it is not a media file.
    """
    with open_container(existing_file(path)) as container:
        return bool(_pictures(container))


def _pictures(container: av.container.InputContainer) -> list[av.video.VideoStream]:
    found = container.streams.video
    return [s for s in found if s.codec_context is not None and not _is_cover(s)]


def _is_cover(stream: Any) -> bool:  # noqa: ANN401 - PyAV's stream types differ by version
    """Return whether a video stream is the cover image of a song."""
    disposition = getattr(stream, "disposition", None)
    return bool(disposition is not None and "attached_pic" in str(disposition).lower())


def _pixel_aspect(stream: av.video.VideoStream, orientation: Orientation) -> Fraction:
    """Return width by height of an upright pixel; 1 where the file does not state it."""
    stated = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if not stated or stated <= 0:
        return Fraction(1)
    shape = Fraction(stated)
    return 1 / shape if orientation.sideways else shape


def _tag_seconds(text: str) -> float | None:
    """Parse Matroska's ``00:01:02.345`` tag to seconds."""
    parts = text.split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds
