"""Values in messages."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_LONGEST: Final = 60
_LONGEST_PATH: Final = 250


def shown(value: object) -> str:
    """Return a value as a message shows it, shortened where it is long; a path without quotes."""
    longest = _LONGEST_PATH if isinstance(value, Path) else _LONGEST
    try:
        text = str(value) if isinstance(value, Path) else repr(value)
    except (ValueError, RecursionError):  # integers of thousands of digits, deep nesting
        return f"a very large {type(value).__name__}"
    if len(text) > longest:
        text = f"{text[: longest // 2]}…{text[-longest // 2 :]}"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
