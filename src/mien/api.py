"""The verbs of mien: edit, talk, feel and verify."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack, overload

from mien.emotion.references import Files, paths_of
from mien.emotion.request import AUTO, Request, build_request
from mien.errors import InputError
from mien.pipelines.start import (
    EDITORS,
    TALKERS,
    credited,
    job_for_part,
    job_of,
    path_of,
    run,
    settings_of,
    watched,
)

if TYPE_CHECKING:
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.engines.svd.settings import SvdSettings
    from mien.face.feeling import FaceFeeling
    from mien.media.arrays import FramesInput, ImageInput
    from mien.media.encode import EncodingSettings
    from mien.pipelines.job import OnFrame, Progress
    from mien.pipelines.mesh_talk import TalkSettings
    from mien.pipelines.report import Report
    from mien.pipelines.result import Result
    from mien.pipelines.start import Stop
    from mien.provenance.verify import Findings
    from mien.speech.feeling import Feeling


class _Options(TypedDict, total=False):
    """What :func:`edit` and :func:`talk` share."""

    au: str | None
    timeline: str | Path | None
    like: Files | None
    neutral: Files | None
    intensity: float
    face: str
    preview: float | None
    compare: str | None
    follow: str | Path | None
    engine: str
    encoding: EncodingSettings | None
    overwrite: bool
    max_pixels: int | None
    provenance: bool
    label: str | None
    progress: Progress | None
    on_frame: OnFrame | None
    cancel: Stop | None


class _EditOptions(_Options, total=False):
    """Options of :func:`edit`."""

    start: float
    end: float | None
    options: EDTalkSettings | None
    rate: float | None


class _TalkOptions(_Options, total=False):
    """Options of :func:`talk`."""

    settings: TalkSettings | None
    options: EDTalkSettings | SvdSettings | None


@overload
def edit(
    input: str | Path | ImageInput | FramesInput,
    output: str | Path,
    emotion: Request | str | None = None,
    **options: Unpack[_EditOptions],
) -> Report: ...


@overload
def edit(
    input: str | Path | ImageInput | FramesInput,
    output: None = None,
    emotion: Request | str | None = None,
    **options: Unpack[_EditOptions],
) -> Result: ...


def edit(
    input: str | Path | ImageInput | FramesInput,
    output: str | Path | None = None,
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
    follow: str | Path | None = None,
    engine: str = "mesh",
    options: EDTalkSettings | None = None,
    rate: float | None = None,
    encoding: EncodingSettings | None = None,
    overwrite: bool = False,
    max_pixels: int | None = None,
    provenance: bool = True,
    label: str | None = None,
    progress: Progress | None = None,
    on_frame: OnFrame | None = None,
    cancel: Stop | None = None,
) -> Report | Result:
    """Change what a face feels in a video or picture.

    The output has the input's size, rate, times, length and sound; only the face region changes.

        mien.edit("clip.mp4", "sad.mp4", "sad")                    # file to file
        image = mien.edit(image, emotion="happy:0.6").image        # array to array
        for image in mien.edit(images, emotion="sad", rate=30).frames: ...

    Args:
        input: the path of any video that FFmpeg reads, of an animation, or of a PNG, JPEG, WebP,
            BMP, TIFF, GIF, AVIF or HEIC picture. Or a picture in memory: RGB ``uint8 (H, W, 3)`` or
            a PIL image. Or frames in memory: ``uint8 (T, H, W, 3)`` or an iterable of pictures,
            which may be endless and is read as the work goes on.
        output: file to write, of the same kind; ``.gif`` and ``.webp`` make an animation of a film,
            and a preview is a picture. None returns the result in memory.
        emotion: ``"sad"``, ``"sad:0.6"``, ``"happy:0.7,surprised:0.4"``, ``"auto"`` (the emotion
            of the clip's own voice, over time), or an ``Emotion`` or ``Timeline`` object.
        au: action units, ``"12L=0.8,4=0.5"``, added on top.
        timeline: file with emotions over time, instead of ``emotion``: JSON, subtitles with tags
            such as ``[sad]``, or text.
        like: one or several voice recordings with the emotion, clips of people who speak with it
            (voice and face count together), or a picture or silent clip of a face that shows it.
        neutral: recordings or clips of the same speaker (of ``like``, or with ``"auto"`` of the
            clip) speaking neutrally.
        intensity: 0 (nothing changes) .. 1.5.
        face: ``"largest"``, ``"all"``, a number from 1 (left to right), or a picture of the person;
            the choice stays with that person for the whole clip.
        start: seconds at which the edit begins, with a soft transition; frames before it stay as
            they are.
        end: seconds at which it ends, likewise; None: with the film.
        preview: seconds of one frame, which is written as a picture instead of the film.
        compare: show the original along: ``"side"`` to the left of the edit, ``"split"`` as the
            left half of the picture.
        follow: a film of another person, whose brows, eyes, cheeks and smile the face follows over
            time while its own lips go on speaking, alone or besides an emotion; ``mesh`` only.
        engine: ``"mesh"``, or ``"edtalk"``: the published C-MET with its authors' weights.
        options: ``EDTalkSettings`` (device, precision …) for ``edtalk``.
        rate: frames per second of frames in memory; 25 by default.
        encoding: ``EncodingSettings`` (codec, quality, preset, lossless) of a video.
        overwrite: whether an existing output may be replaced.
        max_pixels: largest width x height of inputs, which are refused before they are decoded;
            2^27 (16K x 8K) by default.
        provenance: whether the output says what it is: an imperceptible mark in edited faces,
            metadata, and with the extra ``provenance`` a signed Content Credential.
        label: language of a visible label ("AI edited"): ``"en"``, ``"de"`` …; None for no label.
        progress: called with (frames done, frames in all or None).
        on_frame: called with every finished picture, RGB ``uint8 (H, W, 3)``, and its time in
            seconds.
        cancel: called between frames; the work stops when it returns True. Or an event
            (``threading.Event``); the work stops when it is set. An exception in ``progress`` or
            ``on_frame`` also stops it and is raised here.

    Returns:
        A ``Report`` of what was written; without an output, a ``Result`` with ``image`` or
        ``frames``, and ``report``.

    Raises:
        InputError: for a request, input or output that cannot be used.
        FaceNotFoundError: when there is nobody to edit.
        WeightsError, MissingExtraError: when ``edtalk`` lacks its weights or libraries.
        OutputError: when writing fails on the way.
        CancelledError: when ``cancel`` returned True. No file is left behind in any of these cases.
    """
    job = job_of(input, output, None, face, encoding, overwrite, max_pixels, rate)
    job = watched(job, progress, on_frame, cancel)
    job = credited(job_for_part(job, start, end, preview, compare, follow), provenance, label)
    chosen = settings_of(engine, EDITORS, None, options)
    request = build_request(
        emotion,
        au=au,
        timeline=timeline,
        like=like,
        neutral=neutral,
        intensity=intensity,
        optional=follow is not None,
    )
    return run(replace(job, request=request), chosen)


@overload
def talk(
    portrait: str | Path | ImageInput,
    speech: str | Path,
    output: str | Path,
    emotion: Request | str | None = None,
    **options: Unpack[_TalkOptions],
) -> Report: ...


@overload
def talk(
    portrait: str | Path | ImageInput,
    speech: str | Path,
    output: None = None,
    emotion: Request | str | None = None,
    **options: Unpack[_TalkOptions],
) -> Result: ...


def talk(
    portrait: str | Path | ImageInput,
    speech: str | Path,
    output: str | Path | None = None,
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
    follow: str | Path | None = None,
    engine: str = "mesh",
    settings: TalkSettings | None = None,
    options: EDTalkSettings | SvdSettings | None = None,
    encoding: EncodingSettings | None = None,
    overwrite: bool = False,
    max_pixels: int | None = None,
    provenance: bool = True,
    label: str | None = None,
    progress: Progress | None = None,
    on_frame: OnFrame | None = None,
    cancel: Stop | None = None,
) -> Report | Result:
    """Make the face of a portrait speak, or that of a person in a video (a dub).

    Args:
        portrait: the path of a picture, or of a video, which keeps its head motion, blinks and
            rate; or a picture in memory, RGB ``uint8 (H, W, 3)`` or a PIL image. A video that is
            longer than the speech keeps its length, and mouths rest behind the speech; where the
            speech is longer, the video's last seconds go back and forth (``edtalk``: its last
            frame is held).
        speech: any file with sound; it becomes the output's sound.
        output: video or animation to write; a preview is a picture. None returns the frames in
            memory.
        emotion: as in :func:`edit`; by default ``"auto"``, the emotion of the speech itself.
        au: action units, as in :func:`edit`; ``mesh`` only.
        timeline: as in :func:`edit`.
        like: as in :func:`edit`.
        neutral: as in :func:`edit`; with ``"auto"``, of the speaker of ``speech``.
        intensity: as in :func:`edit`.
        face: as in :func:`edit`.
        preview: as in :func:`edit`; not with ``svd``.
        compare: as in :func:`edit`; not with ``svd``.
        follow: as in :func:`edit`; the head of a picture follows too, and without an emotion the
            face shows none besides.
        engine: ``"mesh"``: offline; ``"edtalk"``: the published C-MET with its authors' weights;
            ``"svd"``: the published DICE-Talk, for pictures, which needs a GPU.
        settings: ``TalkSettings`` (rate, size, liveliness, seed …) for ``mesh``; a video takes
            ``variety`` and ``seed`` alone.
        options: ``EDTalkSettings`` or ``SvdSettings`` (device, precision …) for those engines.
        encoding: as in :func:`edit`.
        overwrite: as in :func:`edit`.
        max_pixels: as in :func:`edit`.
        provenance: as in :func:`edit`.
        label: as in :func:`edit`; it says that the clip was made ("AI generated").
        progress: as in :func:`edit`; with ``svd`` it counts calls of the UNet.
        on_frame: as in :func:`edit`.
        cancel: as in :func:`edit`.

    Returns:
        As :func:`edit`.

    Raises:
        As :func:`edit`.
    """
    job = job_of(portrait, output, speech, face, encoding, overwrite, max_pixels, None)
    job = watched(job, progress, on_frame, cancel)
    job = credited(job_for_part(job, 0.0, None, preview, compare, follow), provenance, label)
    chosen = settings_of(engine, TALKERS, settings, options)
    if emotion is None and timeline is None and like is None and au is None and follow is None:
        emotion = AUTO
    request = build_request(
        emotion,
        au=au,
        timeline=timeline,
        like=like,
        neutral=neutral,
        intensity=intensity,
        optional=follow is not None,
    )
    return run(replace(job, request=request), chosen)


def feel(
    files: Files | ImageInput, *, neutral: str | Path | None = None
) -> Iterator[Feeling | FaceFeeling]:
    """Recognise emotions of voices, or of the faces in pictures and films without sound.

    Args:
        files: one or several sound or video files or pictures; the nets are loaded once for all.
            Or one picture in memory: RGB ``uint8 (H, W, 3)`` or a PIL image.
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
    from mien.media.arrays import PICTURE, as_image, is_picture
    from mien.media.audio import has_sound
    from mien.media.read import VideoReader
    from mien.media.still import is_still
    from mien.speech.feeling import feelings

    plain = None if neutral is None else path_of("neutral", neutral)
    if is_picture(files):
        if plain is not None:
            raise InputError("A neutral voice belongs to voices; a picture has no sound.")
        image = as_image(files, "The picture")
        return (feel_faces(PICTURE, ExpressionReader(), image) for _ in range(1))
    paths = paths_of(files, "files")  # type: ignore[arg-type]
    if not paths:
        raise InputError("feel needs a file or a picture; the list is empty.")
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
    from mien.provenance.verify import verify as look

    return look(path_of("The file", path))
