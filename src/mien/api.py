"""The verbs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mien.emotion.expression_track import AUTO, PRESETS, Look
from mien.emotion.request import Emotion, Request, Timeline, check_intensity
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.engines.svd.settings import SvdSettings
    from mien.pipelines.mesh_talk import TalkSettings
    from mien.pipelines.report import Progress, Report
    from mien.speech.feeling import Feeling

ENGINES = ("mesh", "edtalk")
"""What can draw an edited face."""

TALKERS = ("mesh", "edtalk", "svd")
"""What can make a face talk."""

Files = str | Path | Sequence[str | Path]
"""One file or several."""


def _several(files: Files | None) -> list[str | Path]:
    if files is None:
        return []
    return [files] if isinstance(files, str | Path) else list(files)


def request_from(
    source: str | Path,
    emotion: Request | str | None = None,
    *,
    au: str | None = None,
    timeline: str | Path | None = None,
    like: Files | None = None,
    neutral: Files | None = None,
    intensity: float = 1.0,
) -> tuple[Request, tuple[str, ...]]:
    """One request out of the ways to ask for it, and warnings; arguments as in :func:`edit`.

    Raises:
        InputError: when nothing was asked for, or too much at once.
    """
    voices, plain = _several(like), _several(neutral)
    if timeline is not None:
        if emotion is not None or au is not None or voices:
            raise InputError(
                "A timeline says everything; leave emotion, action units and like out."
            )
        looks, warnings = _auto(source, plain, _names_auto(timeline))
        if plain and not looks:
            raise InputError("neutral belongs to like or auto; the timeline has its own.")
        return Timeline.load(timeline, intensity, looks), warnings
    if emotion is not None and not isinstance(emotion, str):
        if au is not None or intensity != 1.0 or voices or plain:
            raise InputError(
                "An Emotion or Timeline object carries its own action units, looks and intensity."
            )
        return emotion, ()
    check_intensity(intensity)
    names = [part.partition(":")[0].strip().lower() for part in (emotion or "").split(",")]
    if plain and not voices and AUTO not in names:
        raise InputError("neutral belongs to like or to the emotion auto; name one of them.")
    worn: Look | None = None
    heard: tuple[str, ...] = ()
    if AUTO not in names and (emotion or au or not voices):
        Emotion.parse(emotion or "", au=au or "")  # complain before listening for long
    if voices:
        from mien.emotion.resolve_mesh import look_like

        worn, heard = look_like(voices, plain)
    looks, warnings = _auto(source, plain, AUTO in names)
    request = Emotion.parse(emotion or "", au=au or "", intensity=intensity, looks=looks, like=worn)
    return request, (*heard, *warnings)


def _auto(
    source: str | Path, neutral: list[str | Path], wanted: bool
) -> tuple[dict[str, Look], tuple[str, ...]]:
    """The look that follows the clip's own voice, where somebody asked for it."""
    if not wanted:
        return {}, ()
    from mien.emotion.resolve_mesh import follow_voice

    look, warnings = follow_voice(source, neutral)
    return {AUTO: look}, warnings


def _names_auto(timeline: str | Path) -> bool:
    """Whether a timeline mentions ``auto``; errors of the file are left to its reader."""
    try:
        return f'"{AUTO}' in Path(timeline).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _enliven(request: Request, source: Path) -> Request:
    """Let what comes from a voice rise and fall with the clip's own; names stay steady."""
    emotions = [key.emotion for key in request.keys] if isinstance(request, Timeline) else [request]
    from_voice = any(
        isinstance(item, Emotion)
        and (item.looks or any(name in PRESETS for name, _ in item.labels))
        for item in emotions
    )
    if not from_voice:
        return request
    from mien.media.audio import has_sound
    from mien.media.still import is_still

    if is_still(source) or not has_sound(source):
        return request
    return _enliven_by(request, source)


def _enliven_by(request: Request, speech: Path) -> Request:
    """Let an expression rise and fall with a voice."""
    from mien.emotion.prosody import Living, course_of

    return Living(request, course_of(speech))


def edit(
    input: str | Path,
    output: str | Path,
    emotion: Request | str | None = None,
    *,
    au: str | None = None,
    timeline: str | Path | None = None,
    like: Files | None = None,
    neutral: Files | None = None,
    intensity: float = 1.0,
    face: str = "largest",
    engine: str = "mesh",
    options: EDTalkSettings | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Change what a face feels in a video or picture.

    The output has the input's size, rate, times, length and sound; only the face region changes.

    Args:
        input: any video FFmpeg reads, or a PNG, JPEG or WebP picture.
        output: file to write, of the same kind.
        emotion: ``"sad"``, ``"sad:0.6"``, ``"happy:0.7,surprised:0.4"``, ``"auto"`` (what the
            clip's own voice feels, over time), or an ``Emotion`` or ``Timeline`` object.
        au: action units, ``"12L=0.8,4=0.5"``, added on top.
        timeline: JSON file with emotions over time, instead of ``emotion``.
        like: one or several files with a voice that sounds as the face shall feel, or a picture
            or silent clip of a face that looks so.
        neutral: the speaker of ``like`` (or of the clip, with ``auto``) speaking plainly.
        intensity: 0 (nothing changes) .. 1.5.
        face: ``"largest"``, ``"all"``, a number from 1 (left to right), or a picture of the person.
        engine: ``"mesh"``, or ``"edtalk"``: the published C-MET with its authors' weights.
        options: device, precision and so on of ``edtalk``.
        overwrite: whether an existing output may be replaced.
        progress: called with (frames done, frames in all or None).

    Raises:
        InputError: for a request, input or output that cannot be used.
        FaceNotFoundError: when there is nobody to edit.
        WeightsError, MissingExtraError: when ``edtalk`` lacks its weights or libraries.
        OutputError: when writing fails on the way. Nothing is left behind in any of these cases.
    """
    _check_engine(engine, ENGINES)
    if engine == "mesh" and options is not None:
        raise InputError("Options (device, dtype …) belong to the engine edtalk.")
    from mien.face.select import FaceChoice
    from mien.pipelines.mesh_edit import check_files, edit_file

    choice = FaceChoice.parse(face)
    check_files(Path(input), Path(output), choice, overwrite=overwrite)
    request, warnings = request_from(
        input,
        emotion,
        au=au,
        timeline=timeline,
        like=like,
        neutral=neutral,
        intensity=intensity,
    )
    if engine == "edtalk":
        from mien.engines.edtalk.settings import EDTalkSettings
        from mien.pipelines.edtalk import edit_published

        return edit_published(
            Path(input),
            Path(output),
            request,
            choice,
            options or EDTalkSettings(),
            overwrite=overwrite,
            progress=progress,
            warnings=warnings,
        )
    return edit_file(
        Path(input),
        Path(output),
        _enliven(request, Path(input)),
        choice,
        overwrite=overwrite,
        progress=progress,
        warnings=warnings,
    )


def talk(
    portrait: str | Path,
    speech: str | Path,
    output: str | Path,
    emotion: Request | str | None = None,
    *,
    au: str | None = None,
    timeline: str | Path | None = None,
    like: Files | None = None,
    neutral: Files | None = None,
    intensity: float = 1.0,
    face: str = "largest",
    engine: str = "mesh",
    settings: TalkSettings | None = None,
    options: EDTalkSettings | SvdSettings | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Make a face say something: a portrait, or with ``edtalk`` the person in a video (a dub).

    Args:
        portrait: a picture, or a video, which keeps its head motion, blinks, length and rate.
        speech: any file with sound; it becomes the output's sound.
        output: video file to write.
        emotion: as in :func:`edit`; by default ``"auto"``, what the speech itself feels.
        au: action units, as in :func:`edit`; ``mesh`` alone.
        timeline: as in :func:`edit`.
        like: as in :func:`edit`.
        neutral: as in :func:`edit`; with ``"auto"``, the speaker speaking plainly.
        intensity: as in :func:`edit`.
        face: as in :func:`edit`.
        engine: ``"mesh"``: a living portrait, offline; ``"edtalk"``: the published C-MET with its
            authors' weights, for videos too; ``"svd"``: the published DICE-Talk, which wants a GPU.
        settings: rate, size, liveliness and seed of ``mesh``.
        options: device, precision and so on of ``edtalk`` or ``svd``.
        overwrite: as in :func:`edit`.
        progress: as in :func:`edit`.

    Raises:
        InputError: for a request, input or output that cannot be used.
        FaceNotFoundError: when there is nobody to move.
        WeightsError: when weights are missing or damaged.
        MissingExtraError: when libraries are missing.
        OutputError: when writing fails on the way.
    """
    _check_engine(engine, TALKERS)
    if engine == "mesh" and options is not None:
        raise InputError("Options (device, dtype …) belong to the published engines.")
    if engine != "mesh" and settings is not None:
        raise InputError("TalkSettings (rate, side, liveliness …) belong to the engine mesh.")
    from mien.face.select import FaceChoice
    from mien.pipelines.mesh_edit import check_talk

    choice = FaceChoice.parse(face)
    check_talk(Path(portrait), Path(speech), Path(output), choice, overwrite=overwrite)
    if emotion is None and timeline is None and like is None and au is None:
        emotion = AUTO
    request, warnings = request_from(
        speech,
        emotion,
        au=au,
        timeline=timeline,
        like=like,
        neutral=neutral,
        intensity=intensity,
    )
    if engine == "mesh":
        from mien.pipelines.mesh_talk import TalkSettings, talk_file

        return talk_file(
            Path(portrait),
            Path(speech),
            Path(output),
            _enliven_by(request, Path(speech)),
            choice,
            settings or TalkSettings(),
            overwrite=overwrite,
            progress=progress,
            warnings=warnings,
        )
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.engines.svd.settings import SvdSettings

    if engine == "svd":
        if not isinstance(options, SvdSettings | None):
            raise InputError("The engine svd takes SvdSettings as options.")
        from mien.pipelines.svd import talk_diffused

        return talk_diffused(
            Path(portrait),
            Path(speech),
            Path(output),
            request,
            choice,
            options or SvdSettings(),
            overwrite=overwrite,
            progress=progress,
            warnings=warnings,
        )
    if not isinstance(options, EDTalkSettings | None):
        raise InputError("The engine edtalk takes EDTalkSettings as options.")
    from mien.pipelines.edtalk import talk_published

    return talk_published(
        Path(portrait),
        Path(speech),
        Path(output),
        request,
        choice,
        options or EDTalkSettings(),
        overwrite=overwrite,
        progress=progress,
        warnings=warnings,
    )


def _check_engine(engine: str, valid: tuple[str, ...]) -> None:
    if engine not in valid:
        raise InputError(f"There is no engine {engine!r} here. Valid: {', '.join(valid)}.")


def feel(voices: Files, *, neutral: str | Path | None = None) -> Iterator[Feeling]:
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

    yield from feelings(
        [Path(v) for v in _several(voices)], None if neutral is None else Path(neutral)
    )
