"""Values that the shell completes."""

from __future__ import annotations

from collections.abc import Iterator

_FACES = ("largest", "all", "1", "2", "3")


def emotions(incomplete: str) -> Iterator[str]:
    """Complete the last name of ``happy:0.7,sur``."""
    from mien.emotion.request import AUTO, NAMES

    before, comma, last = incomplete.rpartition(",")
    return (f"{before}{comma}{name}" for name in (*NAMES, AUTO) if name.startswith(last))


def engines(incomplete: str) -> list[str]:
    """Complete the name of an engine."""
    from mien.pipelines.start import TALKERS

    return [name for name in TALKERS if name.startswith(incomplete)]


def faces(incomplete: str) -> list[str]:
    """Complete the choice of a face."""
    return [name for name in _FACES if name.startswith(incomplete)]


def comparisons(incomplete: str) -> list[str]:
    """Complete the way to compare."""
    from mien.pipelines.compare import COMPARISONS

    return [name for name in COMPARISONS if name.startswith(incomplete)]


def codecs(incomplete: str) -> list[str]:
    """Complete the name of a codec."""
    from mien.media.encode import CODECS

    return [name for name in CODECS if name.startswith(incomplete)]


def languages(incomplete: str) -> list[str]:
    """Complete the language of a label."""
    from mien.provenance.label import LANGUAGES

    return [name for name in LANGUAGES if name.startswith(incomplete)]
