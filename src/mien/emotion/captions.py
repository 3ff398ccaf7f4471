"""Emotions over time out of subtitles, and out of plain text files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mien.emotion.synonyms import suggest
from mien.errors import InputError
from mien.utils.text import shown

SUBTITLES: Final = (".srt", ".vtt")
TEXT: Final = ".txt"

_TIME: Final = r"(?:(\d{1,5}):)?(\d{1,5}):(\d{1,5}(?:[.,]\d{1,9})?)"
_CUE: Final = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
_TAG: Final = re.compile(r"\[([^\[\]\n]*)\]")
_SPECIFICATION: Final = re.compile(r"[a-z]+(\s*:\s*[\d.]+)?(\s*,\s*[a-z]+(\s*:\s*[\d.]+)?)*")
_LINE: Final = re.compile(rf"(?:{_TIME}|(\d{{1,7}}(?:\.\d{{1,9}})?))s?\s+(\S.*)")


def entries_of(path: Path, text: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the entries of a timeline that a file asks for.

    In subtitles a tag such as ``[sad]`` or ``[happy:0.6]`` sets the emotion when its cue appears;
    it holds until the next tag. Other words in brackets stay part of the subtitles. A text file has
    lines such as ``0:04.5 sad:0.6``; ``#`` begins a comment.

    Args:
        path: whose suffix tells which of them it is.
        text: what is in it.
        names: of the emotions.

    Raises:
        InputError: where nothing is asked for, or a name is nearly that of an emotion.
    """
    tags = list(_lines(text, path) if path.suffix.lower() == TEXT else _tags(text, names))
    if not tags:
        what = "lines such as 0:04 sad" if path.suffix.lower() == TEXT else "a tag such as [sad]"
        raise InputError(f"{shown(path)} asks for no emotion; it needs {what}.")
    return [{"at": seconds, "emotion": emotion} for seconds, emotion in tags]


def _tags(text: str, names: tuple[str, ...]) -> Iterator[tuple[float, str]]:
    seconds: float | None = None
    for number, line in enumerate(text.splitlines(), 1):
        cue = _CUE.match(line)
        if cue is not None:
            seconds = _seconds(cue[1], cue[2], cue[3])
            continue
        for tag in _TAG.findall(line):
            words = tag.strip().lower()
            if seconds is None or not _SPECIFICATION.fullmatch(words):
                continue
            wanted = [part.partition(":")[0].strip() for part in words.split(",")]
            wrong = next((name for name in wanted if name not in names), None)
            if wrong is None:
                yield seconds, words
                continue
            near = suggest(wrong, names)
            if near is not None:  # [music] is no misspelling of an emotion
                raise InputError(
                    f"Line {number}: there is no emotion {shown(wrong)}. Did you mean [{near}]?"
                )


def _lines(text: str, path: Path) -> Iterator[tuple[float, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].strip()
        if not words:
            continue
        found = _LINE.fullmatch(words)
        if found is None:
            raise InputError(
                f"Line {number} of {shown(path)} is not a time and an emotion, such as "
                f"0:04.5 sad:0.6; got {shown(words)}."
            )
        hours, minutes, rest, alone, emotion = found.groups()
        yield float(alone) if alone else _seconds(hours, minutes, rest), emotion


def _seconds(hours: str | None, minutes: str, seconds: str) -> float:
    rest = float(seconds.replace(",", "."))
    return 3600 * int(hours or 0) + 60 * int(minutes) + rest
