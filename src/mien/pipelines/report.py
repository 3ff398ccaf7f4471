"""What was done, as a typed record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from mien.emotion.expression_track import PRESETS
from mien.emotion.prosody import Living
from mien.emotion.request import Emotion, Request, Timeline
from mien.weights.store import Weights, weights_used

Progress = Callable[[int, int | None], None]
"""Called with the number of frames done and, where known, of all frames."""

_MESH_ASSETS: Final = ("canonical_face.npz", "rig.npz")
_TRACKER_ASSETS: Final = tuple(
    f"tracker_{net}.onnx" for net in ("detector", "face", "mouth", "eye")
)
_VOICE_ASSETS: Final = ("listener.onnx", "listener_says.onnx", "connector.onnx", "connector.npz")
_PRESETS: Final = ("presets.npz",)
_PUBLISHED: Final = ("published_voices.npz",)
_SPEECH: Final = ("articulator.onnx", "articulation.npz", "dice.onnx", "dice.npz")


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


def tracker_weights() -> tuple[Weights, ...]:
    """Nets that find and follow faces, with their hashes."""
    return weights_used(_TRACKER_ASSETS)


def mesh_weights() -> tuple[Weights, ...]:
    """Nets and presets that tracking and the mesh engine use, with their hashes."""
    return weights_used((*_TRACKER_ASSETS, *_MESH_ASSETS))


def speech_weights() -> tuple[Weights, ...]:
    """What makes a portrait's mouth follow a voice, with hashes."""
    return weights_used(_SPEECH)


def weights_behind(request: Request) -> tuple[Weights, ...]:
    """Nets and presets an expression comes from, besides the engine's."""
    if isinstance(request, Living):
        return weights_behind(request.request)
    keys = request.keys if isinstance(request, Timeline) else ()
    emotions: list[Request] = [key.emotion for key in keys] or [request]
    out: list[str] = []
    for emotion in emotions:
        if isinstance(emotion, Emotion):
            if any(look.about.get("by") == "voice" for look, _ in emotion.looks):
                out += _VOICE_ASSETS
            if any(name in PRESETS for name, _ in emotion.labels):
                out += _PRESETS
    return weights_used(dict.fromkeys(out))


def all_weights() -> tuple[Weights, ...]:
    """Everything that ships with mien."""
    voices = (*_VOICE_ASSETS, *_PRESETS, *_PUBLISHED, *_SPEECH)
    return weights_used((*_TRACKER_ASSETS, *_MESH_ASSETS, *voices))
