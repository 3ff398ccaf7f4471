"""Sound that accompanies the frames of a written video."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from mien.media.container import open_container

if TYPE_CHECKING:
    import av.container
    import av.packet

_AUDIO_CODECS: Final = {".webm": "libopus", ".avi": "mp3", ".mpg": "mp2", ".mpeg": "mp2"}
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


class Companions:
    """Everything a written video holds besides its frames; use it as a context manager.

    Args:
        target: container to write to, before its first packet.
        suffix: suffix of the output, in lower case.
        sound: file whose sound is added; None for a video without sound.
    """

    def __init__(
        self,
        target: av.container.OutputContainer,
        suffix: str,
        *,
        sound: Path | None = None,
    ) -> None:
        self._stack = ExitStack()
        self._sound: _Sound | None = None
        if sound is None:
            return
        with ExitStack() as stack:
            source = stack.enter_context(open_container(sound))
            if source.streams.audio and source.streams.audio[0].codec_context is not None:
                self._sound = _Sound(source, target, suffix)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was not kept."""
        return ()

    def write_until(self, seconds: float) -> None:
        """Write everything up to a second after the frame shown at ``seconds``."""
        if self._sound is not None:
            self._sound.write_until(seconds + _MAX_AUDIO_LEAD_SECONDS)

    def finish(self) -> None:
        """Write all that is left."""
        if self._sound is not None:
            self._sound.write_until(None)


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
