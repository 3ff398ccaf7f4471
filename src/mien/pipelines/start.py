"""The way from the arguments of a verb to its job, and to the pipeline that does the job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from mien.emotion.request import AUTO, NAMES
from mien.errors import InputError
from mien.utils.text import shown

if TYPE_CHECKING:
    from threading import Event

    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.engines.svd.settings import SvdSettings
    from mien.media.arrays import FramesInput, FrameSource, ImageInput
    from mien.media.encode import EncodingSettings
    from mien.media.frame import RGBImage
    from mien.pipelines.job import Cancel, Job, OnFrame, Progress
    from mien.pipelines.mesh_talk import TalkSettings
    from mien.pipelines.report import Report
    from mien.pipelines.result import Result

    Settings = TalkSettings | EDTalkSettings | SvdSettings
    Stop = Cancel | Event
    """What stops a job: a function that returns True, or an event that is set."""

EDITORS = ("mesh", "edtalk")
"""Engines that edit the emotion of a face."""

TALKERS = ("mesh", "edtalk", "svd")
"""Engines that make a face talk."""


def job_of(
    source: str | Path | ImageInput | FramesInput,
    output: str | Path | None,
    speech: str | Path | None,
    face: str,
    encoding: EncodingSettings | None,
    overwrite: bool,
    max_pixels: int | None,
    rate: float | None,
) -> Job:
    """Return the job of a verb; its pipeline checks the files."""
    from mien.face.select import FaceChoice
    from mien.media.arrays import CLIP, PICTURE, FrameSource, as_image, is_picture
    from mien.media.container import MAX_PIXELS
    from mien.media.encode import EncodingSettings
    from mien.pipelines.job import Job

    if encoding is not None and not isinstance(encoding, EncodingSettings):
        raise InputError(f"encoding must be EncodingSettings; got {type(encoding).__name__}.")
    if max_pixels is not None and (isinstance(max_pixels, bool) or not isinstance(max_pixels, int)):
        raise InputError(f"max_pixels must be a whole number; got {shown(max_pixels)}.")
    given: RGBImage | FrameSource | None = None
    if isinstance(output, str) and output.partition(":")[0] in (*NAMES, AUTO):
        raise InputError(f"The output is a file; name an emotion like this: emotion={output!r}.")
    if isinstance(source, str | PathLike):
        path = Path(source)
        if rate is not None:
            raise InputError("rate belongs to frames in memory; a file has its own.")
    elif is_picture(source):
        path, given = PICTURE, as_image(source, "The input")
        if rate is not None:
            raise InputError("rate belongs to frames in memory; a picture has none.")
    else:
        if speech is not None:
            raise InputError(
                "The portrait must be the path of a file, or one picture in memory (RGB uint8 "
                f"(H, W, 3) or PIL); got {type(source).__name__}."
            )
        path, given = CLIP, FrameSource(source, rate)
    return Job(
        path,
        None if output is None else path_of("The output", output),
        given=given,
        choice=FaceChoice.parse(face),
        speech=None if speech is None else path_of("The speech", speech),
        encoding=encoding or EncodingSettings(),
        overwrite=overwrite,
        max_pixels=MAX_PIXELS if max_pixels is None else max_pixels,
    )


def watched(
    job: Job, progress: Progress | None, on_frame: OnFrame | None, cancel: Stop | None
) -> Job:
    """Return a job with the functions that follow and stop it."""
    is_set = getattr(cancel, "is_set", None)
    stop: Callable[[], bool] | None = is_set if callable(is_set) else cancel  # type: ignore[assignment]
    for name, function in (("progress", progress), ("on_frame", on_frame), ("cancel", stop)):
        if function is not None and not callable(function):
            event = " or an event" if name == "cancel" else ""
            raise InputError(f"{name} must be a function{event}; got {type(function).__name__}.")
    return replace(job, progress=progress, on_frame=on_frame, cancel=stop)


def credited(job: Job, provenance: bool, label: str | None) -> Job:
    """Return a job with what its output says about its making."""
    return replace(job, provenance=checked_provenance(provenance), label=label)


def checked_provenance(value: bool) -> bool:
    """Return ``value``, whether outputs say what they are, if it is true or false."""
    if not isinstance(value, bool):
        raise InputError(f"provenance must be True or False; got {shown(value)}.")
    return value


def job_for_part(
    job: Job,
    start: float,
    end: float | None,
    preview: float | None,
    compare: str | None,
    follow: str | Path | None,
) -> Job:
    """Return a job for a part of its film, shown along with the original, following a person."""
    from mien.pipelines.part import Part

    driver = None if follow is None else path_of("follow", follow)
    return replace(job, part=Part(start, end, preview), compare=compare, follow=driver)


def path_of(name: str, value: str | Path) -> Path:
    """Return a path that a user gave, calling it ``name`` where it is none."""
    if not isinstance(value, str | PathLike):
        raise InputError(
            f"{name} must be the path of a file (str or Path); got {type(value).__name__}."
        )
    return Path(value)


def settings_of(
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


def run(job: Job, settings: Settings) -> Report | Result:
    """Run a job in the pipeline that its settings belong to."""
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.pipelines.mesh_talk import TalkSettings

    if job.follow is not None and not isinstance(settings, TalkSettings):
        raise InputError("--follow (follow=) is for the engine mesh.")
    if job.given is not None and job.speech is None and isinstance(settings, EDTalkSettings):
        raise InputError("The engine edtalk edits files; pictures in memory are for the mesh.")
    if job.output is None:
        from mien.pipelines.result import Result

        return Result(job, lambda given: _report(given, settings))
    return _report(job, settings)


def _report(job: Job, settings: Settings) -> Report:
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
