"""Read videos: one upright RGB frame after another, with the container's own times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from mien.errors import InputError
from mien.media.container import open_container
from mien.media.frame import ColorSpec, Frame, RGBImage, to_rgb

if TYPE_CHECKING:
    import av.video

_MAX_MISSING: Final = 0.02
"""Fraction of a video that may be missing before it counts as damaged."""

_FALLBACK_FRAMES_PER_SECOND: Final = Fraction(25)


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
        rotation: clockwise rotation applied to the frames, degrees: 0, 90, 180 or 270.
        has_audio: whether there is a sound track.
        color: colour matrix and range.
        pixel_aspect: width of a pixel of the upright frame divided by its height.
    """

    path: Path
    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    frames: int | None
    duration: Fraction | None
    rotation: int
    has_audio: bool
    color: ColorSpec
    pixel_aspect: Fraction = Fraction(1)

    @classmethod
    def new(cls, path: Path, image: RGBImage, rate: Fraction, frames: int) -> Self:
        """Describe a video of ``frames`` frames to be made from the image ``path``."""
        height, width = image.shape[:2]
        return cls(
            path=path,
            width=width,
            height=height,
            rate=rate,
            time_base=1 / (rate * 512),
            frames=frames,
            duration=frames / rate,
            rotation=0,
            has_audio=False,
            color=ColorSpec.usual(height),
        )


class VideoReader:
    """Reads a video lazily; use it as a context manager and iterate over it.

    Frames come in the order they are shown; times count from the first frame. Memory does not
    grow with length. A truncated file yields what can be decoded; ``damaged`` then holds a
    description of what is missing.

    Raises:
        InputError: when the file cannot be read or has no video stream.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.damaged: str | None = None
        self._container = open_container(self.path)
        try:
            self._stream = self._video_stream()
            self._stream.thread_type = "AUTO"
            first = self._first_frame()
            self.info = self._describe(first)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame from the start."""
        self._rewind()
        start: Fraction | None = None
        last = Fraction(-1)
        count = 0
        for index, raw in enumerate(self._decode()):
            time = self._time_of(raw, index)
            start = time if start is None else start
            time = time - start
            if time <= last:  # broken time stamps: keep the order, one nominal frame apart
                time = last + 1 / self.info.rate
            last = time
            yield Frame(self._upright(raw), time, index)
            count = index + 1
        self._check_complete(count, last)

    def _check_complete(self, count: int, last: Fraction) -> None:
        """Set ``damaged`` when clearly fewer frames came than the container states."""
        if self.damaged is not None:
            return
        stated = self._stream.frames
        if stated and stated - count > max(2, _MAX_MISSING * stated):
            self.damaged = f"it breaks off after {count} of {stated} frames"
            return
        length = _tag_seconds(self._stream.metadata.get("DURATION", ""))
        short = length - float(last + 1 / self.info.rate) if length is not None else 0.0
        if length is not None and short > max(2 / float(self.info.rate), _MAX_MISSING * length):
            self.damaged = f"it breaks off {short:.1f} s before its end"

    def first_look(self, count: int, seconds: float) -> Iterator[RGBImage]:
        """Yield up to ``count`` images, spread evenly over the first ``seconds``."""
        rate = float(self.info.rate)
        length = min(seconds, float(self.info.duration or seconds))
        every = max(1, int(length * rate / count))
        self._rewind()
        for index, raw in enumerate(self._decode()):
            if index >= every * count:
                return
            if index % every == 0:
                yield self._upright(raw)

    def _video_stream(self) -> av.video.VideoStream:
        found = self._container.streams.video
        streams = [s for s in found if s.codec_context is not None and not _is_cover(s)]
        if not streams:
            raise InputError(f"{self.path} has no video stream (sound only?).")
        return streams[0]

    def _rewind(self) -> None:
        # Seeking to the start loses frames in some containers (MPEG-PS); opening again does not.
        self._container.close()
        self._container = open_container(self.path)
        self._stream = self._video_stream()
        self._stream.thread_type = "AUTO"

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Yield decoded frames; damaged packets are recorded in ``damaged`` and skipped."""
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                self.damaged = f"reading broke off: {error}"
                return
            try:
                yield from packet.decode()
            except av.FFmpegError as error:
                self.damaged = f"a part could not be decoded: {error}"

    def _first_frame(self) -> av.VideoFrame:
        for raw in self._decode():
            return raw
        raise InputError(f"{self.path} is damaged: none of its frames can be decoded.")

    def _time_of(self, raw: av.VideoFrame, index: int) -> Fraction:
        if raw.pts is None or raw.time_base is None:
            return index / self.info.rate
        return raw.pts * raw.time_base

    def _upright(self, raw: av.VideoFrame) -> RGBImage:
        image = to_rgb(raw, self.info.color)
        turns = self.info.rotation // 90
        return np.ascontiguousarray(np.rot90(image, -turns)) if turns else image

    def _describe(self, first: av.VideoFrame) -> VideoInfo:
        stream = self._stream
        rate = Fraction(stream.average_rate or stream.guessed_rate or _FALLBACK_FRAMES_PER_SECOND)
        # PyAV counts counterclockwise.
        rotation = round(-(getattr(first, "rotation", 0) or 0) / 90) % 4 * 90
        width, height = first.width, first.height
        if rotation % 180:
            width, height = height, width
        duration: Fraction | None = None
        if stream.duration and stream.time_base:
            duration = stream.duration * stream.time_base
        elif self._container.duration:
            duration = Fraction(self._container.duration, 1_000_000)
        frames = stream.frames or (round(duration * rate) if duration else None)
        return VideoInfo(
            path=self.path,
            width=width,
            height=height,
            rate=rate if rate > 0 else _FALLBACK_FRAMES_PER_SECOND,
            time_base=Fraction(stream.time_base or Fraction(1, 90_000)),
            frames=frames or None,
            duration=duration,
            rotation=rotation,
            has_audio=bool(self._container.streams.audio),
            color=ColorSpec.of(first),
            pixel_aspect=_pixel_aspect(stream, rotation),
        )


def _is_cover(stream: Any) -> bool:  # noqa: ANN401 - PyAV's stream types differ by version
    """Return whether a video stream is the cover image of a song."""
    disposition = getattr(stream, "disposition", None)
    return bool(disposition is not None and "attached_pic" in str(disposition).lower())


def _pixel_aspect(stream: av.video.VideoStream, rotation: int) -> Fraction:
    """Return width by height of an upright pixel; 1 where the file does not state it."""
    stated = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if not stated or stated <= 0:
        return Fraction(1)
    shape = Fraction(stated)
    return 1 / shape if rotation % 180 else shape


def _tag_seconds(text: str) -> float | None:
    """Parse Matroska's ``00:01:02.345`` tag to seconds."""
    parts = text.split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds
