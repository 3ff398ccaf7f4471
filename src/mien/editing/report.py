"""What was done, as a typed record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

Progress = Callable[[int, int | None], None]
"""Called with the number of frames done and, where known, of all frames."""

_MESH_ASSETS: Final = ("canonical_face.npz", "rig.npz")


@dataclass(frozen=True, slots=True)
class Weights:
    """A net or preset that was used.

    Attributes:
        name: file name.
        sha256: of the file.
        licence: SPDX name.
    """

    name: str
    sha256: str
    licence: str


@dataclass(frozen=True, slots=True)
class Report:
    """Result of an edit.

    Attributes:
        output: the file written.
        frames: pictures written; 1 for a still.
        seconds: length of the clip; 0 for a still.
        rate: frames per second of the clip; 0 for a still.
        faces: how many people were edited.
        spans_without_face: (start, end) in seconds where nobody was edited.
        emotion: the request in plain values.
        engine: name of the engine.
        weights: nets and presets used.
        frames_per_second: speed of the work, everything included.
        warnings: what the user should know (a damaged input, for instance).
    """

    output: Path
    frames: int
    seconds: float
    rate: float
    faces: int
    spans_without_face: tuple[tuple[float, float], ...]
    emotion: dict[str, Any]
    engine: str
    weights: tuple[Weights, ...]
    frames_per_second: float
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The record in plain values, ready for JSON."""
        out = asdict(self)
        out["output"] = str(self.output)
        return out


@lru_cache(maxsize=1)
def mesh_weights() -> tuple[Weights, ...]:
    """Presets the mesh engine uses, with their hashes."""
    folder = files("mien") / "assets"
    return tuple(
        Weights(name, hashlib.sha256((folder / name).read_bytes()).hexdigest(), "Apache-2.0")
        for name in _MESH_ASSETS
    )
