"""Projects of the studio: a clip and what its face is to feel, in one JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from mien.emotion.references import paths_of
from mien.emotion.request import Emotion, Request, Timeline, check_intensity
from mien.errors import InputError
from mien.media.container import existing_file
from mien.utils.text import shown

_VERSION: Final = 1
_MOST_BYTES: Final = 10**7
_FIELDS: Final = (
    "mien", "input", "face", "emotion", "au", "like", "neutral", "intensity", "timeline", "studio"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Project:
    """What a project asks for.

    Attributes:
        input: the clip or picture.
        request: what is to be felt.
        face: whose face, as :func:`mien.edit` takes it.
    """

    input: Path
    request: Request
    face: str

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a project; its files are relative to it.

        Raises:
            InputError: for a file that is no project, naming the field that cannot be used.
        """
        existing_file(path)
        name = shown(path)
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{name} is larger than {_MOST_BYTES // 10**6} MB; no project is.")
        try:
            data = json.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise InputError(f"The project {name} is not valid JSON ({error}).") from error
        if not isinstance(data, Mapping) or data.get("mien") != _VERSION:
            raise InputError(f'{name} is not a project of this version: "mien" must be {_VERSION}.')
        unknown = [field for field in data if field not in _FIELDS]
        if unknown:
            raise InputError(f"The project {name} has the unknown field {shown(unknown[0])}.")
        clip, face = data.get("input"), data.get("face", "largest")
        if not isinstance(clip, str) or not isinstance(face, str):
            raise InputError(f"The project {name} must have an input and a face as text.")
        try:
            return cls(path.parent / clip, _request(data, path.parent), face)
        except InputError as error:
            raise InputError(f"The project {name}: {error}") from error


def _request(data: Mapping[str, Any], folder: Path) -> Request:
    intensity = check_intensity(data.get("intensity", 1.0))
    if "timeline" in data:
        return Timeline.from_data(data["timeline"], intensity, folder)
    files = {
        field: tuple(folder / one for one in paths_of(data.get(field), field))
        for field in ("like", "neutral")
    }
    return Emotion.parse(
        data.get("emotion", ""), au=data.get("au", ""), intensity=intensity, **files
    )
