"""Edit or dub with the published C-MET: the connector moves a face, a backbone draws it."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from mien.engines.edtalk.settings import FRAMES_PER_SECOND
from mien.pipelines.cmet_models import CmetModels
from mien.pipelines.edtalk_motion import Mover, SourceFrames
from mien.pipelines.footage import open_footage
from mien.pipelines.job import Job
from mien.pipelines.report import Maker, Report
from mien.speech.analysis import VoiceAnalysis
from mien.utils.prefetch import prefetch
from mien.weights.store import Store

if TYPE_CHECKING:
    from mien.engines.edtalk.settings import EDTalkSettings


def run(job: Job, settings: EDTalkSettings, store: Store | None = None) -> Report:
    """Give the source of ``job`` another emotion and, where the job has a speech, its lips.

    Without a speech, lips, head and everything else stay. With one, a picture becomes a clip of the
    speech's length at 25 frames per second; a video keeps its own length and rate (a dub), and
    where the speech is longer its last frame is held and goes on speaking.

    Raises:
        As :func:`mien.api.talk`.
    """
    job.check()
    return run_with(job, CmetModels.open(settings, store, edits=True))


def run_with(job: Job, models: CmetModels) -> Report:
    """Do as :func:`run` with models that are open, whatever their backbone."""
    job.check()
    connect = models.connector()
    voice = VoiceAnalysis(job.speech or job.source, with_picture=job.own_voice)
    if job.speech is not None:
        voice.require("samples")
    resolver = models.resolver(job.request, voice)
    resolver.check()
    lips = None if job.speech is None else models.lips(voice.samples)
    seconds = 0.0 if lips is None else len(lips) / FRAMES_PER_SECOND
    with open_footage(job, Fraction(FRAMES_PER_SECOND)) as footage:
        sources = SourceFrames(models.engine, footage)
        mover = Mover(models.engine, connect, resolver.at, sources, lips, job.marked)
        moved = prefetch(mover.move(footage.frames(seconds)))
        maker = Maker(models.engine.name, resolver, models.weights)
        written = job.write(moved, footage.info, maker, footage.count(seconds))
    warnings = footage.warnings
    length, rate = footage.info.duration, footage.info.rate
    if not job.still and length is not None and seconds > float(length + 1 / rate):
        warnings += (
            f"The speech is {seconds - float(length):.1f} s longer than {job.source}: its last "
            "frame was held.",
        )
    return job.report(
        written,
        maker,
        faces=len(footage.people),
        spans=footage.spans,
        warnings=warnings,
    )
