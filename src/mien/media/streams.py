"""Everything a written video holds besides its frames: sound, subtitles, chapters, tags."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from mien.media.audio import main_track
from mien.media.container import is_join, may_be_joined, open_container
from mien.media.sound import Copied, Route, add_sound, can_hold

if TYPE_CHECKING:
    import av
    import av.container
    import av.stream
    import av.subtitles.stream
    from av.container.core import Chapter

    from mien.media.sound import Packet, Target

_LEAD_SECONDS: Final = 1
"""How far everything is written ahead of the frames at most: memory stays constant."""

_NEAR_SECONDS: Final = 5
"""How far apart packets of one time are stored at most."""

_PEEKED: Final = 4
_MOST_PEEKED_BYTES: Final = 2**23
"""Where the search for the first packets of every stream ends."""

_PACKET_BYTES: Final = 2**10
"""What a packet takes besides its data."""

_MOST_HELD: Final = 1000

_QUICKTIME: Final = ("mp4", "mov", "ipod")
_MATROSKA: Final = ("matroska", "webm")
_TEXT_SUBTITLES: Final = {
    "mp4": "mov_text",
    "mov": "mov_text",
    "ipod": "mov_text",
    "matroska": "srt",
    "webm": "webvtt",
}
_TEXT: Final = ("subrip", "srt", "mov_text", "webvtt", "ass", "ssa", "text")

_TAGS: Final = {
    "mp4": "title artist album_artist album composer comment genre copyright date creation_time "
    "description synopsis show track lyrics location",
    "mov": "title artist album comment genre copyright date creation_time location",
    "avi": "title artist comment genre copyright date track language encoded_by",
}
"""Tags of the whole file that a format holds in the usual way; Matroska holds all."""

_TRACK_TAGS: Final = {
    "mp4": "language title handler_name",
    "mov": "language title handler_name",
    "ipod": "language title handler_name",
    "avi": "title",
}
_TECHNICAL: Final = re.compile(
    r"encoder|major_brand|minor_version|compatible_brands|duration|vendor_id|handler_name|rotate"
    r"|bps|number_of_\w+|_statistics_\w+|source_id|timecode|name|software",
)
"""Tags that describe the file rather than the film; the time code is written by itself."""

_QUICKTIME_CODES: Final = {
    "ara": "ara", "baq": "baq", "bul": "bul", "cat": "cat", "ces": "ces", "chi": "chi",
    "cze": "ces", "dan": "dan", "deu": "ger", "dut": "dut", "ell": "gre", "eng": "eng",
    "est": "est", "eus": "baq", "fas": "per", "fin": "fin", "fra": "fra", "fre": "fra",
    "ger": "ger", "gre": "gre", "heb": "heb", "hin": "hin", "hrv": "hr ", "hun": "hun",
    "ice": "ice", "ind": "ind", "isl": "ice", "ita": "ita", "jpn": "jpn", "kor": "kor",
    "lav": "lav", "lit": "lit", "may": "may", "msa": "may", "nld": "dut", "nob": "nor",
    "nor": "nor", "per": "per", "pol": "pol", "por": "por", "ron": "ron", "rum": "ron",
    "rus": "rus", "slk": "slk", "slo": "slk", "slv": "slv", "spa": "spa", "srp": "sr ",
    "swe": "sve", "tha": "tha", "tur": "tur", "ukr": "ukr", "urd": "urd", "vie": "vie",
    "wel": "wel", "cym": "wel", "zho": "chi", "mac": "mac", "mkd": "mac", "alb": "alb",
    "sqi": "alb", "arm": "arm", "hye": "arm", "geo": "geo", "kat": "geo", "lat": "lat",
}  # fmt: skip
"""FFmpeg's names of QuickTime's languages by ISO 639-2 code."""

_CODE: Final = re.compile("[a-z]{3}")
_TIMECODE: Final = re.compile(r"\d\d:\d\d:\d\d[:;.]\d\d")


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


@dataclass(slots=True)
class _Clock:
    """Time of packets in the output; recordings that were joined follow one another.

    Attributes:
        shifts: seconds to add to the time stamps of each recording.
        joinable: whether recordings can be joined in this format.
        lead: index of the stream whose time stamps tell how long a recording is.
    """

    shifts: list[Fraction]
    joinable: bool
    lead: int = -1
    _number: dict[int, int] = field(default_factory=dict)
    _end: dict[int, Fraction] = field(default_factory=dict)
    _reached: list[Fraction] = field(default_factory=list)
    _before: dict[int, Fraction] = field(default_factory=dict)
    _guess: Fraction = Fraction(0)

    def shift_of(self, packet: Packet) -> Fraction | None:
        """Return the seconds to add to a packet's times; None while that is not known yet."""
        stamp, index = packet.pts if packet.dts is None else packet.dts, packet.stream_index
        number = self._number.setdefault(index, 0)
        if stamp is not None:
            base = Fraction(packet.time_base)
            at, end = stamp * base, self._end.get(index)
            if end is not None and self._is_join(index, end, at):
                waits, before = number >= len(self.shifts), self._before.get(index, at - 1)
                # A stream that returns to where it was had broken time stamps in between.
                number += -1 if waits and abs(at - before) < 1 else 1
                self._number[index], self._before[index] = number, end
                self._guess = self.shifts[-1] + end - at
                if index == self.lead and number == len(self.shifts):
                    self.shifts.append(self._guess)
            self._end[index] = at + (packet.duration or 0) * base
            if index == self.lead:
                self._reached[number:] = [self._end[index]]
        return self.shifts[number] if number < len(self.shifts) else None

    def _is_join(self, index: int, end: Fraction, at: Fraction) -> bool:
        if not is_join(at - end, joinable=self.joinable):
            return False
        # A stream may pause where the lead does not.
        reached = self._reached[self._number[index] :]
        paused = index != self.lead and end < at and reached and at < reached[0] + _NEAR_SECONDS
        return not paused

    def settle(self) -> None:
        """Let the next recording follow the stream that reached it first."""
        self.shifts.append(self._guess)


class _Source:
    """One input file and the ways of its streams into the output."""

    def __init__(
        self, stack: ExitStack, target: Target, label: str, path: Path, start: Fraction
    ) -> None:
        self._target, self._label, self._path = target, label, path
        self._name = target.format.name
        self._container = stack.enter_context(open_container(path))
        self._clock = _Clock([-start], may_be_joined(self._container))
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
        covers = [one for one in streams if _is_cover(one)]
        pictures = [one for one in streams if one.type == "video" and one not in covers]
        wanted = [one for one in streams if one not in pictures and one.type != "attachment"]
        # Only streams of broadcast can be joined; elsewhere the frames need not be read again.
        self._begin([*wanted, *(pictures[:1] if self._clock.joinable else ())])
        lost = self._copy_file_tags(pictures[0] if pictures else None)
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
        self._copy_chapters()
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
        video = [one.index for one in streams if one.type == "video" and not _is_cover(one)]
        sound = [one.index for one in streams if one.type == "audio"]
        self._clock.lead = (video + sound + [streams[0].index])[0]
        missing = {one.index: _PEEKED for one in streams if one.type == "audio"}
        missing |= {one.index: 1 for one in streams if _is_cover(one) or one.type == "data"}
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
        if of_chapters or "timecode" in _lower(stream.metadata):
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
        return self._copy_track_tags(stream, out)

    def _copy_track_tags(self, stream: av.stream.Stream, out: av.stream.Stream) -> set[str]:
        tags = _lower(stream.metadata)
        tags.setdefault("title", tags.get("name", ""))
        all_held = self._name in _MATROSKA
        held = _TRACK_TAGS.get(self._name, "").split()
        lost: set[str] = set()
        for key, value in tags.items():
            if not value or (key, value) == ("language", "und") or key == "creation_time":
                continue
            if all_held or key in held:
                written = self._language(value) if key == "language" else value
                if written is None:
                    lost.add(f"language {value}")
                elif not _TECHNICAL.fullmatch(key) or key in held:
                    out.metadata[key] = written
            elif not _TECHNICAL.fullmatch(key):
                lost.add(key)
        return lost

    def _language(self, code: str) -> str | None:
        """Return a language code as the output's format names it; None where it does not."""
        if self._name == "mov":
            return _QUICKTIME_CODES.get(code)
        return code if self._name in _MATROSKA or _CODE.fullmatch(code) else None

    def _copy_file_tags(self, picture: av.stream.Stream | None) -> set[str]:
        """Copy the tags of the file and of its picture; return those that are lost."""
        tags = {
            key: value
            for key, value in self._container.metadata.items()
            if not _TECHNICAL.fullmatch(key.lower())
        }
        usual = _TAGS.get("mp4" if self._name == "ipod" else self._name, "").split()
        unusual = {k for k in tags if k.lower() not in usual and self._name not in _MATROSKA}
        cover = self._name == "mp4" and any(map(_is_cover, self._container.streams))
        if unusual and self._name in _QUICKTIME and not cover:  # one or the other
            options = self._target.options
            options["movflags"] = options.get("movflags", "") + "+use_metadata_tags"
            unusual = set()
        self._target.metadata.update({k: v for k, v in tags.items() if k not in unusual})
        lost = set(unusual)
        if picture is not None and self._target.streams.video:
            out = self._target.streams.video[0]
            out.disposition = picture.disposition
            lost |= self._copy_track_tags(picture, out)
            lost |= self._copy_timecode(out)
        return lost

    def _copy_timecode(self, out: av.VideoStream) -> set[str]:
        places = (self._container, *self._container.streams)
        found = [_lower(place.metadata).get("timecode") for place in places]
        code = next((one for one in found if one), None)
        if code is None:
            return set()
        rate = out.average_rate or out.codec_context.framerate
        drop = code[8:9] != ":" and rate.denominator != 1001
        if self._name not in ("mp4", "mov", *_MATROSKA) or not _TIMECODE.fullmatch(code) or drop:
            return {"timecode"}
        out.metadata["timecode"] = code
        return set()

    def _copy_chapters(self) -> None:
        chapters = self._container.chapters()
        if not chapters:
            return
        if self._name not in (*_QUICKTIME, *_MATROSKA):
            self._say(f"{len(chapters)} chapters were not kept: {self._label} cannot hold them.")
            return
        kept: list[Chapter] = []
        for chapter in chapters:
            base = Fraction(chapter["time_base"] or 1)
            shift = round(self._clock.shifts[0] / base)
            start, end = max(0, chapter["start"] + shift), chapter["end"] + shift
            if end > 0:
                number = len(kept) + 1
                kept.append(chapter | {"id": number, "start": start, "end": end})
        self._target.set_chapters(kept)


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


def _is_cover(stream: av.stream.Stream) -> bool:
    from av.stream import Disposition

    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def _described(stream: av.stream.Stream) -> str:
    """Return what a stream is for a message: "Subtitles (srt, ger)"."""
    kinds = {"audio": "Sound", "subtitle": "Subtitles", "video": "A further picture track"}
    tags = _lower(stream.metadata)
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


def _lower(tags: Mapping[str, str]) -> dict[str, str]:
    return {key.lower(): value for key, value in tags.items()}
