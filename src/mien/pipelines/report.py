"""What a job reports: what it wrote, with what, and what the user should know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mien.emotion.request import RequestDescription
from mien.emotion.resolver import Resolver
from mien.provenance.claim import ProvenanceRecord
from mien.weights.store import Weights


@dataclass(frozen=True, slots=True)
class Report:
    """Result of a job.

    Attributes:
        output: the file written; None where the result stays in memory.
        frames: pictures written; 1 for a still.
        seconds: length of the clip; 0 for a still.
        rate: frames per second of the clip; 0 for a still.
        faces: number of people that were edited.
        spans_without_face: (start, end) in seconds where nobody was edited.
        emotion: the request in plain values.
        engine: name of the engine.
        weights: nets used.
        frames_per_second: frames written by the wall-clock time of the whole job.
        encoding: encoder, pixel format and quality of a video; empty for a still.
        warnings: what the user should know (a damaged input, for instance).
        provenance: what the output says about its making.
        span: (start, end) in seconds of the part that was edited, end None for that of the film;
            None for all of it.
        preview: seconds of the one frame that was made; None for all of them.
        compare: how the original is shown along: ``"side"``, ``"split"``; None where it is not.
        follow: film of the person whose expression was taken over; None without one.
        input: the video or picture it was made from; None for one in memory.
    """

    output: Path | None
    frames: int
    seconds: float
    rate: float
    faces: int
    spans_without_face: tuple[tuple[float, float], ...]
    emotion: RequestDescription
    engine: str
    weights: tuple[Weights, ...]
    frames_per_second: float
    encoding: str = ""
    warnings: tuple[str, ...] = ()
    provenance: ProvenanceRecord = field(default_factory=ProvenanceRecord)
    span: tuple[float, float | None] | None = None
    preview: float | None = None
    compare: str | None = None
    follow: str | None = None
    input: Path | None = None

    @property
    def speed(self) -> str:
        """How fast it was made, in words."""
        rate = self.frames_per_second
        return f"{rate:.0f} frames/s" if rate >= 1 else f"{1 / max(rate, 1e-9):.0f} s per frame"

    def _repr_html_(self) -> str:
        from mien.pipelines.display import report_html

        return report_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values, ready for JSON."""
        plain = asdict(self)
        del plain["input"]  # the caller knows it; a server's answer must not name its folders
        return {**plain, "output": None if self.output is None else str(self.output)}


@dataclass(frozen=True, slots=True)
class Written:
    """What a job has written.

    Attributes:
        frames: number of pictures.
        seconds: length; 0 for a still.
        rate: frames per second; 0 for a still.
        encoding: encoder, pixel format and quality of a video.
        warnings: properties of the input that the output does not have.
        provenance: what the output says about its making.
    """

    frames: int
    seconds: float
    rate: float
    encoding: str = ""
    warnings: tuple[str, ...] = ()
    provenance: ProvenanceRecord = field(default_factory=ProvenanceRecord)


@dataclass(frozen=True, slots=True)
class Maker:
    """What makes the output of a job.

    Attributes:
        engine: name of the engine.
        resolver: of the request.
        weights: returns the nets used, when the work is done.
    """

    engine: str
    resolver: Resolver
    weights: Callable[[], tuple[Weights, ...]]
