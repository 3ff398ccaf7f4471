"""mien changes what a face feels in a video, offline, on a CPU.

import mien
mien.edit("clip.mp4", "sad.mp4", "sad")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.api import edit, feel, talk
    from mien.emotion.request import Emotion, Timeline
    from mien.errors import FaceNotFoundError, InputError, MienError, OutputError, WeightsError
    from mien.pipelines.mesh_live import Editor
    from mien.pipelines.report import Report
    from mien.speech.feeling import Feeling

__version__ = "0.1.0"

_WHERE = {
    "edit": "mien.api",
    "feel": "mien.api",
    "talk": "mien.api",
    "Feeling": "mien.speech.feeling",
    "Editor": "mien.pipelines.mesh_live",
    "Report": "mien.pipelines.report",
    "Emotion": "mien.emotion.request",
    "Timeline": "mien.emotion.request",
    **dict.fromkeys(
        ("MienError", "InputError", "OutputError", "FaceNotFoundError", "WeightsError"),
        "mien.errors",
    ),
}

__all__ = [
    "Editor",
    "Emotion",
    "FaceNotFoundError",
    "Feeling",
    "InputError",
    "MienError",
    "OutputError",
    "Report",
    "Timeline",
    "WeightsError",
    "__version__",
    "edit",
    "feel",
    "talk",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    """Load public names when first used: importing mien costs next to nothing."""
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'mien' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
