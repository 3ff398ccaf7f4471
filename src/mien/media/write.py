"""Write videos with the times, number of frames, size and sound of the video they came from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from mien.errors import InputError, OutputError
from mien.media.audio import sound_start
from mien.media.encode import EncodingSettings, choose_encoding, configure
from mien.media.frame import Picture, RGBWindow
from mien.media.output import (
    ANIMATION_SUFFIXES,
    VIDEO_SUFFIXES,
    Finish,
    check_output,
    whole_file,
)
from mien.media.palette import PaletteMapper
from mien.media.planes import EXACT, VideoPicture, frame_from_rgb, layout_of
from mien.media.read import VideoInfo
from mien.media.streams import Companions
from mien.media.webp import set_last_delay

if TYPE_CHECKING:
    import av.container
    import av.packet


_MOST_PLAYS: Final = 65_535
"""Largest number that animations can hold."""


class VideoWriter:
    """Writes frames as they come; use it as a context manager.

    The file appears under its name only when the block ends without an exception. Frames are
    encoded in their own pixel format where the encoder takes it. Sound is copied packet by packet
    where the container supports its codec, otherwise re-encoded.

    Args:
        path: output; its suffix selects the container.
        like: the video it came from: size, rate, time base, pixel format and colour are kept.
        audio_from: file whose sound is added; None for a video without sound. The sound of ``like``
            keeps its place among the frames; that of another file begins with the first one.
        streams_from: video whose subtitles, chapters, tags and other streams are kept.
        overwrite: whether an existing file may be replaced.
        settings: codec and quality.
        add_comment: makes the file's comment, where the container holds one, out of its own.
        finish: as in :func:`mien.media.output.whole_file`.

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
        streams_from: str | Path | None = None,
        overwrite: bool = False,
        settings: EncodingSettings | None = None,
        add_comment: Callable[[str], str] | None = None,
        finish: Finish | None = None,
    ) -> None:
        self.path = Path(path)
        self._add_comment, self._finish = add_comment, finish
        inputs = [like.path] + ([Path(audio_from)] if audio_from else [])
        suffixes = (*VIDEO_SUFFIXES, *ANIMATION_SUFFIXES)
        check_output(self.path, inputs=inputs, overwrite=overwrite, suffixes=suffixes)
        self._like = like
        self._audio_from = Path(audio_from) if audio_from else None
        self._streams_from = Path(streams_from) if streams_from else None
        self.encoding = choose_encoding(self.path.suffix, like, settings or EncodingSettings())
        self._lost_alpha = False
        self._dropped = 0
        self._palette = PaletteMapper() if self.encoding.pixel_format == "pal8" else None
        self._suffix = self.path.suffix.lower()
        self._companions: Companions | None = None
        self._stack = ExitStack()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Properties of the input that the output does not have."""
        palette, name = self._palette, self._suffix[1:].upper()
        found = {
            "Transparency was blended over black: the output cannot hold it.": self._lost_alpha,
            f"{name} has 256 colours at a time: others are mixed of them.": palette
            and palette.reduced,
            f"{name} has no half transparent pixels: they became opaque or invisible.": palette
            and palette.hardened,
            f"{self._dropped} frames came too fast for {name} and were left out.": self._dropped,
        }
        lost = (text for text, true in found.items() if true)
        kept = self._companions.warnings if self._companions else ()
        return (*self.encoding.warnings, *lost, *kept)

    def __enter__(self) -> Self:
        import av

        with ExitStack() as stack:
            temporary = stack.enter_context(whole_file(self.path, self._finish))
            self._temporary = temporary
            container, options = _container(self._suffix, self._like)
            try:
                self._container = av.open(str(temporary), "w", format=container, options=options)
            except (av.FFmpegError, ValueError) as error:
                raise InputError(f"{self.path} cannot be written ({error}).") from error
            self._closed = False
            stack.callback(self._close_quietly)
            self._stream = self._add_video()
            self._last = -self.encoding.least_step
            self._companions = stack.enter_context(self._add_companions())
            if self._add_comment is not None and holds_comment(self._suffix):
                comment = self._container.metadata.get("comment", "")
                self._container.metadata["comment"] = self._add_comment(comment)
            self._stack = stack.pop_all()
        return self

    def write(self, picture: Picture | RGBWindow, time: Fraction) -> None:
        """Append a picture shown at ``time`` seconds; times must increase."""
        import av

        frame = self._prepared(picture)
        frame.time_base = self._stream.codec_context.time_base
        frame.pts = round(time / Fraction(frame.time_base))
        frame.pict_type = 0  # the decoded type would force the same on the encoder
        if self.encoding.least_step:
            if frame.pts < self._last + self.encoding.least_step:
                self._dropped += self._suffix in ANIMATION_SUFFIXES
                return  # the container has no slot for it
            self._last = frame.pts
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
            if self._companions is not None:
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

        if error is not None:
            # Not raised from here: a frame that holds its own exception outlives it.
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            try:
                for packet in self._stream.encode(None):
                    self._container.mux(packet)
                if self._companions is not None:
                    self._companions.finish()
                self._closed = True
                self._container.close()
                if self._suffix == ".webp" and self._like.last_delay is not None:
                    set_last_delay(self._temporary, self._like.last_delay)
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

    def _add_video(self) -> av.VideoStream:
        import av

        chosen = self.encoding
        try:
            stream = self._container.add_stream(
                chosen.encoder, rate=chosen.rate, options=chosen.options
            )
            configure(stream.codec_context, chosen, self._like, self.path.suffix.lower())
            stream.codec_context.open()
        except (av.FFmpegError, ValueError) as error:
            raise InputError(
                f"{self.path.suffix} cannot be written with {chosen} ({error})."
            ) from error
        return stream

    def _prepared(self, picture: Picture | RGBWindow) -> av.VideoFrame:
        """Return a frame in the encoder's format; the frame itself where it has that format."""
        chosen, color = self.encoding, self._like.color
        if self._palette is not None:
            return self._palette.frame(picture)
        if isinstance(picture, VideoPicture):
            frame = picture.to_frame()
            if picture.layout.alpha and not layout_of(chosen.pixel_format).alpha:
                frame = self._without_alpha(frame, picture)
        else:
            image = picture.read(picture.box) if isinstance(picture, Picture) else picture
            spec = replace(color, full_range=chosen.full_range)
            return frame_from_rgb(image, chosen.pixel_format, spec)
        before = color.full_range or picture.layout.kind == "rgb"
        if frame.format.name == chosen.pixel_format and before == chosen.full_range:
            return frame
        return frame.reformat(
            format=chosen.pixel_format,
            src_colorspace=color.swscale_matrix,
            dst_colorspace=color.swscale_matrix,
            src_color_range=2 if before else 1,
            dst_color_range=2 if chosen.full_range else 1,
            interpolation=EXACT,
        )

    def _without_alpha(self, frame: av.VideoFrame, picture: VideoPicture) -> av.VideoFrame:
        """Blend a translucent frame over black."""
        alpha = picture.alpha()
        peak = 2**picture.layout.bits - 1
        if alpha is None or alpha.min() == peak:
            return frame
        self._lost_alpha = True
        share = alpha[..., None].astype(np.float32) / np.float32(peak)
        window = picture.read(picture.box)
        blended = np.rint(window * share).astype(window.dtype)
        return picture.replaced(picture.box, blended).to_frame()

    def _add_companions(self) -> Companions:
        like, sound = self._like, self._audio_from
        own = sound is not None and sound.samefile(like.path)
        return Companions(
            self._container,
            self.path.suffix[1:].upper(),
            picture=self._streams_from,
            start=like.start,
            sound=sound,
            sound_start=like.start if own or sound is None else sound_start(sound),
        )


def holds_comment(suffix: str) -> bool:
    """Return whether a video or animation of this kind holds a comment."""
    return suffix.lower() in (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")


def _container(suffix: str, info: VideoInfo) -> tuple[str | None, dict[str, str]]:
    """Return FFmpeg's name of the container, where the suffix does not tell it, and its options."""
    if suffix in (".mp4", ".mov", ".m4v"):
        return None, {"movflags": "+faststart"}
    last, plays = info.last_delay, min(info.plays, _MOST_PLAYS)
    if suffix == ".gif":
        # It counts repetitions, of which -1 is none.
        loop = {0: 0, 1: -1}.get(plays, plays - 1)
        final = {} if last is None else {"final_delay": str(round(100 * last))}
        return None, {"loop": str(loop), **final}
    if suffix in (".apng", ".png"):
        final = {} if last is None else {"final_delay": str(last.limit_denominator(65_535))}
        return "apng", {"plays": str(plays), **final}
    return None, {"loop": str(plays)} if suffix == ".webp" else {}
