"""Voices and faces that an emotion refers to, as files; resolved by the engine that uses them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict

from mien.errors import FaceNotFoundError, InputError
from mien.face.topology import Landmarks
from mien.media.audio import has_sound
from mien.media.container import existing_file
from mien.media.frame import Image
from mien.media.still import is_still, read_still
from mien.utils.text import shown

_FACE_FRAMES: Final = 40
_FACE_SECONDS: Final = 60.0

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
        raise InputError(f"{what} must be a file or a list of files; got {shown(files)}.")
    return tuple(Path(file) for file in several)


def reference_to(paths: Sequence[Path], neutral: Sequence[Path] = ()) -> Reference:
    """Refer to voices, or to one face in a picture or silent video.

    The files are opened to see what they are, not decoded.

    Raises:
        InputError: for files that are missing or do not go together.
    """
    check_files(paths)
    silent = [path for path in paths if is_still(path) or not has_sound(path)]
    if not silent:
        return VoiceReference(tuple(paths), tuple(neutral))
    if len(paths) > 1:
        raise InputError(
            f"{shown(silent[0])} shows a face; use several voices or one face, not both or several "
            "faces."
        )
    if neutral:
        raise InputError("A neutral voice belongs to a voice; a face needs none.")
    return FaceReference(silent[0])


def describe_reference(
    reference: Reference, strength: float, own_voice: Path | None
) -> ReferenceDescription:
    """Describe a reference in plain values; ``own_voice`` is the clip, where it is known."""
    if isinstance(reference, OwnVoice):
        out = ReferenceDescription(name="auto", strength=strength, by="voice")
        return out if own_voice is None else {**out, "voice": str(own_voice)}
    if isinstance(reference, FaceReference):
        return {"name": "like", "strength": strength, "by": "face", "like": [str(reference.path)]}
    paths, neutral = (list(map(str, part)) for part in (reference.paths, reference.neutral))
    return {"name": "like", "strength": strength, "by": "voice", "like": paths, "neutral": neutral}


def check_files(paths: Iterable[Path]) -> None:
    """Raise InputError for a file that is missing or cannot be opened."""
    for path in paths:
        existing_file(path)


def faces_of(path: Path) -> Iterator[tuple[Image, Landmarks]]:
    """Yield the face in a picture, or in frames spread over a clip's first minute, and its frame.

    Raises:
        FaceNotFoundError: when no frame shows a face.
    """
    from mien.face.tracker import FaceTracker

    found = False
    with closing(FaceTracker(still=is_still(path))) as tracker:
        for image in _images(path):
            for face in tracker(image)[:1]:
                found = True
                yield image, face
    if not found:
        raise FaceNotFoundError(f"No usable face was found in {path}.")


def _images(path: Path) -> Iterator[Image]:
    from mien.media.read import VideoReader

    if is_still(path):
        yield read_still(path)
        return
    with VideoReader(path) as reader:
        yield from reader.first_look(_FACE_FRAMES, _FACE_SECONDS)
