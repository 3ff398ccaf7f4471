"""mien changes what a face feels in a video, offline, on a CPU.

import mien
mien.edit("clip.mp4", "sad.mp4", "sad")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mien.utils.version import __version__

if TYPE_CHECKING:
    from mien.api import edit, feel, talk, verify
    from mien.emotion.references import FaceReference, OwnVoice, VoiceReference
    from mien.emotion.request import Emotion, Keyframe, Timeline
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.engines.svd.settings import SvdSettings
    from mien.errors import (
        CancelledError,
        FaceNotFoundError,
        InputError,
        MienError,
        MissingExtraError,
        OutputError,
        WeightsError,
    )
    from mien.face.feeling import FaceFeeling
    from mien.media.encode import EncodingSettings
    from mien.pipelines.mesh_live import Editor
    from mien.pipelines.mesh_stream import Talker
    from mien.pipelines.mesh_talk import TalkSettings
    from mien.pipelines.report import Report
    from mien.pipelines.result import Result
    from mien.provenance.claim import ProvenanceRecord
    from mien.provenance.verify import Findings
    from mien.speech.feeling import Feeling

_MODULES = {
    "mien.api": ("edit", "feel", "talk", "verify"),
    "mien.emotion.references": ("FaceReference", "OwnVoice", "VoiceReference"),
    "mien.emotion.request": ("Emotion", "Keyframe", "Timeline"),
    "mien.engines.edtalk.settings": ("EDTalkSettings",),
    "mien.engines.svd.settings": ("SvdSettings",),
    "mien.media.encode": ("EncodingSettings",),
    "mien.errors": (
        "CancelledError",
        "FaceNotFoundError",
        "InputError",
        "MienError",
        "MissingExtraError",
        "OutputError",
        "WeightsError",
    ),
    "mien.pipelines.mesh_live": ("Editor",),
    "mien.pipelines.mesh_stream": ("Talker",),
    "mien.pipelines.mesh_talk": ("TalkSettings",),
    "mien.pipelines.report": ("Report",),
    "mien.pipelines.result": ("Result",),
    "mien.face.feeling": ("FaceFeeling",),
    "mien.provenance.claim": ("ProvenanceRecord",),
    "mien.provenance.verify": ("Findings",),
    "mien.speech.feeling": ("Feeling",),
}

__all__ = [
    "CancelledError",
    "EDTalkSettings",
    "Editor",
    "Emotion",
    "EncodingSettings",
    "FaceFeeling",
    "FaceNotFoundError",
    "FaceReference",
    "Feeling",
    "Findings",
    "InputError",
    "Keyframe",
    "MienError",
    "MissingExtraError",
    "OutputError",
    "OwnVoice",
    "ProvenanceRecord",
    "Report",
    "Result",
    "SvdSettings",
    "TalkSettings",
    "Talker",
    "Timeline",
    "VoiceReference",
    "WeightsError",
    "__version__",
    "edit",
    "feel",
    "talk",
    "verify",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    """Load public names at first use, so that importing mien is quick."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'mien' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
