"""Dub a film with the mesh engine: the mouth follows a new voice, head and eyes stay."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Final

import numpy as np

from mien.dicetalk.prior_sampling import PriorSampler
from mien.emotion.resolve_mesh import MeshResolver
from mien.engines.mesh import MeshEngine, MeshSettings
from mien.engines.mesh.dub import MouthSample, OwnMouth, draw_dub
from mien.errors import InputError
from mien.face.follow import Face
from mien.media.audio import SAMPLE_RATE_HZ
from mien.media.frame import Frame, Picture
from mien.pipelines.following import Wanted, following, shorter
from mien.pipelines.footage import Footage, FrameFaces, open_footage
from mien.pipelines.job import MESH_ASSETS, MOUTH_ASSETS, SPEECH_ASSETS, Job, assets_behind
from mien.pipelines.mesh_edit import OwnExpressions, expression_change
from mien.pipelines.mesh_talk import TalkSettings
from mien.pipelines.report import Maker, Report
from mien.speech.analysis import VoiceAnalysis
from mien.speech.articulation import CODES_PER_SECOND, Code, code_at
from mien.utils.prefetch import prefetch
from mien.weights.store import weights_used

_CLOSES_SECONDS: Final = 0.15
"""Time in which the mouth comes to rest behind the end of the voice."""


def dub(job: Job, settings: TalkSettings) -> Report:
    """Write the film of ``job`` with its people speaking the speech of ``job``.

    The film keeps its rate and, where the speech is shorter, its length, with mouths at rest behind
    the speech. Where the speech is longer, the last seconds of the film go back and forth.

    Raises:
        As :func:`mien.api.talk`.
    """
    job.check()
    settings.check()
    _check(settings)
    voice = VoiceAnalysis(job.speech or job.source, "articulation", with_picture=job.own_voice)
    resolver = MeshResolver(job.request, voice, scale_all=True, speaking=True)
    resolver.check()
    seconds = voice.sample_count / SAMPLE_RATE_HZ
    names = (*MESH_ASSETS, *MOUTH_ASSETS, *SPEECH_ASSETS, *assets_behind(resolver.describe()))
    maker = Maker(MeshEngine.name, resolver, lambda: weights_used(names))
    with open_footage(job) as footage:
        followed = following(job, resolver, max(seconds, float(footage.info.duration or seconds)))
        codes = voice.articulation.codes
        speakers = _Speakers(job, footage, followed or resolver, codes, settings)
        drawn = prefetch(speakers.draw(footage.frames(seconds, swing=True)))
        written = job.write(drawn, footage.info, maker, footage.count(seconds))
    length = footage.info.duration
    warnings = (*footage.warnings, *shorter(followed, job, written.seconds))
    if job.part.preview is None and length is not None and seconds > length + 1 / footage.info.rate:
        warnings += (
            f"The speech is {seconds - float(length):.1f} s longer than {job.source}: the end of "
            "the film goes back and forth until it is over.",
        )
    return job.report(
        written, maker, faces=len(footage.people), spans=footage.spans, warnings=warnings
    )


def _check(settings: TalkSettings) -> None:
    """Refuse settings that belong to pictures."""
    usual = TalkSettings()
    given = [name for name in ("rate", "side", "liveliness")
             if getattr(settings, name) != getattr(usual, name)]  # fmt: skip
    if given:
        raise InputError(
            f"A film keeps its own rate, size and movement: {', '.join(given)} "
            f"{'are' if len(given) > 1 else 'is'} for pictures that talk."
        )


class _Speakers:
    """The people of a film while they speak with another voice."""

    def __init__(
        self,
        job: Job,
        footage: Footage,
        wanted: Wanted,
        codes: Code,
        settings: TalkSettings,
    ) -> None:
        self._job, self._wanted, self._codes = job, wanted, codes
        self._end = len(codes) / CODES_PER_SECOND
        self._engine = MeshEngine(MeshSettings(portrait=True))
        self._own = OwnExpressions(self._engine, footage)
        self._look = footage.first_look(MouthSample.of)
        self._mouths: dict[int, OwnMouth] = {}
        self._variety = PriorSampler(settings.variety, settings.seed)

    def draw(self, frames: Iterator[FrameFaces]) -> Generator[Frame]:
        """Yield frames in which the chosen faces speak; others pass through untouched."""
        for frame, faces in frames:
            picture = frame.picture
            code = self._code(frame.time)
            target = self._wanted.at(float(frame.time))
            varied = self._variety.change(target.expression, float(frame.time))
            for face in faces:
                delta = expression_change(target, self._own.of(face)) + varied
                mouth = self._mouth(frame.picture, face)
                drawn = draw_dub(self._engine, picture, face, mouth, code, delta)
                picture = picture if drawn is picture else self._job.marked(drawn, face)
            yield replace(frame, picture=picture, original=frame.picture)

    def _code(self, time: Fraction) -> Code:
        """Return the code ``(7,)`` at a time; the mouth rests behind the voice."""
        left = np.clip(1 + (self._end - float(time)) / _CLOSES_SECONDS, 0, 1)
        code: Code = code_at(self._codes, [float(time)])[0] * np.float32(left)
        return code

    def _mouth(self, picture: Picture, face: Face) -> OwnMouth:
        if face.id not in self._mouths:
            samples = self._look.of(face) or [MouthSample.of(picture, face.landmarks)]
            self._mouths[face.id] = OwnMouth.of(samples)
        return self._mouths[face.id]
