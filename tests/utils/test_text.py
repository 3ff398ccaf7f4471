"""Values in messages."""

from __future__ import annotations

from pathlib import Path

from mien.utils.text import shown


def test_short_values_are_shown_as_they_are() -> None:
    assert shown("sad") == "'sad'"
    assert shown(1.5) == "1.5"
    assert shown(Path("/a/b c.mp4")) == "/a/b c.mp4"


def test_long_values_are_shortened() -> None:
    assert len(shown("x" * 5000)) <= 61
    assert len(shown(Path("x" * 5000 + ".mp4"))) <= 251
    assert shown(Path("x" * 5000 + ".mp4")).endswith(".mp4")
    assert shown(10**6000) == "a very large int"


def test_what_cannot_be_printed_is_replaced() -> None:
    assert shown(Path("a\nb\udcff")) == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
