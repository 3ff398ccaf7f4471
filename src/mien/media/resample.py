"""Frames at another rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from mien.media.frame import Frame


def nearest_frames(frames: Iterable[Frame], rate: float) -> Iterator[Frame]:
    """Yield the nearest frame for every multiple of ``1 / rate`` seconds, as long as frames last.

    Args:
        frames: in order of their times; two of them are held at once.
        rate: frames per second to yield.
    """
    step, at = 1 / Fraction(rate), Fraction(0)
    before: Frame | None = None
    gap = Fraction(0)
    for frame in frames:
        while at <= frame.time:
            earlier = before is not None and at - before.time < frame.time - at
            yield before if before is not None and earlier else frame
            at += step
        gap = frame.time - before.time if before is not None else gap
        before = frame
    while before is not None and at < before.time + gap / 2:
        yield before
        at += step
