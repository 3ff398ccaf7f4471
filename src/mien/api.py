"""The verbs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mien.emotion import Emotion, Request, Timeline
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.editing.report import Progress, Report
    from mien.speech.feeling import Feeling

ENGINES = ("mesh",)


def request_from(
    emotion: Request | str | None, au: str | None, timeline: str | Path | None, intensity: float
) -> Request:
    """One request out of the ways to ask for it.

    Raises:
        InputError: when nothing was asked for, or too much at once.
    """
    if timeline is not None:
        if emotion is not None or au is not None:
            raise InputError("A timeline says everything; leave emotion and action units out.")
        return Timeline.load(timeline, intensity)
    if emotion is None or isinstance(emotion, str):
        return Emotion.parse(emotion or "", au=au or "", intensity=intensity)
    if au is not None or intensity != 1.0:
        raise InputError(
            "An Emotion or Timeline object carries its own action units and intensity."
        )
    return emotion


def edit(
    input: str | Path,
    output: str | Path,
    emotion: Request | str | None = None,
    *,
    au: str | None = None,
    timeline: str | Path | None = None,
    intensity: float = 1.0,
    face: str = "largest",
    engine: str = "mesh",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Change what a face feels in a video or picture.

    The output has the input's size, rate, times, length and sound; only the face region changes.

    Args:
        input: any video FFmpeg reads, or a PNG, JPEG or WebP picture.
        output: file to write, of the same kind.
        emotion: ``"sad"``, ``"sad:0.6"``, ``"happy:0.7,surprised:0.4"``, or an ``Emotion`` or
            ``Timeline`` object.
        au: action units, ``"12L=0.8,4=0.5"``, added on top.
        timeline: JSON file with emotions over time, instead of ``emotion``.
        intensity: 0 (nothing changes) .. 1.5.
        face: ``"largest"``, ``"all"``, a number from 1 (left to right), or a picture of the person.
        engine: ``"mesh"``.
        overwrite: whether an existing output may be replaced.
        progress: called with (frames done, frames in all or None).

    Raises:
        InputError: for a request, input or output that cannot be used.
        FaceNotFoundError: when there is nobody to edit.
        OutputError: when writing fails on the way. Nothing is left behind in any of these cases.
    """
    if engine not in ENGINES:
        raise InputError(f"There is no engine {engine!r}. Valid: {', '.join(ENGINES)}.")
    request = request_from(emotion, au, timeline, intensity)
    from mien.editing.files import edit_file
    from mien.face.select import FaceChoice

    return edit_file(
        Path(input),
        Path(output),
        request,
        FaceChoice.parse(face),
        overwrite=overwrite,
        progress=progress,
    )


def feel(
    voices: str | Path | Sequence[str | Path], *, neutral: str | Path | None = None
) -> Iterator[Feeling]:
    """Say what voices feel: probabilities, valence, arousal, intensity and a curve per second.

    Args:
        voices: one or several sound or video files; the net is loaded once for all of them.
        neutral: the same speaker speaking plainly, which makes it surer.

    Yields:
        One result per file, in order, as soon as it is there.

    Raises:
        InputError: for a file that is missing or holds no sound.
    """
    from mien.speech.feeling import feelings

    several = [voices] if isinstance(voices, str | Path) else voices
    yield from feelings([Path(v) for v in several], None if neutral is None else Path(neutral))
