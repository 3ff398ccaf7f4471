"""Everything a written video holds besides its frames: sound, subtitles, covers, attachments."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from mien.media.audio import main_track
from mien.media.clock import Clock
from mien.media.container import may_be_joined, open_container
from mien.media.sound import Copied, Route, add_sound, can_hold
from mien.media.tags import copy_chapters, copy_file_tags, copy_track_tags, is_cover, lower_case

if TYPE_CHECKING:
    import av
    import av.container
    import av.stream
    import av.subtitles.stream

    from mien.media.sound import Packet, Target

_LEAD_SECONDS: Final = 1
"""How far everything is written ahead of the frames at most: memory stays constant."""

_PEEKED: Final = 4
_MOST_PEEKED_BYTES: Final = 2**23
"""Where the search for the first packets of every stream ends."""

_PACKET_BYTES: Final = 2**10
"""What a packet takes besides its data."""

_MOST_HELD: Final = 1000

_TEXT_SUBTITLES: Final = {
    "mp4": "mov_text",
    "mov": "mov_text",
    "ipod": "mov_text",
    "matroska": "srt",
    "webm": "webvtt",
}
_TEXT: Final = ("subrip", "srt", "mov_text", "webvtt", "ass", "ssa", "text")


class Companions:
    """Writes everything besides the frames; use it as a context manager.

    Args:
        target: container to write to, before its first packet.
        label: its name for messages.
        picture: video whose tags, chapters, subtitles and other streams are kept.
        start: time of its first frame on its own clock, seconds: the output's time 0.
        sound: file whose sound is added; of ``picture`` itself all tracks are, of another file the
            one that players choose.
        sound_start: time on the clock of ``sound`` that is the output's time 0, seconds.
    """

    def __init__(
        self,
        target: Target,
        label: str,
        *,
        picture: Path | None = None,
        start: Fraction = Fraction(0),
        sound: Path | None = None,
        sound_start: Fraction = Fraction(0),
    ) -> None:
        same = picture is not None and sound is not None and picture.samefile(sound)
        self._sources: list[_Source] = []
        with ExitStack() as stack:
            if picture is not None:
                film = _Source(stack, target, label, picture, start)
                film.add_everything(sounds=same, replaced=sound is not None)
                self._sources.append(film)
            if sound is not None and not same:
                voice = _Source(stack, target, label, sound, sound_start)
                voice.add_main_sound()
                self._sources.append(voice)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was not kept; complete after :meth:`finish`."""
        found = (warning for source in self._sources for warning in source.warnings())
        return tuple(dict.fromkeys(found))

    def write_until(self, seconds: float) -> None:
        """Write everything up to a second after the frame shown at ``seconds``."""
        for source in self._sources:
            source.write_until(seconds + _LEAD_SECONDS)

    def finish(self) -> None:
        """Write all that is left."""
        for source in self._sources:
            source.write_until(None)


class _Source:
    """One input file and the ways of its streams into the output."""

    def __init__(
        self, stack: ExitStack, target: Target, label: str, path: Path, start: Fraction
    ) -> None:
        self._target, self._label, self._path = target, label, path
        self._name = target.format.name
        self._container = stack.enter_context(open_container(path))
        self._clock = Clock([-start], may_be_joined(self._container))
        self._routes: dict[int, Route] = {}
        self._said: list[str] = []
        self._peeked: deque[Packet] = deque()
        self._held: list[Packet] = []
        self._packets: Iterator[Packet] = iter(())
        self._done = False

    def add_main_sound(self) -> None:
        """Add the sound track that players choose."""
        track = main_track(self._container)
        if track is None:
            return
        self._begin([track])
        self._add_sound(track)

    def add_everything(self, *, sounds: bool, replaced: bool) -> None:
        """Add all streams, chapters and tags.

        Args:
            sounds: whether the sound tracks are kept.
            replaced: whether other sound takes their place otherwise.
        """
        streams = [one for one in self._container.streams if sounds or one.type != "audio"]
        covers = [one for one in streams if is_cover(one)]
        pictures = [one for one in streams if one.type == "video" and one not in covers]
        wanted = [one for one in streams if one not in pictures and one.type != "attachment"]
        # Only streams of broadcast can be joined; elsewhere the frames need not be read again.
        self._begin([*wanted, *(pictures[:1] if self._clock.joinable else ())])
        lost = copy_file_tags(self._container, pictures[0] if pictures else None, self._target)
        for stream in streams:
            if stream.type == "attachment":
                self._add_attachment(stream)
            elif stream in covers:
                self._add_cover(stream)
            elif stream in pictures[1:]:
                self._say(f"{_described(stream)} was not kept: only one picture is edited.")
            elif stream.type == "audio":
                lost |= self._add_sound(stream)
            elif stream.type == "subtitle":
                lost |= self._add_subtitles(stream)
            elif stream not in pictures:
                self._add_data(stream)
        shift = self._clock.shifts[0]
        if (count := copy_chapters(self._container, self._target, shift)) > 0:
            self._say(f"{count} chapters were not kept: {self._label} cannot hold them.")
        if lost:
            names = ", ".join(sorted(lost))
            self._say(f"Tags were not kept ({names}): {self._label} cannot hold them.")
        count = len(self._container.streams.audio)
        if replaced and not sounds and count > 1:
            self._say(f"The {count} sound tracks of {self._path} were replaced by the speech.")

    def write_until(self, seconds: float | None) -> None:
        """Write what is shown up to ``seconds``; None: all that is left."""
        while not self._done:
            packet = self._peeked.popleft() if self._peeked else self._next()
            if packet is None:
                self._done = True
                if self._held:
                    self._clock.settle()
                    self._release()
                for route in self._routes.values():
                    route.finish()
                return
            known = len(self._clock.shifts)
            shift = self._clock.shift_of(packet) if packet.size else self._clock.shifts[-1]
            if len(self._clock.shifts) > known:
                self._release()
            self._take(packet, shift)
            stamp = packet.pts if packet.dts is None else packet.dts
            if seconds is None or shift is None or stamp is None:
                continue
            if float(stamp * Fraction(packet.time_base) + shift) > seconds:
                return

    def warnings(self) -> Iterator[str]:
        """Yield what was not kept."""
        yield from self._said
        for route in self._routes.values():
            yield from (f"{self._path}: {warning}" for warning in route.warnings)

    def _take(self, packet: Packet, shift: Fraction | None) -> None:
        route = self._routes.get(packet.stream_index)
        if route is None or not packet.size:
            return
        if shift is not None:
            if self._held:  # other time stamps of this stream were broken
                index = packet.stream_index
                self._held = [one for one in self._held if one.stream_index != index]
            route.take(packet, shift)
            return
        self._held.append(packet)
        if len(self._held) > _MOST_HELD:
            self._clock.settle()
            self._release()

    def _release(self) -> None:
        held, self._held = self._held, []
        for packet in held:
            self._routes[packet.stream_index].take(packet, self._clock.shifts[-1])

    def _begin(self, streams: list[av.stream.Stream]) -> None:
        """Start reading ``streams``, as far as their first packets."""
        from av.stream import Discard

        for stream in self._container.streams:
            if stream not in streams:
                stream.discard = Discard.all
        if not streams:
            self._done = True
            return
        self._packets = self._container.demux(*streams)
        video = [one.index for one in streams if one.type == "video" and not is_cover(one)]
        sound = [one.index for one in streams if one.type == "audio"]
        self._clock.lead = (video + sound + [streams[0].index])[0]
        missing = {one.index: _PEEKED for one in streams if one.type == "audio"}
        missing |= {one.index: 1 for one in streams if is_cover(one) or one.type == "data"}
        size = 0
        while any(left > 0 for left in missing.values()) and size < _MOST_PEEKED_BYTES:
            packet = self._next()
            if packet is None:
                return
            self._peeked.append(packet)
            size += packet.size + _PACKET_BYTES
            if packet.size:
                missing[packet.stream_index] = missing.get(packet.stream_index, 0) - 1

    def _next(self) -> Packet | None:
        import av

        try:
            return next(self._packets, None)
        except av.FFmpegError as error:
            if self._routes or not self._peeked:
                self._say(f"{self._path}: reading its sound broke off ({error.strerror}).")
            return None

    def _first(self, stream: av.stream.Stream) -> list[Packet]:
        mine = [one for one in self._peeked if one.stream_index == stream.index and one.size]
        return mine[:_PEEKED]

    def _say(self, warning: str) -> None:
        self._said.append(warning)

    def _refuse(self, stream: av.stream.Stream) -> None:
        plural = stream.type == "subtitle"
        was, it = ("were", "them") if plural else ("was", "it")
        self._say(f"{_described(stream)} {was} not kept: {self._label} cannot hold {it}.")

    def _add_sound(self, track: av.AudioStream) -> set[str]:
        route: Route | None = None
        warnings: tuple[str, ...] = ()
        if track.codec_context is not None:
            first = self._first(track)
            shift = self._clock.shifts[0]
            route, warnings = add_sound(
                self._target, self._label, self._container, track, first, shift
            )
        if route is None:
            self._refuse(track)
            return set()
        self._said += warnings
        return self._routed(track, route)

    def _add_subtitles(self, stream: av.subtitles.stream.SubtitleStream) -> set[str]:
        import av

        context = stream.codec_context
        copied = context is not None and (self._name != "mpeg" or context.name == "dvdsub")
        if copied and can_hold(self._name, stream, ()):
            copy = self._target.add_stream_from_template(stream)
            return self._routed(stream, Copied(self._target, copy, cut=True))
        text = _TEXT_SUBTITLES.get(self._name)
        if text is None or context is None or context.name not in _TEXT:
            self._refuse(stream)
            return set()
        try:
            context.open(strict=False)
            out = self._target.add_stream(text)
            out.codec_context.subtitle_header = context.subtitle_header
            out.codec_context.time_base = Fraction(1, 1000)
            out.codec_context.open()
        except (av.FFmpegError, ValueError):
            self._refuse(stream)
            return set()
        if context.name in ("ass", "ssa"):
            self._say(
                f"{_described(stream)} lost their styles: {self._label} holds plain text only."
            )
        return self._routed(stream, _Rewritten(self._target, stream, out))

    def _add_data(self, stream: av.stream.Stream) -> None:
        name = getattr(stream, "name", "")  # streams of unknown kinds have none
        of_chapters = name == "bin_data" and self._container.chapters()
        if of_chapters or "timecode" in lower_case(stream.metadata):
            return  # written as chapters, and as a tag
        first = self._first(stream)
        if stream.codec_context is None and first and can_hold(self._name, stream, first):
            copy = self._target.add_stream_from_template(stream)
            self._routed(stream, Copied(self._target, copy, cut=True))
        else:
            self._refuse(stream)

    def _add_attachment(self, stream: av.stream.AttachmentStream) -> None:
        name = stream.metadata.get("filename", "attachment")
        if self._name == "matroska":
            self._target.add_attachment(name, stream.mimetype or "", stream.data)
        else:
            self._say(f"The attachment {name} was not kept: {self._label} cannot hold it.")

    def _add_cover(self, stream: av.VideoStream) -> None:
        from av.stream import Disposition

        packets, kind = self._first(stream), stream.codec_context.name
        if self._name == "matroska" and packets:
            kind = {"mjpeg": "jpeg"}.get(kind, kind)
            name = stream.metadata.get("filename", f"cover.{kind.replace('jpeg', 'jpg')}")
            self._target.add_attachment(name, f"image/{kind}", bytes(packets[0]))
        elif self._name == "mp4" and packets and kind in ("mjpeg", "png", "bmp"):
            copy = self._target.add_stream_from_template(stream, opaque=True)
            copy.disposition = Disposition.attached_pic
            self._routes[stream.index] = Copied(self._target, copy)
        else:
            self._say(f"The cover picture was not kept: {self._label} cannot hold it.")

    def _routed(self, stream: av.stream.Stream, route: Route) -> set[str]:
        """Send the packets of a stream on their way; return the tags that are lost."""
        self._routes[stream.index] = route
        out = self._target.streams[-1]
        out.disposition = stream.disposition
        return copy_track_tags(self._name, stream, out)


class _Rewritten:
    """Subtitles of one kind of text written as another."""

    def __init__(
        self,
        target: Target,
        source: av.subtitles.stream.SubtitleStream,
        stream: av.subtitles.stream.SubtitleStream,
    ) -> None:
        self._target, self._source, self._stream = target, source, stream
        self._damaged = 0

    def take(self, packet: Packet, shift: Fraction) -> None:
        import av

        if packet.pts is None:
            return
        base = Fraction(packet.time_base)
        start = packet.pts + round(shift / base)
        end = start + (packet.duration or 0)
        if end <= 0:
            return
        try:
            text = self._source.codec_context.decode2(packet)
            if text is None or not len(text):
                return
            out = self._stream.codec_context.encode_subtitle(text)
        except av.FFmpegError:
            self._damaged += 1
            return
        out.pts = out.dts = max(0, start)
        out.time_base, out.duration, out.stream = base, end - max(0, start), self._stream
        self._target.mux(out)

    def finish(self) -> None:
        """Nothing is left."""

    @property
    def warnings(self) -> tuple[str, ...]:
        return (f"{self._damaged} damaged subtitles were left out.",) * bool(self._damaged)


def _described(stream: av.stream.Stream) -> str:
    """Return what a stream is for a message: "Subtitles (srt, ger)"."""
    kinds = {"audio": "Sound", "subtitle": "Subtitles", "video": "A further picture track"}
    tags = lower_case(stream.metadata)
    name = stream.codec_context.codec.canonical_name if stream.codec_context else None
    language = tags.get("language", "und")
    facts = [
        name or tags.get("handler_name") or _tag(stream),
        "" if language == "und" or stream.type == "data" else language,
        tags.get("title", ""),
    ]
    inside = ", ".join(fact for fact in facts if fact)
    kind = kinds.get(stream.type, "A data track")
    return f"{kind} ({inside})" if inside else kind


def _tag(stream: av.stream.Stream) -> str:
    """Return the four characters that name a stream's kind, if it has any."""
    return "".join(c for c in str(getattr(stream, "codec_tag", "") or "") if c.isalnum())
