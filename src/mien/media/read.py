"""Video in: one upright RGB picture after another, with the container's own times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from mien.errors import InputError
from mien.media.color import ColorSpec, to_rgb
from mien.media.frame import Frame, RGBImage

if TYPE_CHECKING:
    import av.container
    import av.video

_MISSING: Final = 0.02
"""Share of a video that may be missing before it counts as damaged."""

FALLBACK_RATE: Final = Fraction(25)
"""Frames per second where a stream names no rate."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video is, before its frames are read.

    Attributes:
        path: the file.
        width, height: of the upright picture, pixels.
        rate: average frames per second, exact.
        time_base: seconds per tick of the time stamps.
        frames: number of frames as far as the container tells.
        duration: seconds as far as the container tells.
        rotation: degrees clockwise that were undone, 0, 90, 180 or 270.
        has_audio: whether there is a sound track.
        codec: of the picture, FFmpeg's name.
        color: matrix and range of the picture.
        pixel_aspect: width of a pixel of the upright picture by its height.
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
    codec: str
    color: ColorSpec
    pixel_aspect: Fraction = Fraction(1)

    @classmethod
    def new(cls, path: Path, image: RGBImage, rate: Fraction, frames: int) -> Self:
        """A video to be made out of a picture ``path`` at a steady rate."""
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
            codec="",
            color=ColorSpec.usual(height),
        )


def open_container(path: Path) -> av.container.InputContainer:
    """Open a media file.

    Raises:
        InputError: when it does not exist or is not a media file.
    """
    import av

    if not path.exists():
        raise InputError(f"There is no file {path}.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a video or picture file.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes).")
    try:
        return av.open(str(path), mode="r", metadata_errors="ignore")
    except (av.FFmpegError, ValueError, OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path} cannot be read as a video or picture ({reason}). It may be damaged, cut short "
            "or of another kind."
        ) from error


class VideoReader:
    """Reads a video lazily; use it as a context manager and iterate over it.

    Frames come in the order they are shown; times count from the first picture. Memory does not
    grow with length. A file that breaks off in the middle yields what can be decoded; ``damaged``
    then says so.

    Raises:
        InputError: when the file cannot be read or holds no picture.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.damaged: str | None = None
        self._container = open_container(self.path)
        try:
            self._stream = self._picture_stream()
            self._stream.thread_type = "AUTO"
            first = self._first_frame()
            self.info = self._describe(first)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yield every picture from the start."""
        self._rewind()
        start: Fraction | None = None
        last = Fraction(-1)
        count = 0
        for index, raw in enumerate(self._decode()):
            time = self._time_of(raw, index)
            start = time if start is None else start
            time = time - start
            if time <= last:  # broken stamps: keep the order, one nominal frame apart
                time = last + 1 / self.info.rate
            last = time
            yield Frame(self._upright(raw), time, index)
            count = index + 1
        self._check_whole(count, last)

    def _check_whole(self, count: int, last: Fraction) -> None:
        """Note in ``damaged`` when clearly fewer pictures came than the container promises."""
        if self.damaged is not None:
            return
        promised = self._stream.frames
        if promised and promised - count > max(2, _MISSING * promised):
            self.damaged = f"it breaks off after {count} of {promised} pictures"
            return
        length = _tagged_length(self._stream.metadata.get("DURATION", ""))
        short = length - float(last + 1 / self.info.rate) if length is not None else 0.0
        if length is not None and short > max(2 / float(self.info.rate), _MISSING * length):
            self.damaged = f"it breaks off {short:.1f} s before its end"

    def first_look(self, count: int, seconds: float) -> Iterator[RGBImage]:
        """Yield up to ``count`` pictures, evenly spread over the first ``seconds``."""
        rate = float(self.info.rate)
        length = min(seconds, float(self.info.duration or seconds))
        every = max(1, int(length * rate / count))
        self._rewind()
        for index, raw in enumerate(self._decode()):
            if index >= every * count:
                return
            if index % every == 0:
                yield self._upright(raw)

    def _picture_stream(self) -> av.video.VideoStream:
        found = self._container.streams.video
        streams = [s for s in found if s.codec_context is not None and not _is_cover(s)]
        if not streams:
            raise InputError(f"{self.path} has no picture in it (sound only?).")
        return streams[0]

    def _rewind(self) -> None:
        # Seeking to the start loses pictures in some containers (MPEG-PS); opening again does not.
        self._container.close()
        self._container = open_container(self.path)
        self._stream = self._picture_stream()
        self._stream.thread_type = "AUTO"

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Decoded pictures; damaged packets are noted and left out."""
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
        raise InputError(f"{self.path} holds no picture that can be decoded.")

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
        rate = Fraction(stream.average_rate or stream.guessed_rate or FALLBACK_RATE)
        rotation = _rotation(first)
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
            rate=rate if rate > 0 else FALLBACK_RATE,
            time_base=Fraction(stream.time_base or Fraction(1, 90_000)),
            frames=frames or None,
            duration=duration,
            rotation=rotation,
            has_audio=bool(self._container.streams.audio),
            codec=stream.codec_context.name,
            color=ColorSpec.of(first),
            pixel_aspect=_pixel_aspect(stream, rotation),
        )


def _is_cover(stream: Any) -> bool:  # noqa: ANN401 - PyAV's stream types differ by version
    """Whether a picture stream is the cover of a song."""
    disposition = getattr(stream, "disposition", None)
    return bool(disposition is not None and "attached_pic" in str(disposition).lower())


def _pixel_aspect(stream: av.video.VideoStream, turned: int) -> Fraction:
    """Shape of a pixel; 1 where it is not said."""
    said = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if not said or said <= 0:
        return Fraction(1)
    shape = Fraction(said)
    return 1 / shape if turned % 180 else shape


def _tagged_length(text: str) -> float | None:
    """Seconds of Matroska's ``00:01:02.345`` tag."""
    parts = text.split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds


def _rotation(frame: av.VideoFrame) -> int:
    """Degrees clockwise that make the picture upright, a multiple of 90."""
    counterclockwise = getattr(frame, "rotation", 0) or 0
    return round(-counterclockwise / 90) % 4 * 90
