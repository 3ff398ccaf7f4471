"""What requests say: the same fields for the HTTP API, MCP and the studio."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from mien.media.output import ANIMATION_SUFFIXES, STILL_SUFFIXES, VIDEO_SUFFIXES

FILES: Final = ("input", "portrait", "speech", "like", "neutral", "face_picture")
"""Fields that name files; in a form they may be the files themselves."""

SEVERAL: Final = ("like", "neutral")
"""Fields that may name more than one file."""

_OUTPUTS: Final = dict.fromkeys((*VIDEO_SUFFIXES, *ANIMATION_SUFFIXES, *STILL_SUFFIXES))

Reference = Annotated[str, Field(min_length=1, max_length=1000)]
"""An upload's id, or a path inside the folders that the server was allowed to read."""

Resolve = Callable[[str], Path]
"""Returns the file behind a reference."""


class Keyframe(BaseModel):
    """One entry of a timeline, as in timeline files."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    at: float = Field(ge=0, le=10**7, description="Seconds at which the change begins.")
    emotion: str | None = Field(default=None, max_length=2000)
    au: str | None = Field(default=None, max_length=2000)
    like: list[Reference] | None = Field(default=None, max_length=20)
    neutral: list[Reference] | None = Field(default=None, max_length=20)
    intensity: float | None = Field(default=None, ge=0, le=1.5)
    fade: float | None = Field(
        default=None, ge=0, le=10**7, description="Seconds that the change takes."
    )
    easing: Literal["linear", "ease", "ease-in", "ease-out"] | None = None


class Feelings(BaseModel):
    """What the face is to feel, and whose face."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    emotion: str | None = Field(
        default=None, max_length=2000, description="sad, sad:0.6, happy:0.7,surprised:0.4 or auto"
    )
    au: str | None = Field(default=None, max_length=2000, description="Action units: 12L=0.8,4=0.5")
    timeline: list[Keyframe] | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="Emotions over time, instead of emotion.",
    )
    like: list[Reference] | None = Field(
        default=None, max_length=20, description="Voices, or one face, whose emotion to use."
    )
    neutral: list[Reference] | None = Field(
        default=None, max_length=20, description="The same speaker, speaking neutrally."
    )
    intensity: float | None = Field(default=None, ge=0, le=1.5)
    face: str | None = Field(
        default=None,
        pattern=r"^(largest|all|[1-9][0-9]?)$",
        description="largest, all, or a number from 1 (leftmost).",
    )
    face_picture: Reference | None = Field(
        default=None, description="A picture of the person to edit."
    )

    def arguments(self, resolve: Resolve, folder: Path) -> dict[str, Any]:
        """Return the arguments of a verb that these fields are.

        Args:
            resolve: finds the files that are referred to.
            folder: where the timeline is written, if there is one.
        """
        given = self.model_dump(include={"emotion", "au", "intensity", "face"}, exclude_none=True)
        given |= _resolved(self, resolve)
        if self.face_picture is not None:
            given["face"] = str(resolve(self.face_picture))
        if self.timeline is not None:
            entries = [
                {**key.model_dump(exclude_none=True), **_resolved(key, resolve)}
                for key in self.timeline
            ]
            path = folder / "timeline.json"
            path.write_text(json.dumps(entries), encoding="utf-8")
            given["timeline"] = str(path)
        return given


def _resolved(fields: Keyframe | Feelings, resolve: Resolve) -> dict[str, list[str]]:
    """Return the fields that name voices and faces, with the files' paths."""
    named = {name: getattr(fields, name) for name in SEVERAL}
    return {name: [str(resolve(one)) for one in given] for name, given in named.items() if given}


class _Clip(Feelings):
    """What every verb that writes a picture or a clip takes."""

    engine: Literal["mesh", "edtalk", "svd"] | None = None
    format: str | None = Field(
        default=None,
        pattern="^(" + "|".join(suffix[1:] for suffix in _OUTPUTS) + ")$",
        description="Kind of the result: mp4, mov, webm, png …; by default that of the input.",
    )
    codec: str | None = Field(default=None, max_length=40)
    quality: int | None = Field(default=None, ge=0, le=1000)
    preset: str | None = Field(default=None, max_length=40)
    lossless: bool | None = None

    def _order(
        self, verb: str, source: Path, resolve: Resolve, folder: Path, **more: str
    ) -> dict[str, Any]:
        named = self.model_dump(
            include={"codec", "quality", "preset", "lossless"}, exclude_none=True
        )
        arguments = {**more, **self.arguments(resolve, folder)}
        if self.engine is not None:
            arguments["engine"] = self.engine
        suffix = source.suffix.lower() if self.format is None else f".{self.format}"
        if suffix not in _OUTPUTS:
            suffix = ".mp4"
        return {
            "verb": verb,
            "output": f"result{suffix}",
            "arguments": arguments,
            "encoding": named,
        }


class EditRequest(_Clip):
    """Change what a face feels in a video or picture."""

    input: Reference
    beside: bool | None = Field(default=None, description="The original beside the edit.")

    def order(self, resolve: Resolve, folder: Path) -> dict[str, Any]:
        """Return the order of a job, see :mod:`mien.serve.work`; arguments as elsewhere here."""
        source = resolve(self.input)
        compare = {"compare": "side"} if self.beside else {}
        return self._order("edit", source, resolve, folder, input=str(source), **compare)


class TalkRequest(_Clip):
    """Make a portrait speak, or dub the person in a video."""

    portrait: Reference
    speech: Reference
    rate: Literal[25, 30, 50, 60] | None = Field(default=None, description="Frames per second.")
    side: int | None = Field(default=None, ge=64, le=8192, description="Longest side, pixels.")
    liveliness: float | None = Field(default=None, ge=0, le=2)
    variety: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = Field(default=None, ge=0, le=2**32)

    def order(self, resolve: Resolve, folder: Path) -> dict[str, Any]:
        """Return the order of a job, see :mod:`mien.serve.work`; arguments as elsewhere here."""
        portrait, speech = resolve(self.portrait), resolve(self.speech)
        source = portrait if portrait.suffix.lower() in VIDEO_SUFFIXES else Path("clip.mp4")
        order = self._order(
            "talk", source, resolve, folder, portrait=str(portrait), speech=str(speech)
        )
        settings = self.model_dump(
            include={"rate", "side", "liveliness", "variety", "seed"}, exclude_none=True
        )
        return {**order, "talk": settings} if settings else order


class FeelRequest(BaseModel):
    """Recognise the emotion of a voice."""

    model_config = ConfigDict(extra="forbid")

    input: Reference
    neutral: Reference | None = Field(
        default=None, description="The same speaker, speaking neutrally."
    )

    def order(self, resolve: Resolve, folder: Path) -> dict[str, Any]:
        """Return the order of a job, see :mod:`mien.serve.work`; arguments as elsewhere here."""
        arguments = {"voices": str(resolve(self.input))}
        if self.neutral is not None:
            arguments["neutral"] = str(resolve(self.neutral))
        return {"verb": "feel", "output": "result.json", "arguments": arguments}


class PreviewRequest(Feelings):
    """One frame of a video or picture with an emotion, as a JPEG."""

    input: Reference
    seconds: float = Field(default=0.0, ge=0, le=10**7, description="Which frame, seconds.")
    side: int | None = Field(default=None, ge=16, le=8192, description="Longest side, pixels.")
    original: bool = Field(default=False, description="The frame as it is, without an emotion.")
