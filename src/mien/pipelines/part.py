"""Which part of a film is edited: a span, or a single frame to look at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Final

from mien.errors import InputError
from mien.utils.numeric import is_number, smoothstep
from mien.utils.text import shown

_EASE_SECONDS: Final = 0.4
"""Time in which an edit comes at the start of a span and goes at its end."""

_EASE_SHARE: Final = 0.3
"""The same at most, as a share of the span."""

_MOST_SECONDS: Final = 10**7


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a film; by default all of it.

    Attributes:
        start: seconds at which the edit begins; 0 begins with the first frame.
        end: seconds at which it ends; None ends with the last frame.
        preview: seconds of the one frame that is made, as a picture; None makes a film.
    """

    start: float = 0.0
    end: float | None = None
    preview: float | None = None

    def __post_init__(self) -> None:
        names = (("start", "--from"), ("end", "--to"), ("preview", "--preview"))
        for name, option in names:
            value = getattr(self, name)
            if value is None:
                continue
            if not is_number(value) or not 0 <= value <= _MOST_SECONDS:
                raise InputError(
                    f"{option} ({name}=) must be seconds from 0 upwards; got {shown(value)}."
                )
        if self.end is not None and self.end <= self.start:
            raise InputError(
                f"The span from {self.start:g} s to {self.end:g} s is empty; its end must lie "
                "behind its start."
            )
        if self.preview is not None and not self.covers(self.preview):
            raise InputError(
                f"The preview at {self.preview:g} s lies outside the span that is edited."
            )

    @property
    def is_span(self) -> bool:
        """Whether a part of the film stays as it is."""
        return self.start > 0 or self.end is not None

    def of(self, path: Path, length: Fraction | float | None) -> Part:
        """Return the part of a film that lasts ``length`` seconds, where that is known.

        An end beyond the film's is the film's own.

        Raises:
            InputError: when it begins, or the preview lies, beyond the end.
        """
        if length is None:
            return self
        for what, value in (("The span", self.start), ("The preview", self.preview or 0.0)):
            if value and value > length:
                raise beyond(what, value, path, float(length))
        if self.end is not None and self.end >= length:
            return replace(self, end=None)
        return self

    def covers(self, time: float | Fraction) -> bool:
        """Return whether a frame at ``time`` seconds is edited."""
        return self.start <= time and (self.end is None or time < self.end)

    def weight(self, time: float | Fraction) -> float:
        """Return the strength of the edit at ``time`` seconds, 0..1, eased at both ends."""
        if not self.covers(time):
            return 0.0
        ease = _EASE_SECONDS
        if self.end is not None:
            ease = min(ease, _EASE_SHARE * (self.end - self.start))
        rise = 1.0 if self.start == 0 else min(1.0, (float(time) - self.start) / ease)
        fall = 1.0 if self.end is None else min(1.0, (self.end - float(time)) / ease)
        return float(smoothstep(rise) * smoothstep(fall))


def beyond(what: str, seconds: float, path: Path, length: float) -> InputError:
    """Return the error for a time behind the end of a film."""
    return InputError(f"{what} at {seconds:g} s lies beyond {path}, which lasts {length:.2f} s.")
