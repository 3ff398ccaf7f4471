"""Sound of written videos: copied packet by packet where the container can hold it, or encoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import numpy as np

from mien.media.audio import SampleGrid, reachable, samples_of, time_of

if TYPE_CHECKING:
    import av.container
    import av.stream

    Packet: TypeAlias = av.Packet[av.stream.Stream]
    Target: TypeAlias = av.container.OutputContainer

_ENCODERS: Final = {
    "mp4": ("aac",),
    "ipod": ("aac",),
    "mov": ("aac",),
    "matroska": ("aac",),
    "webm": ("libopus",),
    "avi": ("libmp3lame", "ac3"),
    "mpeg": ("mp2", "ac3"),
}
"""Encoders of FFmpeg's output formats, the usual one first; the others take more channels."""

_PCM: Final = {
    "u8": "pcm_u8",
    "s16": "pcm_s16le",
    "s32": "pcm_s32le",
    "flt": "pcm_f32le",
    "dbl": "pcm_f64le",
}
"""Codecs without loss by sample format."""

_HOLD_PCM: Final = ("mov", "matroska", "avi")
_NOT_COPIED: Final = {"mp4": ("pcm_",), "avi": ("eac3", "vorbis", "pcm_")}
"""Codecs that FFmpeg copies though players do not take them (MP4) or times get lost (AVI)."""

_AVI_DELAY_SECONDS: Final = 0.02
"""Start of sound from which AVI, which has no time stamps, needs silence before it."""

_PROGRAM_STREAM_RATES_HZ: Final = (32_000, 44_100, 48_000)
"""The only audio sample rates of MPEG program streams."""

_BITS_PER_SECOND: Final = 96_000
"""Bit rate per channel at 24 kHz and above."""

_LAYOUTS: Final = (
    ("7.1", "7.1(wide)"),
    ("6.1", "6.1(back)"),
    ("5.1", "5.1(side)"),
    ("5.0", "5.0(side)"),
    ("quad", "quad(side)", "4.0"),
    ("3.0", "2.1", "3.0(back)"),
    ("stereo",),
    ("mono",),
)
"""Layouts of eight channels down to one."""

_MOST_CHANNELS: Final = 8
"""Channels that mean something without a stated layout; more are averaged."""

_DEMUXERS: Final = {"mp4": "mov", "ipod": "mov", "webm": "matroska"}
_SAME_DECODER: Final = {"mp1": "mp3", "mp2": "mp3"}


class Route(Protocol):
    """The way of one stream's packets into the output."""

    def take(self, packet: Packet, shift: Fraction) -> None:
        """Write a packet, ``shift`` seconds later than it says."""

    def finish(self) -> None:
        """Write what is left."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was lost on the way."""


class Copied:
    """Packets written as they are.

    Args:
        target: container to write to.
        stream: its stream.
        cut: whether packets that end before time 0 are left out; otherwise the container hides
            them or begins with them.
    """

    def __init__(self, target: Target, stream: av.stream.Stream, *, cut: bool = False) -> None:
        self._target, self._stream, self._cut = target, stream, cut
        self._shift: Fraction | None = None
        self._last: int | None = None
        self._resume: int | None = None
        self._end = self._length = self._refused = 0

    def take(self, packet: Packet, shift: Fraction) -> None:
        """Write a packet at its shifted time; times increase."""
        import av

        ticks = round(shift / Fraction(packet.time_base))
        stamp = packet.pts if packet.dts is None else packet.dts
        at = self._end if stamp is None else stamp + ticks
        lag = packet.pts - packet.dts if packet.pts is not None and packet.dts is not None else 0
        self._length = packet.duration or 0
        if not self._length and self._last is not None and self._stream.type == "audio":
            self._length = at - self._last
        if self._shift not in (None, shift):  # recordings that were joined may overlap
            self._resume = self._end
        self._shift = shift
        if self._cut and at + self._length <= 0:
            return
        if self._resume is not None and at + self._length // 2 < self._resume:
            return
        if self._last is not None:
            at = max(at, self._last + 1)
        self._last, self._end = at, at + self._length
        packet.dts, packet.pts, packet.duration = at, at + lag, self._length
        packet.stream = self._stream
        try:
            self._target.mux(packet)
        except (av.error.InvalidDataError, av.error.ArgumentError):
            self._refused += 1

    def finish(self) -> None:
        """Nothing is left."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the container refused."""
        kind = {"audio": "sound", "subtitle": "subtitles"}.get(self._stream.type, "data")
        return (f"{self._refused} damaged parts of {kind} were left out.",) * bool(self._refused)


class Encoded:
    """Sound that is decoded and encoded again.

    Sound before time 0 is left out; gaps become silence.

    Args:
        target: container to write to.
        container: file that is read.
        source: the track that packets come from.
        stream: the stream of the target.
    """

    def __init__(
        self,
        target: Target,
        container: av.container.InputContainer,
        source: av.AudioStream,
        stream: av.AudioStream,
    ) -> None:
        self._target, self._container = target, container
        self._source, self._stream = source, stream
        self._grid: SampleGrid | None = None
        self._kind: tuple[str, str] = ("", "")
        self._sent = self._damaged = 0

    def take(self, packet: Packet, shift: Fraction) -> None:
        """Decode a packet and encode it at its shifted time."""
        self._encode(packet, shift)

    def finish(self) -> None:
        """Write what decoder and encoder still hold."""
        self._encode(None, Fraction(0))
        if self._sent:
            self._target.mux(self._stream.encode(None))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be decoded."""
        if not self._damaged:
            return ()
        return (f"{self._damaged} damaged parts of the sound could not be decoded.",)

    def _encode(self, packet: Packet | None, shift: Fraction) -> None:
        import av

        try:
            frames = self._source.codec_context.decode(packet)
        except av.FFmpegError:
            self._damaged += packet is not None
            return
        for frame in frames:
            time = time_of(frame)
            for piece in self._even(frame):
                self._place(piece, None if time is None else time + shift)
                time = None

    def _even(self, frame: av.AudioFrame) -> Iterator[av.AudioFrame]:
        """Yield a frame in the format of the first one."""
        import av

        frame = reachable(frame)
        if _unnamed(frame.layout) and frame.layout.nb_channels > _MOST_CHANNELS:
            frame = _mean(frame)
        if self._grid is None:
            self._grid = SampleGrid.of(self._container, frame.sample_rate, Fraction(0))
            self._kind = (frame.format.name, frame.layout.name)
        rate = self._grid.rate
        if (frame.format.name, frame.layout.name, frame.sample_rate) == (*self._kind, rate):
            yield frame
            return
        converter = av.AudioResampler(*self._kind, rate)
        yield from (*converter.resample(frame), *converter.resample(None))

    def _place(self, frame: av.AudioFrame, time: Fraction | None) -> None:
        grid = self._grid
        if grid is None:
            return
        silence, omitted = grid.place(time, frame.samples)
        for done in range(0, silence, grid.rate):
            self._send(_silence(frame, min(grid.rate, silence - done)))
        if omitted < frame.samples:
            self._send(_without(frame, omitted) if omitted else frame)

    def _send(self, frame: av.AudioFrame) -> None:
        frame.sample_rate = self._grid.rate if self._grid else frame.sample_rate
        frame.time_base, frame.pts = Fraction(1, frame.sample_rate), self._sent
        self._sent += frame.samples
        self._target.mux(self._stream.encode(frame))


def add_sound(
    target: Target,
    label: str,
    container: av.container.InputContainer,
    source: av.AudioStream,
    packets: Sequence[Packet],
    shift: Fraction,
) -> tuple[Route | None, tuple[str, ...]]:
    """Add a sound track to a container before its first packet.

    Args:
        target: container to write to.
        label: its name for messages.
        container: file that is read.
        source: its track.
        packets: its first packets.
        shift: seconds by which they are written later than they say.

    Returns:
        The way of its packets, None where the container can hold no sound; and warnings.
    """
    name, kind = target.format.name, source.codec_context.codec.canonical_name
    holds = can_hold(name, source, packets)
    late = name == "avi" and any(
        one.pts is not None and one.pts * one.time_base + shift > _AVI_DELAY_SECONDS
        for one in packets[:1]
    )
    if holds and not late and not kind.startswith(_NOT_COPIED.get(name, ())):
        stream = target.add_stream_from_template(source)
        return Copied(target, stream, cut=name in ("avi", "mpeg")), ()
    found = _encoder(name, source.codec_context, keep_codec=holds)
    if found is None:
        return None, ()
    codec, rate, layout = found
    format_name = _sample_format(codec)
    encoded = target.add_stream(codec, rate=rate, layout=layout, format=format_name)
    channels = encoded.codec_context.channels
    encoded.codec_context.bit_rate = _bit_rate(rate, channels)
    warnings: tuple[str, ...] = ()
    own_rate, own_channels = source.codec_context.sample_rate, source.codec_context.channels
    if channels != own_channels:
        warnings += (
            f"Sound of {own_channels} channels was mixed down to {channels}: {label} holds no more "
            "of it.",
        )
    if rate < own_rate:
        warnings += (f"Sound of {own_rate} Hz was resampled to {rate} Hz for {label}.",)
    return Encoded(target, container, source, encoded), warnings


def can_hold(format_name: str, stream: av.stream.Stream, packets: Sequence[Packet]) -> bool:
    """Return whether an output format takes a stream as it is: write it to memory and read it."""
    import av

    memory = BytesIO()
    try:
        with av.open(memory, "w", format=format_name) as trial:
            copy = trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
            for index, packet in enumerate(packets):
                clone = av.Packet(bytes(packet))
                clone.time_base, clone.duration = packet.time_base, packet.duration
                clone.pts = clone.dts = index * max(1, packet.duration or 1)
                clone.stream, clone.is_keyframe = copy, packet.is_keyframe
                trial.mux(clone)
        if not packets:
            return True
        memory.seek(0)
        with av.open(memory, format=_DEMUXERS.get(format_name, format_name)) as back:
            names = [_codec(one) for one in back.streams if one.type == stream.type]
            return _codec(stream) in names
    except (av.FFmpegError, ValueError):
        return False


def _codec(stream: av.stream.Stream) -> str:
    name = stream.codec_context.codec.canonical_name if stream.codec_context else stream.type
    return _SAME_DECODER.get(name, name)


def _encoder(
    name: str, source: av.AudioCodecContext, *, keep_codec: bool
) -> tuple[str, int, str] | None:
    """Return encoder, sample rate and layout that are nearest to a track, None if there is none."""
    codec = source.codec
    exact = codec.name.startswith("pcm_") or (codec.lossless and not codec.lossy)
    names = _ENCODERS.get(name, ())
    if exact and name in _HOLD_PCM and source.format is not None:
        own = (codec.name,) if keep_codec and codec.name.startswith("pcm_") else ()
        names = (*own, _PCM.get(source.format.packed.name, "pcm_s16le"), *names)
    layouts = [] if _unnamed(source.layout) else [source.layout.name]
    if _unnamed(source.layout) and source.channels > _MOST_CHANNELS:
        layouts = ["mono"]
    for same in _LAYOUTS:
        layouts += [one for one in same if _channels(one) <= source.channels]
    for layout in layouts:
        for encoder in names:
            rate = _nearest_rate(encoder, name, source.sample_rate or 48_000)
            if _opens(encoder, rate, layout):
                return encoder, rate, layout
    return None


def _opens(encoder: str, rate: int, layout: str) -> bool:
    import av

    context = av.CodecContext.create(encoder, "w")
    try:
        context.format, context.layout, context.sample_rate = _sample_format(encoder), layout, rate
        context.bit_rate = _bit_rate(rate, _channels(layout))
        context.time_base = Fraction(1, rate)
        context.open()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _nearest_rate(encoder: str, name: str, wanted: int) -> int:
    """Return the nearest sample rate of an encoder, the next higher one where there is one."""
    import av

    rates = _PROGRAM_STREAM_RATES_HZ if name == "mpeg" else av.Codec(encoder, "w").audio_rates
    return min(rates or (wanted,), key=lambda rate: (rate < wanted, abs(rate - wanted)))


def _sample_format(encoder: str) -> str:
    import av

    names = [one.name for one in av.Codec(encoder, "w").audio_formats or ()]
    return next((name for name in names if name.startswith("flt")), names[0])


def _bit_rate(rate: int, channels: int) -> int:
    return channels * min(_BITS_PER_SECOND, 4 * rate)


def _channels(layout: str) -> int:
    import av

    return av.AudioLayout(layout).nb_channels


def _unnamed(layout: av.AudioLayout) -> bool:
    """Return whether only the number of the channels is known."""
    return layout.name.endswith(" channels")


def _mean(frame: av.AudioFrame) -> av.AudioFrame:
    """Return the mean of all channels."""
    import av

    mean = samples_of(frame).mean(0, keepdims=True, dtype=np.float32)
    out = av.AudioFrame.from_ndarray(mean, "fltp", "mono")
    out.sample_rate = frame.sample_rate
    return out


def _silence(like: av.AudioFrame, count: int) -> av.AudioFrame:
    import av

    out = av.AudioFrame(like.format.name, like.layout.name, count)
    for plane in out.planes:
        quiet = 128 if like.format.name.startswith("u8") else 0
        plane.update(bytes([quiet]) * plane.buffer_size)
    return out


def _without(frame: av.AudioFrame, omitted: int) -> av.AudioFrame:
    """Return a frame without its first samples."""
    import av

    width = 1 if frame.format.is_planar else frame.layout.nb_channels
    values = np.ascontiguousarray(frame.to_ndarray()[:, omitted * width :])
    return av.AudioFrame.from_ndarray(values, frame.format.name, frame.layout.name)
