"""The verbs of mien: edit, talk, feel and verify."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from mien.emotion.references import Files, paths_of
from mien.emotion.request import AUTO, Request, build_request
from mien.errors import InputError
from mien.utils.text import shown

if TYPE_CHECKING:
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.engines.svd.settings import SvdSettings
    from mien.face.feeling import FaceFeeling
    from mien.media.encode import EncodingSettings
    from mien.pipelines.job import Cancel, Job, Progress
    from mien.pipelines.mesh_talk import TalkSettings
    from mien.pipelines.report import Report
    from mien.provenance.verify import Findings
    from mien.speech.feeling import Feeling

    Settings = TalkSettings | EDTalkSettings | SvdSettings

EDITORS = ("mesh", "edtalk")
"""Engines that edit the emotion of a face."""

TALKERS = ("mesh", "edtalk", "svd")
"""Engines that make a face talk."""


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
    start: float = 0.0,
    end: float | None = None,
    preview: float | None = None,
    compare: str | None = None,
    engine: str = "mesh",
    options: EDTalkSettings | None = None,
    encoding: EncodingSettings | None = None,
    overwrite: bool = False,
    max_pixels: int | None = None,
    provenance: bool = True,
    label: str | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Report:
    """Change what a face feels in a video or picture.

    The output has the input's size, rate, times, length and sound; only the face region changes.

    Args:
        input: any video that FFmpeg reads, an animation, or a PNG, JPEG, WebP, BMP, TIFF, GIF, AVIF
            or HEIC picture.
        output: file to write, of the same kind; ``.gif`` and ``.webp`` make an animation of a film,
            and a preview is a picture.
        emotion: ``"sad"``, ``"sad:0.6"``, ``"happy:0.7,surprised:0.4"``, ``"auto"`` (the emotion
            of the clip's own voice, over time), or an ``Emotion`` or ``Timeline`` object.
        au: action units, ``"12L=0.8,4=0.5"``, added on top.
        timeline: JSON file with emotions over time, instead of ``emotion``.
        like: one or several voice recordings with the emotion, or a picture or silent clip of a
            face that shows it.
        neutral: recordings of the same speaker (of ``like``, or with ``"auto"`` of the clip)
            speaking neutrally.
        intensity: 0 (nothing changes) .. 1.5.
        face: ``"largest"``, ``"all"``, a number from 1 (left to right), or a picture of the person;
            the choice stays with that person for the whole clip.
        start: seconds at which the edit begins, with a soft transition; frames before it stay as
            they are.
        end: seconds at which it ends, likewise; None: with the film.
        preview: seconds of one frame, which is written as a picture instead of the film.
        compare: show the original along: ``"side"`` to the left of the edit, ``"split"`` as the
            left half of the picture.
        engine: ``"mesh"``, or ``"edtalk"``: the published C-MET with its authors' weights.
        options: ``EDTalkSettings`` (device, precision …) for ``edtalk``.
        encoding: ``EncodingSettings`` (codec, quality, preset, lossless) of a video.
        overwrite: whether an existing output may be replaced.
        max_pixels: largest width x height of inputs, which are refused before they are decoded;
            2^27 (16K x 8K) by default.
        provenance: whether the output says what it is: an imperceptible mark in edited faces,
            metadata, and with the extra ``provenance`` a signed Content Credential.
        label: language of a visible label ("AI edited"): ``"en"``, ``"de"`` …; None for no label.
        progress: called with (frames done, frames in all or None).
        cancel: called between frames; the work stops when it returns True.

    Raises:
        InputError: for a request, input or output that cannot be used.
        FaceNotFoundError: when there is nobody to edit.
        WeightsError, MissingExtraError: when ``edtalk`` lacks its weights or libraries.
        OutputError: when writing fails on the way.
        CancelledError: when ``cancel`` returned True. No file is left behind in any of these cases.
    """
    job = _job(input, output, None, face, encoding, overwrite, max_pixels, progress, cancel)
    job = _credited(_shown(job, start, end, preview, compare), provenance, label)
    chosen = _settings(engine, EDITORS, None, options)
    request = build_request(
        emotion, au=au, timeline=timeline, like=like, neutral=neutral, intensity=intensity
    )
    return _run(replace(job, request=request), chosen)


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
    preview: float | None = None,
    compare: str | None = None,
    engine: str = "mesh",
    settings: TalkSettings | None = None,
    options: EDTalkSettings | SvdSettings | None = None,
    encoding: EncodingSettings | None = None,
    overwrite: bool = False,
    max_pixels: int | None = None,
    provenance: bool = True,
    label: str | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Report:
    """Make the face of a portrait speak, or with ``edtalk`` that of a person in a video (a dub).

    Args:
        portrait: a picture, or a video, which keeps its head motion, blinks, length and rate.
        speech: any file with sound; it becomes the output's sound.
        output: video or animation to write; a preview is a picture.
        emotion: as in :func:`edit`; by default ``"auto"``, the emotion of the speech itself.
        au: action units, as in :func:`edit`; ``mesh`` only.
        timeline: as in :func:`edit`.
        like: as in :func:`edit`.
        neutral: as in :func:`edit`; with ``"auto"``, of the speaker of ``speech``.
        intensity: as in :func:`edit`.
        face: as in :func:`edit`.
        preview: as in :func:`edit`; not with ``svd``.
        compare: as in :func:`edit`; not with ``svd``.
        engine: ``"mesh"``: a moving portrait, offline; ``"edtalk"``: the published C-MET with its
            authors' weights, for videos too; ``"svd"``: the published DICE-Talk, which needs a GPU.
        settings: ``TalkSettings`` (rate, size, liveliness, seed …) for ``mesh``.
        options: ``EDTalkSettings`` or ``SvdSettings`` (device, precision …) for those engines.
        encoding: as in :func:`edit`.
        overwrite: as in :func:`edit`.
        max_pixels: as in :func:`edit`.
        provenance: as in :func:`edit`.
        label: as in :func:`edit`; it says that the clip was made ("AI generated").
        progress: as in :func:`edit`; with ``svd`` it counts calls of the UNet.
        cancel: as in :func:`edit`.

    Raises:
        As :func:`edit`.
    """
    job = _job(portrait, output, speech, face, encoding, overwrite, max_pixels, progress, cancel)
    job = _credited(_shown(job, 0.0, None, preview, compare), provenance, label)
    chosen = _settings(engine, TALKERS, settings, options)
    if emotion is None and timeline is None and like is None and au is None:
        emotion = AUTO
    request = build_request(
        emotion, au=au, timeline=timeline, like=like, neutral=neutral, intensity=intensity
    )
    return _run(replace(job, request=request), chosen)


def _job(
    source: str | Path,
    output: str | Path,
    speech: str | Path | None,
    face: str,
    encoding: EncodingSettings | None,
    overwrite: bool,
    max_pixels: int | None,
    progress: Progress | None,
    cancel: Cancel | None,
) -> Job:
    """Return the job of a verb; its pipeline checks the files."""
    from mien.face.select import FaceChoice
    from mien.media.container import MAX_PIXELS
    from mien.media.encode import EncodingSettings
    from mien.pipelines.job import Job

    for name, function in (("progress", progress), ("cancel", cancel)):
        if function is not None and not callable(function):
            raise InputError(f"{name} must be a function; got {type(function).__name__}.")
    if encoding is not None and not isinstance(encoding, EncodingSettings):
        raise InputError(f"encoding must be EncodingSettings; got {type(encoding).__name__}.")
    if max_pixels is not None and (isinstance(max_pixels, bool) or not isinstance(max_pixels, int)):
        raise InputError(f"max_pixels must be a whole number; got {shown(max_pixels)}.")
    return Job(
        _path("The input", source),
        _path("The output", output),
        choice=FaceChoice.parse(face),
        speech=None if speech is None else _path("The speech", speech),
        encoding=encoding or EncodingSettings(),
        overwrite=overwrite,
        max_pixels=MAX_PIXELS if max_pixels is None else max_pixels,
        progress=progress,
        cancel=cancel,
    )


def _credited(job: Job, provenance: bool, label: str | None) -> Job:
    """Return a job with what its output says about its making."""
    if not isinstance(provenance, bool):
        raise InputError(f"provenance must be True or False; got {shown(provenance)}.")
    return replace(job, provenance=provenance, label=label)


def _shown(
    job: Job, start: float, end: float | None, preview: float | None, compare: str | None
) -> Job:
    """Return a job for a part of its film, shown along with the original."""
    from mien.pipelines.part import Part

    return replace(job, part=Part(start, end, preview), compare=compare)


def _path(name: str, value: str | Path) -> Path:
    if not isinstance(value, str | PathLike):
        raise InputError(
            f"{name} must be the path of a file (str or Path); got {type(value).__name__}. To edit "
            "arrays picture by picture, use mien.Editor."
        )
    return Path(value)


def _settings(
    engine: str,
    engines: Sequence[str],
    settings: TalkSettings | None,
    options: EDTalkSettings | SvdSettings | None,
) -> Settings:
    """Return the settings of an engine: those that were given, or its defaults.

    Raises:
        InputError: for an unknown engine or settings of another one.
    """
    if not isinstance(engine, str) or engine not in engines:
        raise InputError(f"There is no engine {shown(engine)} here. Valid: {', '.join(engines)}.")
    if engine == "mesh" and options is not None:
        raise InputError("Options (device, dtype …) belong to the published engines.")
    if engine != "mesh" and settings is not None:
        raise InputError("TalkSettings (rate, side, liveliness …) belong to the engine mesh.")
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.engines.svd.settings import SvdSettings
    from mien.pipelines.mesh_talk import TalkSettings

    kinds: dict[str, type[Settings]] = {
        "mesh": TalkSettings,
        "edtalk": EDTalkSettings,
        "svd": SvdSettings,
    }
    kind = kinds[engine]
    given = settings if options is None else options
    given = kind() if given is None else given
    if not isinstance(given, kind):
        raise InputError(f"The engine {engine} takes {kind.__name__}; got {type(given).__name__}.")
    return given


def _run(job: Job, settings: Settings) -> Report:
    """Run a job in the pipeline that its settings belong to."""
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.engines.svd.settings import SvdSettings

    if isinstance(settings, EDTalkSettings):
        from mien.pipelines import edtalk

        return edtalk.run(job, settings)
    if isinstance(settings, SvdSettings):
        from mien.pipelines import svd

        return svd.talk(job, settings)
    if job.speech is None:
        from mien.pipelines import mesh_edit

        return mesh_edit.edit(job)
    from mien.pipelines import mesh_talk

    return mesh_talk.talk(job, settings)


def feel(files: Files, *, neutral: str | Path | None = None) -> Iterator[Feeling | FaceFeeling]:
    """Recognise emotions of voices, or of the faces in pictures and films without sound.

    Args:
        files: one or several sound or video files or pictures; the nets are loaded once for all.
        neutral: a recording of the same speaker speaking neutrally; makes the result more reliable.

    Returns:
        An iterator over one result per file, in order, each computed when it is asked for: a
        ``Feeling`` of a voice (probabilities, valence, arousal, intensity, over time), or a
        ``FaceFeeling`` of faces (probabilities, valence, arousal).

    Raises:
        InputError: for a file that is missing or holds neither sound nor pictures; at the call,
            before any work.
        FaceNotFoundError: when its turn comes, for a picture or silent film without a face.
    """
    from mien.emotion.references import check_files
    from mien.face.expression import ExpressionReader
    from mien.face.feeling import feel_faces
    from mien.media.audio import has_sound
    from mien.media.read import VideoReader
    from mien.media.still import is_still
    from mien.speech.feeling import feelings

    plain = None if neutral is None else _path("neutral", neutral)
    paths = paths_of(files, "files")
    check_files(paths)
    seen = {path for path in paths if is_still(path) or not has_sound(path)}
    if seen and plain is not None:
        raise InputError(f"A neutral voice belongs to voices; {min(seen)} has no sound.")
    for path in seen:
        if not is_still(path):
            with VideoReader(path):  # there are pictures
                pass
    heard = feelings([path for path in paths if path not in seen], plain)

    def results() -> Iterator[Feeling | FaceFeeling]:
        reader = ExpressionReader() if seen else None
        for path in paths:
            yield feel_faces(path, reader) if reader and path in seen else next(heard)

    return results()


def verify(path: str | Path) -> Findings:
    """Say what a file is: its Content Credential, its metadata, and mien's mark in its faces.

    Args:
        path: a picture, video or sound, made by mien or not.

    Raises:
        InputError: for a file that is missing or cannot be decoded.
    """
    from mien.provenance.verify import verify as run

    return run(_path("The file", path))
