"""Write videos with the times, number of frames, size and sound of the video they came from."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from mien.errors import InputError, OutputError
from mien.media.container import open_container
from mien.media.frame import RGBImage, from_rgb
from mien.media.output import VIDEO_SUFFIXES, check_output, whole_file
from mien.media.read import VideoInfo

if TYPE_CHECKING:
    import av.container
    import av.packet

QUALITY: Final = 18
"""Default constant rate factor of x264, visually lossless; higher values compress more."""

_H264: Final = ("libx264", {"preset": "veryfast"})
_VP9: Final = ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "6", "row-mt": "1", "b": "0"})
_MPEG4: Final = ("mpeg4", {"qscale": "2"})
_MPEG2: Final = ("mpeg2video", {"qscale": "2"})
_CODECS: Final = {".webm": _VP9, ".avi": _MPEG4, ".mpg": _MPEG2, ".mpeg": _MPEG2}
_AUDIO_CODECS: Final = {".webm": "libopus", ".avi": "mp3", ".mpg": "mp2", ".mpeg": "mp2"}
_MPEG_FRAME_RATES: Final = tuple(
    map(Fraction, ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60"))
)
_AUDIO_RATES_HZ: Final = {
    "libopus": (48_000,),
    "mp2": (16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "mp3": (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
}
_PROGRAM_STREAM_RATES_HZ: Final = (32_000, 44_100, 48_000)
"""The only audio sample rates of MPEG program streams."""

_COPIED_AUDIO: Final = {
    ".mp4": ("aac", "mp3", "ac3", "opus", "flac", "alac"),
    ".m4v": ("aac", "mp3", "ac3"),
    ".mov": ("aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s24le"),
    ".mkv": ("aac", "mp3", "mp2", "ac3", "opus", "vorbis", "flac", "pcm_s16le"),
    ".webm": ("opus", "vorbis"),
    ".avi": ("mp3", "mp2", "ac3", "pcm_s16le"),
    ".mpg": ("mp2", "ac3"),
    ".mpeg": ("mp2", "ac3"),
}
"""Audio codecs that each container takes without re-encoding."""

_MAX_AUDIO_LEAD_SECONDS: Final = 1.0
"""How far sound is written ahead of the frames at most: memory stays constant."""


class VideoWriter:
    """Writes frames as they come; use it as a context manager.

    The file appears under its name only when the block ends without an exception. Sound is copied
    packet by packet where the container supports its codec, otherwise re-encoded.

    Args:
        path: output; its suffix selects the container.
        like: the video it came from: size, rate, time base and colour are kept.
        audio_from: file whose sound is added; None for a video without sound.
        overwrite: whether an existing file may be replaced.
        quality: constant rate factor of x264; VP9 uses 8 more.

    Raises:
        InputError: for an output that cannot be written.
        OutputError: when writing fails (disk full).
    """

    def __init__(
        self,
        path: str | Path,
        like: VideoInfo,
        *,
        audio_from: str | Path | None = None,
        overwrite: bool = False,
        quality: int = QUALITY,
    ) -> None:
        self.path = Path(path)
        inputs = [like.path] + ([Path(audio_from)] if audio_from else [])
        check_output(self.path, inputs=inputs, overwrite=overwrite, suffixes=VIDEO_SUFFIXES)
        self._like = like
        self._audio_from = Path(audio_from) if audio_from else None
        self._quality = quality
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        import av

        with ExitStack() as stack:
            temporary = stack.enter_context(whole_file(self.path))
            options = (
                {"movflags": "+faststart"} if self.path.suffix in (".mp4", ".mov", ".m4v") else {}
            )
            try:
                self._container = av.open(str(temporary), "w", options=options)
            except (av.FFmpegError, ValueError) as error:
                raise InputError(f"{self.path} cannot be written ({error}).") from error
            self._closed = False
            stack.callback(self._close_quietly)
            self._stream, self._pixel_format = self._add_video()
            self._constant_rate = self._stream.codec_context.name in ("mpeg4", "mpeg2video")
            self._last = -1
            self._sound = self._add_sound(stack)
            self._stack = stack.pop_all()
        return self

    def write(self, image: RGBImage, time: Fraction) -> None:
        """Append an image shown at ``time`` seconds; times must increase."""
        import av

        frame = from_rgb(image, self._pixel_format, self._like.color)
        frame.time_base = self._stream.codec_context.time_base
        frame.pts = round(time / Fraction(frame.time_base))
        if self._constant_rate:
            if frame.pts <= self._last:
                return  # a container with a constant rate has no slot for it
            self._last = frame.pts
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
            if self._sound is not None:
                self._sound.write_until(float(time) + _MAX_AUDIO_LEAD_SECONDS)
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import av

        with self._stack:
            if error is not None:
                # Raise it inside the stack so that the temporary file is removed.
                raise error
            try:
                for packet in self._stream.encode(None):
                    self._container.mux(packet)
                if self._sound is not None:
                    self._sound.write_until(None)
                self._closed = True
                self._container.close()
            except (av.FFmpegError, OSError) as failure:
                raise self._failed(failure) from failure

    def _failed(self, error: Exception) -> OutputError:
        if "No space" in str(error) or getattr(error, "errno", None) in (28, 27, 122):
            return OutputError(f"The disk is full: {self.path} was not written.")
        return OutputError(f"{self.path} could not be written ({error}).")

    def _close_quietly(self) -> None:
        import av

        if not self._closed:
            self._closed = True
            try:
                self._container.close()
            except (av.FFmpegError, OSError, ValueError):
                return  # the unfinished file is removed in any case

    def _add_video(self) -> tuple[av.VideoStream, str]:
        like = self._like
        codec, options = _CODECS.get(self.path.suffix.lower(), _H264)
        if codec in ("libx264", "libvpx-vp9"):
            options = {
                **options,
                "crf": str(self._quality if codec == "libx264" else self._quality + 8),
            }
        rate = (
            min(_MPEG_FRAME_RATES, key=lambda r: abs(r - like.rate))
            if codec == "mpeg2video"
            else like.rate
        )
        stream = self._container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = like.width, like.height
        # Subsampled chroma needs even sides; frames with an odd side keep their size in 4:4:4.
        even = like.width % 2 == 0 and like.height % 2 == 0
        pixel_format = "yuv420p" if even or codec not in ("libx264", "libvpx-vp9") else "yuv444p"
        stream.pix_fmt = pixel_format
        context = stream.codec_context
        if codec in ("mpeg4", "mpeg2video"):
            context.time_base = 1 / rate
        else:
            context.time_base = like.time_base
        if like.pixel_aspect != 1:
            context.sample_aspect_ratio = like.pixel_aspect
        context.colorspace = like.color.number
        context.color_range = 2 if like.color.full_range else 1
        if codec == "libx264":
            context.thread_count = 2
        return stream, pixel_format

    def _add_sound(self, stack: ExitStack) -> _Sound | None:
        if self._audio_from is None:
            return None
        source = stack.enter_context(open_container(self._audio_from))
        if not source.streams.audio or source.streams.audio[0].codec_context is None:
            return None
        return _Sound(source, self._container, self.path.suffix.lower())


class _Sound:
    """Transfers the sound of one container to another, slightly ahead of the frames."""

    def __init__(
        self,
        source: av.container.InputContainer,
        target: av.container.OutputContainer,
        suffix: str,
    ) -> None:
        self._target = target
        self._source = source.streams.audio[0]
        self._offset = _video_start(source)
        codec_name = self._source.codec_context.name.removesuffix("float")  # decoder "mp3float"
        self._copy = codec_name in _COPIED_AUDIO.get(suffix, ())
        if self._copy:
            self._stream = target.add_stream_from_template(self._source)
        else:
            codec = _AUDIO_CODECS.get(suffix, "aac")
            source_rate = self._source.codec_context.sample_rate or 48_000
            rates = _AUDIO_RATES_HZ.get(codec, (source_rate,))
            if suffix in (".mpg", ".mpeg"):
                rates = _PROGRAM_STREAM_RATES_HZ
            self._rate = min(rates, key=lambda rate: (rate < source_rate, abs(rate - source_rate)))
            self._stream = target.add_stream(codec, rate=self._rate)
            self._sent: int | None = None
        self._packets = source.demux(self._source)
        self._done = False

    def write_until(self, seconds: float | None) -> None:
        """Write the sound up to ``seconds``; None: all that is left."""
        import av

        while not self._done:
            try:
                packet = next(self._packets)
            except (StopIteration, av.FFmpegError):
                packet = None
            if packet is None or packet.dts is None:
                if packet is None:
                    self._done = True
                    self._flush()
                continue
            at = float(packet.dts * packet.time_base)
            self._transfer(packet)
            if seconds is not None and at > seconds:
                return

    def _transfer(self, packet: av.packet.Packet) -> None:
        import av

        try:
            if self._copy:
                shift = round(self._offset / Fraction(packet.time_base))
                packet.pts = None if packet.pts is None else packet.pts - shift
                packet.dts = packet.dts - shift
                packet.stream = self._stream
                self._target.mux(packet)
                return
            for frame in packet.decode():
                self._encode(frame)
        except (av.error.InvalidDataError, av.error.ArgumentError):
            return  # damaged sound is skipped

    def _encode(self, frame: av.AudioFrame) -> None:
        """Encode a frame at its own time; sound before the first video frame is skipped."""
        if self._sent is None:
            start = Fraction(frame.pts or 0) * Fraction(frame.time_base) - self._offset
            if start + Fraction(frame.samples, frame.sample_rate) <= 0:
                return
            self._sent = max(0, round(start * frame.sample_rate))
        frame.time_base = Fraction(1, frame.sample_rate)
        frame.pts = self._sent
        self._sent += frame.samples
        self._target.mux(self._stream.encode(frame))

    def _flush(self) -> None:
        if not self._copy:
            self._target.mux(self._stream.encode(None))


def _video_start(source: av.container.InputContainer) -> Fraction:
    """Return the time of the first video frame, seconds, from which all times count."""
    for stream in source.streams.video:
        if stream.start_time is not None and stream.time_base is not None:
            return stream.start_time * stream.time_base
    return Fraction(0)
