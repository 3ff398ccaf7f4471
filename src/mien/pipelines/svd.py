"""Let a portrait speak with DICE-Talk as published, on Stable Video Diffusion."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from typing import Final

import numpy as np

from mien.engines.svd.preprocess import Box, crop_box
from mien.engines.svd.settings import FRAMES_PER_SECOND, SvdSettings
from mien.errors import InputError
from mien.face.follow import FaceFollower
from mien.face.topology import Landmarks
from mien.face.tracker import FaceTracker
from mien.media.frame import ArrayPicture, Frame, Picture, RGBImage
from mien.media.read import VideoInfo
from mien.media.still import opaque
from mien.pipelines.footage import people_in
from mien.pipelines.job import Job
from mien.pipelines.models import SvdModels
from mien.pipelines.report import Maker, Report
from mien.speech.analysis import VoiceAnalysis
from mien.weights.store import Store

_SMALL_FACE: Final = 0.25
"""Height of a face, relative to the picture's shorter side, below which cropping is advised."""


def talk(job: Job, settings: SvdSettings, store: Store | None = None) -> Report:
    """Write a clip in which the face in a picture speaks the speech of ``job``.

    Progress counts calls of the UNet, which take nearly all the time; decoding and interpolation
    count as the calls that take as many operations. The job can be cancelled after every call.

    Raises:
        As :func:`mien.api.talk`.
    """
    job.check()
    settings.check()
    _check(job)
    return talk_with(job, SvdModels.open(settings, store))


def _check(job: Job) -> None:
    if not job.still:
        raise InputError(
            f"{job.source} is a video; the engine svd animates pictures. To dub a video use "
            "--engine mesh or edtalk."
        )
    if job.part.preview is not None or job.compare is not None:
        raise InputError(
            "The engine svd makes whole clips of a size of its own; --preview and --compare are "
            "for mesh and edtalk."
        )
    if job.choice.kind == "all":
        raise InputError("The engine svd makes one person speak; choose one with --face.")


def talk_with(job: Job, models: SvdModels) -> Report:
    """Do as :func:`talk` with models that are open."""
    job.check()
    _check(job)
    voice = VoiceAnalysis(job.speech or job.source, "samples")
    resolver = models.resolver(job.request, voice)
    resolver.check()
    still = job.open_picture()
    image = opaque(still)
    face = people_in(image, job.source, job.choice)[0]
    image, box, warnings = _framed(image, box_of(face.landmarks), models.engine.settings)
    plan = models.engine.plan(image, voice.samples)
    wanted = resolver.track(plan.generated_frames, FRAMES_PER_SECOND)
    rate = Fraction(FRAMES_PER_SECOND * plan.frame_rate_factor).limit_denominator(1000)
    blank = np.zeros((plan.height, plan.width, 3), np.uint8)
    count = plan.generated_frames * plan.frame_rate_factor
    info = VideoInfo.new(job.source, blank, rate, count)
    drawn = models.engine.frames(image, box, voice.samples, wanted, plan, job.step)
    # Not prefetched: an interrupt must reach the sampler, which works for minutes.
    maker = Maker(models.engine.name, resolver, models.weights)
    written = replace(job, progress=None).write(_timed(job, drawn, rate), info, maker)
    if plan.memory_options:
        warnings += (f"To fit the memory: {', '.join(plan.memory_options)}.",)
    return job.report(written, maker, faces=1, warnings=(*still.lost_in_clips, *warnings))


def _framed(
    image: RGBImage, box: Box, settings: SvdSettings
) -> tuple[RGBImage, Box, tuple[str, ...]]:
    """Crop a portrait around its face, if wanted; return it, the box in it, and warnings."""
    x, y, width, height = box
    rows, columns = image.shape[:2]
    if settings.crop is not None:
        corners = (x, y, x + width, y + height)
        left, top, right, bottom = crop_box(corners, columns, rows, settings.crop)
        return image[top:bottom, left:right], (x - left, y - top, width, height), ()
    share = height / min(rows, columns)
    if share >= _SMALL_FACE:
        return image, box, ()
    pixels = share * settings.shorter_side
    warning = f"The face is small, {pixels:.0f} pixels high in the clip; --crop 0.5 enlarges it."
    return image, box, (warning,)


def box_of(landmarks: Landmarks) -> Box:
    """Return the box around a face, ``x, y, w, h`` in pixels."""
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def _timed(job: Job, pictures: Iterable[RGBImage], rate: Fraction) -> Generator[Frame]:
    """Yield frames with the mark in their faces."""
    with closing(FaceTracker()) as tracker:
        follower = FaceFollower(tracker)
        for index, image in enumerate(pictures):
            picture: Picture = ArrayPicture(image)
            if job.provenance:
                for face in follower.update(picture, index / rate):
                    picture = job.marked(picture, face)
            yield Frame(picture, index / rate, index)
