"""Let a portrait speak with the mesh engine: offline, on a CPU."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from mien.emotion.resolve_mesh import MeshResolver
from mien.engines.mesh import MeshEngine
from mien.errors import InputError
from mien.face.follow import Face
from mien.face.pose import head_pose
from mien.media.audio import SAMPLE_RATE_HZ
from mien.media.frame import ArrayPicture, Frame, Picture, RGBImage
from mien.media.read import VideoInfo
from mien.media.still import opaque
from mien.pipelines.following import Following, Wanted, following, shorter
from mien.pipelines.footage import people_in
from mien.pipelines.job import (
    MESH_ASSETS,
    MOUTH_ASSETS,
    SPEECH_ASSETS,
    Job,
    assets_behind,
)
from mien.pipelines.part import beyond
from mien.pipelines.report import Maker, Report
from mien.pipelines.speakers import Moment, Speakers
from mien.speech.analysis import VoiceAnalysis
from mien.speech.articulation import code_at
from mien.speech.features import FEATURES_PER_SECOND
from mien.utils.numeric import is_number
from mien.utils.prefetch import prefetch
from mien.utils.text import shown
from mien.weights.store import weights_used

RATES: Final = (25, 30, 50, 60)
"""Frames per second a portrait can speak at."""

_LARGE_YAW: Final = 0.6
"""Radians from which a user is warned that the face is turned away."""

_SMALL_SCALE: Final = 30.0
"""Pixels between the eyes under which a user is warned that the face is small."""


@dataclass(frozen=True, slots=True)
class TalkSettings:
    """How a portrait speaks.

    Attributes:
        rate: frames per second: 25, 30, 50 or 60.
        side: longest side of the output in pixels; None keeps the picture's size.
        liveliness: factor on blinks, glances and head motion, 0..2.
        variety: how much the expression varies around the emotion's typical one, 0..1.
        seed: of blinks, head motion and variation.
    """

    rate: int = 25
    side: int | None = None
    liveliness: float = 1.0
    variety: float = 0.5
    seed: int = 0

    def check(self) -> None:
        """Refuse settings out of range.

        Raises:
            InputError: naming the setting.
        """
        if not is_number(self.rate) or self.rate not in RATES:
            rates = ", ".join(map(str, RATES))
            raise InputError(f"The rate must be one of {rates}; got {shown(self.rate)}.")
        if self.side is not None:
            _check_range("The longest side", self.side, 64, 8192)
        _check_range("The liveliness", self.liveliness, 0, 2)
        _check_range("The variety", self.variety, 0, 1)
        _check_range("The seed", self.seed, 0, 2**32)
        if not isinstance(self.seed, int):
            raise InputError(f"The seed must be a whole number; got {shown(self.seed)}.")


def _check_range(what: str, value: float, low: float, high: float) -> None:
    if not is_number(value) or not low <= value <= high:
        raise InputError(f"{what} must be a number from {low} to {high}; got {shown(value)}.")


def talk(job: Job, settings: TalkSettings) -> Report:
    """Write a clip in which the chosen faces of a picture speak the speech of ``job``.

    Raises:
        As :func:`mien.api.talk`.
    """
    job.check()
    settings.check()
    if not job.still:
        from mien.pipelines import mesh_dub

        return mesh_dub.dub(job, settings)
    still = job.open_picture()
    image = resized(opaque(still), settings.side)
    faces = people_in(image, job.source, job.choice)
    voice = VoiceAnalysis(job.speech or job.source, "articulation")
    resolver = MeshResolver(job.request, voice, scale_all=True, speaking=True)
    resolver.check()
    count = max(1, -(-voice.sample_count * settings.rate // SAMPLE_RATE_HZ))
    wanted = range(count)
    if job.part.preview is not None:
        at = int(job.part.preview * settings.rate)
        if at > count:
            what, length = "The preview", count / settings.rate
            raise beyond(what, job.part.preview, job.speech or job.source, length)
        wanted = range(min(at, count - 1), min(at, count - 1) + 1)
    info = VideoInfo.new(job.source, image, Fraction(settings.rate), count)
    picture: Picture = ArrayPicture(image)
    for face in faces:  # the mark moves with the pixels it lies on
        picture = job.marked(picture, face)
    speakers = Speakers(picture.image(), faces, settings)
    followed = following(job, resolver, count / settings.rate)
    frames = _frames(speakers, image, voice, followed or resolver, settings.rate, wanted)
    names = (*MESH_ASSETS, *MOUTH_ASSETS, *SPEECH_ASSETS, *assets_behind(resolver.describe()))
    maker = Maker(MeshEngine.name, resolver, lambda: weights_used(names))
    written = job.write(prefetch(frames), info, maker, len(wanted))
    return job.report(
        written,
        maker,
        faces=len(faces),
        warnings=(
            *still.lost_in_clips,
            *chain.from_iterable(pose_warnings(job.source, face) for face in faces),
            *shorter(followed, job, written.seconds),
        ),
    )


def _frames(
    speakers: Speakers,
    original: RGBImage,
    voice: VoiceAnalysis,
    asked: Wanted,
    rate: int,
    wanted: range,
) -> Generator[Frame]:
    """Yield frames of the clip by their numbers."""
    codes, stress = voice.articulation.codes, voice.articulation.stress

    def moments() -> Iterator[Moment]:
        for i in range(wanted.stop):  # heads and eyes move from frame to frame
            time = i / rate
            at = min(int(time * FEATURES_PER_SECOND), len(stress) - 1)
            loud = float(stress[at]) if at >= 0 else 0.0
            code = code_at(codes, [time])[0]
            driven = asked.driver.at(time) if isinstance(asked, Following) else None
            moment = speakers.at(time, code, loud, asked.at(time), driven)
            if i in wanted:
                yield moment

    with closing(speakers.drawn(moments())) as images:
        for i, image in zip(wanted, images, strict=True):
            yield Frame(ArrayPicture(image), Fraction(i, rate), i, ArrayPicture(original))


def resized(image: RGBImage, side: int | None) -> RGBImage:
    """Return the picture with even sides, the longest at most ``side``."""
    height, width = image.shape[:2]
    scale = 1.0 if side is None else min(1.0, side / max(height, width))
    size = (max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2))
    if scale == 1.0:  # an odd side loses its last pixel rather than being squeezed
        return np.ascontiguousarray(image[: size[1], : size[0]])
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def pose_warnings(path: Path, face: Face) -> tuple[str, ...]:
    """Return what makes the face of a picture hard to animate: a profile, a small face."""
    pose = head_pose(face.landmarks)
    out: tuple[str, ...] = ()
    if abs(pose.yaw) > _LARGE_YAW:
        out += (
            f"{path}: the face is turned by {np.degrees(abs(pose.yaw)):.0f} degrees; a frontal "
            "picture speaks better. Head motion is reduced.",
        )
    if pose.scale < _SMALL_SCALE:
        out += (f"{path}: the face is small ({pose.scale:.0f} pixels between the eyes).",)
    return out
