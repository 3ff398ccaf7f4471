"""The table in docs/media.md says what the containers really keep."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from .films import Sound, film, packets, rewritten

LINES = ((0.2, 0.9, b"Good morning"), (1.1, 1.8, b"Good night"))
SUFFIXES = {"MP4, M4V": ".mp4", "MOV": ".mov", "MKV": ".mkv", "WebM": ".webm", "AVI": ".avi",
            "MPEG": ".mpg"}  # fmt: skip
ENCODERS = {"AAC": "aac", "MP3": "libmp3lame", "MP2": "mp2", "AC-3": "ac3", "E-AC-3": "eac3",
            "ALAC": "alac", "FLAC": "flac", "Opus": "libopus",
            "PCM": "pcm_s16le"}  # fmt: skip


def table() -> dict[str, dict[str, str]]:
    """What the documentation says of every property, by container."""
    text = (Path(__file__).parents[2] / "docs" / "media.md").read_text()
    lines = text[text.index("| kept as |") :].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head = rows[0][1:]
    assert head == list(SUFFIXES)
    return {row[0]: dict(zip(head, row[1:], strict=True)) for row in rows[2:]}


TABLE = table()


@pytest.mark.parametrize("container", SUFFIXES)
def test_sound_is_copied_as_documented(container: str, tmp_path: Path) -> None:
    said = TABLE["copied sound (most common)"][container].split(";")[0]
    everything = said == "all"
    for name, encoder in ENCODERS.items():
        source = film(tmp_path / f"{name}.mkv", Sound(encoder))
        target = tmp_path / f"{name}{SUFFIXES[container]}"
        target = target.with_stem(f"{name} copy")
        rewritten(source, target)
        before, after = packets(source), packets(target)
        # AVI has no place for the packet with which an encoder starts up.
        copied = len(before) - len(after) in (0, 1) and before[len(before) - len(after) :] == after
        assert copied == (everything or name in said.split(", ")), (name, container)


@pytest.mark.parametrize("container", SUFFIXES)
def test_text_and_chapters_are_kept_as_documented(container: str, tmp_path: Path) -> None:
    source = film(
        tmp_path / "a.mkv",
        subtitles=("subrip", LINES),
        chapters=((0.0, 0.8, "one"), (0.8, 2.0, "two")),
        attachment=("font.ttf", "application/x-truetype-font", bytes(99)),
    )
    target = tmp_path / f"b{SUFFIXES[container]}"
    warnings = " ".join(rewritten(source, target))
    with av.open(str(target)) as film_of:
        kept = {
            "text subtitles": bool(film_of.streams.subtitles),
            "chapters": len(film_of.chapters()) == 2,
            "attachments": bool(film_of.streams.attachments),
        }
    words = {"text subtitles": "ubtitles", "chapters": "chapters", "attachments": "attachment"}
    for name, is_kept in kept.items():
        said = TABLE[name][container]
        assert is_kept == (said != "no"), (name, container)
        assert is_kept != (words[name] in warnings), (name, container, warnings)
