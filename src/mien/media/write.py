"""Write videos with the times, number of frames, size and sound of the video they came from."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from mien.errors import InputError, OutputError
from mien.media.frame import RGBImage, from_rgb
from mien.media.output import VIDEO_SUFFIXES, check_output, whole_file
from mien.media.read import VideoInfo
from mien.media.sound import Companions

if TYPE_CHECKING:
    import av.container

QUALITY: Final = 18
"""Default constant rate factor of x264, visually lossless; higher values compress more."""

_H264: Final = ("libx264", {"preset": "veryfast"})
_VP9: Final = ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "6", "row-mt": "1", "b": "0"})
_MPEG4: Final = ("mpeg4", {"qscale": "2"})
_MPEG2: Final = ("mpeg2video", {"qscale": "2"})
_CODECS: Final = {".webm": _VP9, ".avi": _MPEG4, ".mpg": _MPEG2, ".mpeg": _MPEG2}
_MPEG_FRAME_RATES: Final = tuple(
    map(Fraction, ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60"))
)


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
            self._companions = stack.enter_context(
                Companions(self._container, self.path.suffix.lower(), sound=self._audio_from)
            )
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
            self._companions.write_until(float(time))
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
                self._companions.finish()
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
