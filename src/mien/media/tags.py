"""Tags, languages, time codes and chapters, as far as the output can hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import av
    import av.container
    import av.stream
    from av.container.core import Chapter

    from mien.media.sound import Target

_QUICKTIME: Final = ("mp4", "mov", "ipod")
_MATROSKA: Final = ("matroska", "webm")

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


def copy_file_tags(
    source: av.container.InputContainer, picture: av.stream.Stream | None, target: Target
) -> set[str]:
    """Copy the tags of a file and of its picture, whose stream is the first of the target.

    Returns:
        The names of those that are lost.
    """
    name = target.format.name
    tags = {k: v for k, v in source.metadata.items() if not _TECHNICAL.fullmatch(k.lower())}
    usual = _TAGS.get("mp4" if name == "ipod" else name, "").split()
    lost = {key for key in tags if key.lower() not in usual and name not in _MATROSKA}
    cover = name == "mp4" and any(map(is_cover, source.streams))
    if lost and name in _QUICKTIME and not cover:  # MP4 holds a cover or unusual tags
        movflags = target.options.get("movflags", "")
        target.options["movflags"] = f"{movflags}+use_metadata_tags"
        lost = set()
    target.metadata.update({key: value for key, value in tags.items() if key not in lost})
    if picture is not None and target.streams.video:
        out = target.streams.video[0]
        out.disposition = picture.disposition
        lost |= copy_track_tags(name, picture, out) | _copy_timecode(source, name, out)
    return lost


def copy_track_tags(name: str, stream: av.stream.Stream, out: av.stream.Stream) -> set[str]:
    """Copy the tags of a stream into a format; return the names of those that are lost."""
    tags = lower_case(stream.metadata)
    tags.setdefault("title", tags.get("name", ""))
    held = _TRACK_TAGS.get(name, "").split()
    lost: set[str] = set()
    for key, value in tags.items():
        if not value or (key, value) == ("language", "und") or key == "creation_time":
            continue
        if name in _MATROSKA or key in held:
            written = _language(name, value) if key == "language" else value
            if written is None:
                lost.add(f"language {value}")
            elif not _TECHNICAL.fullmatch(key) or key in held:
                out.metadata[key] = written
        elif not _TECHNICAL.fullmatch(key):
            lost.add(key)
    return lost


def copy_chapters(source: av.container.InputContainer, target: Target, shift: Fraction) -> int:
    """Copy chapters, ``shift`` seconds later than they say; return how many are lost."""
    chapters = source.chapters()
    if target.format.name not in (*_QUICKTIME, *_MATROSKA):
        return len(chapters)
    kept: list[Chapter] = []
    for chapter in chapters:
        ticks = round(shift / Fraction(chapter["time_base"] or 1))
        start, end = max(0, chapter["start"] + ticks), chapter["end"] + ticks
        if end > 0:
            kept.append(chapter | {"id": len(kept) + 1, "start": start, "end": end})
    target.set_chapters(kept)
    return 0


def is_cover(stream: av.stream.Stream) -> bool:
    """Return whether a stream is a cover picture."""
    from av.stream import Disposition

    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def lower_case(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags with their names in lower case."""
    return {key.lower(): value for key, value in tags.items()}


def _language(name: str, code: str) -> str | None:
    """Return a language code as a format names it; None where it does not."""
    if name == "mov":
        return _QUICKTIME_CODES.get(code)
    return code if name in _MATROSKA or _CODE.fullmatch(code) else None


def _copy_timecode(source: av.container.InputContainer, name: str, out: av.VideoStream) -> set[str]:
    places = (source, *source.streams)
    found = [lower_case(place.metadata).get("timecode") for place in places]
    code = next((one for one in found if one), None)
    if code is None:
        return set()
    rate = out.average_rate or out.codec_context.framerate
    drops = code[8:9] != ":" and rate.denominator != 1001  # only NTSC rates drop frames
    if name not in ("mp4", "mov", *_MATROSKA) or not _TIMECODE.fullmatch(code) or drops:
        return {"timecode"}
    out.metadata["timecode"] = code
    return set()
