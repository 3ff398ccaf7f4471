"""Voices and faces that an emotion refers to, as files; resolved by the engine that uses them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from mien.errors import InputError
from mien.media.audio import has_sound
from mien.media.still import is_still
from mien.speech.analysis import VoiceAnalysis

Files = str | Path | Sequence[str | Path]
"""One file or several."""


class ReferenceDescription(TypedDict, total=False):
    """A reference in reports: ``name`` is ``like`` or ``auto``, ``by`` is ``voice`` or ``face``."""

    name: str
    strength: float
    by: str
    voice: str
    like: list[str]
    neutral: list[str]


@dataclass(frozen=True, slots=True)
class VoiceReference:
    """The emotion of one or several voices, averaged.

    Attributes:
        paths: files with sound.
        neutral: the same speaker's neutral voice; an average one where there is none.
    """

    paths: tuple[Path, ...]
    neutral: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All files."""
        return (*self.paths, *self.neutral)


@dataclass(frozen=True, slots=True)
class FaceReference:
    """The expression of a face.

    Attributes:
        path: picture, or video without sound.
    """

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """All files."""
        return (self.path,)


@dataclass(frozen=True, slots=True)
class OwnVoice:
    """The emotion of the voice of the clip itself, over time (``auto``).

    Attributes:
        neutral: the same speaker's neutral voice.
    """

    neutral: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All files besides the clip."""
        return self.neutral


Reference = VoiceReference | FaceReference | OwnVoice


def paths_of(files: Files | None, what: str) -> tuple[Path, ...]:
    """Return one or several files as a tuple.

    Raises:
        InputError: for other values, calling them ``what``.
    """
    if files is None:
        return ()
    several = [files] if isinstance(files, str | Path) else files
    if not isinstance(several, Sequence) or not all(isinstance(f, str | Path) for f in several):
        raise InputError(f"{what} must be a file or a list of files; got {files!r}.")
    return tuple(Path(file) for file in several)


def reference_to(paths: Sequence[Path], neutral: Sequence[Path] = ()) -> Reference:
    """Refer to voices, or to one face in a picture or silent video.

    The files are opened to see what they are, not decoded.

    Raises:
        InputError: for files that are missing or do not go together.
    """
    _check_files(paths)
    silent = [path for path in paths if is_still(path) or not has_sound(path)]
    if not silent:
        return VoiceReference(tuple(paths), tuple(neutral))
    if len(paths) > 1:
        raise InputError(
            f"{silent[0]} shows a face; use several voices or one face, not both or several faces."
        )
    if neutral:
        raise InputError("A neutral voice belongs to a voice; a face needs none.")
    return FaceReference(silent[0])


def use_voice(references: Iterable[Reference], voice: Path) -> bool:
    """Whether references need a clip's own voice, as ``auto`` or as one of their files."""
    return any(
        isinstance(reference, OwnVoice)
        or (isinstance(reference, VoiceReference) and voice in reference.files)
        for reference in references
    )


def check_references(references: Iterable[Reference], own_voice: VoiceAnalysis | None) -> None:
    """Check that all files of references are there, without decoding them.

    Args:
        references: what a request refers to.
        own_voice: of the clip; None where there is no clip.

    Raises:
        InputError: naming the file that is missing or has no sound.
    """
    for reference in references:
        _check_files(reference.files)
        if isinstance(reference, OwnVoice):
            if own_voice is None:
                raise InputError("auto follows a clip's own voice; here there is no clip.")
            if not own_voice.has_sound:
                raise InputError(
                    f"{own_voice.path} has no sound: there is no voice to follow. Name an emotion, "
                    "or use --like."
                )
        if not isinstance(reference, FaceReference):
            for path in reference.files:
                if not has_sound(path):
                    raise InputError(f"{path} has no sound in it.")


def describe_reference(
    reference: Reference, strength: float, own_voice: Path | None
) -> ReferenceDescription:
    """Describe a reference in plain values.

    Args:
        reference: to describe.
        strength: its weight.
        own_voice: the clip, where it is known.
    """
    if isinstance(reference, OwnVoice):
        out = ReferenceDescription(name="auto", strength=strength, by="voice")
        return out if own_voice is None else {**out, "voice": str(own_voice)}
    if isinstance(reference, FaceReference):
        return {"name": "like", "strength": strength, "by": "face", "like": [str(reference.path)]}
    return {
        "name": "like",
        "strength": strength,
        "by": "voice",
        "like": [str(path) for path in reference.paths],
        "neutral": [str(path) for path in reference.neutral],
    }


def _check_files(paths: Iterable[Path]) -> None:
    for path in paths:
        if not path.is_file():
            raise InputError(f"There is no file {path}.")
