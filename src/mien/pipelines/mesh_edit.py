"""Edit a video or a picture with the mesh engine."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from mien.emotion.resolve_mesh import EmotionTarget, MeshResolver
from mien.engines.mesh import MeshEngine, MeshSettings
from mien.engines.mesh.engine import removal, smiling
from mien.face.facs import INDEX, Expression
from mien.face.follow import Face
from mien.face.topology import Landmarks
from mien.media.frame import Frame, Image
from mien.pipelines.following import Wanted, following, shorter
from mien.pipelines.footage import Footage, FrameFaces, open_footage
from mien.pipelines.job import MESH_ASSETS, MOUTH_ASSETS, Job, assets_behind
from mien.pipelines.report import Maker, Report
from mien.speech.analysis import VoiceAnalysis
from mien.utils.prefetch import prefetch
from mien.weights.store import weights_used

_SMILE: Final = [INDEX["12L"], INDEX["12R"]]
_SPOKEN_SMILE: Final = 0.2
"""Smile that may be the shape of speech."""

_SMILE_SECONDS: Final = 0.25
"""Time constant with which a smile that comes and goes is followed."""

_NO_IMAGE: Final = np.zeros((1, 1, 3), np.uint8)
"""The mesh engine reads expressions from landmarks alone."""


def edit(job: Job) -> Report:
    """Write the source of ``job`` with another emotion.

    Raises:
        As :func:`mien.api.edit`.
    """
    job.check()
    voice = VoiceAnalysis(job.source, with_picture=True) if job.given is None else None
    resolver = MeshResolver(job.request, voice, speaking=not job.still)
    resolver.check()
    engine = MeshEngine(MeshSettings(still=job.still))
    used = (*MESH_ASSETS, *MOUTH_ASSETS) if job.still else MESH_ASSETS
    names = (*used, *assets_behind(resolver.describe()))
    maker = Maker(engine.name, resolver, lambda: weights_used(names))
    with open_footage(job) as footage:
        own = OwnExpressions(engine, footage)
        length = footage.info.duration
        followed = following(job, resolver, None if length is None else float(length))
        drawn = prefetch(_draw(job, footage.frames(), followed or resolver, engine, own))
        written = job.write(drawn, footage.info, maker, footage.count())
    return job.report(
        written,
        maker,
        faces=len(footage.people),
        spans=footage.spans,
        warnings=(*footage.warnings, *shorter(followed, job, written.seconds)),
    )


def _draw(
    job: Job,
    frames: Iterator[FrameFaces],
    wanted: Wanted,
    engine: MeshEngine,
    own: OwnExpressions,
) -> Generator[Frame]:
    """Yield frames with the chosen faces edited; others pass through untouched."""
    for frame, faces in frames:
        picture = frame.picture
        target = wanted.at(float(frame.time))
        for face in faces:
            delta = expression_change(target, own.at(face, float(frame.time)))
            drawn = engine.render(picture, face, delta)
            picture = picture if drawn is picture else job.marked(drawn, face)
        yield replace(frame, picture=picture, original=frame.picture)


class OwnExpressions:
    """The expression that every person has by themselves and that an emotion replaces.

    It is estimated over a first look at the clip; a person who is not in it is read when first
    seen. That estimate never changes during a clip, so that nothing drifts or flickers; smiles
    that come and go are followed slowly, so that speech does not count as smiling.

    Args:
        engine: reads expressions.
        footage: the clip to look at; None for a single picture.
    """

    def __init__(self, engine: MeshEngine, footage: Footage | None = None) -> None:
        self._engine = engine
        self._look = None if footage is None else footage.first_look(self._read)
        self._known: dict[int, Expression] = {}
        self._passing: dict[int, tuple[float, float]] = {}

    def at(self, face: Face, time: float) -> Expression:
        """Return the own expression of ``face`` and its passing smile at ``time`` seconds.

        Times must not fall. Frames in which the face was not found keep the smile as it was.
        """
        own = self.of(face)
        before, smile = self._passing.get(face.id, (time, 0.0))
        if not face.bridged:
            now = removal(self._read(_NO_IMAGE, face.landmarks)[None]) - own
            rest = max(float(now[_SMILE].mean()) - _SPOKEN_SMILE, 0) / (1 - _SPOKEN_SMILE)
            smile += (1 - math.exp((before - time) / _SMILE_SECONDS)) * (rest - smile)
        self._passing[face.id] = (time, smile)
        return own + np.float32(smile) * smiling()

    def of(self, face: Face) -> Expression:
        """Return the own expression of ``face``, ``float32 (D,)``."""
        if face.id not in self._known:
            samples = [] if self._look is None else self._look.of(face)
            samples = samples or [self._read(_NO_IMAGE, face.landmarks)]
            self._known[face.id] = removal(np.stack(samples))
        return self._known[face.id]

    def _read(self, image: Image, landmarks: Landmarks) -> Expression:
        return self._engine.encode(image, Face(0, landmarks)).expression


def expression_change(target: EmotionTarget, own: Expression) -> Expression:
    """Return the difference that turns a person's own expression into the one asked for.

    Args:
        target: what is asked for.
        own: the person's own expression, ``float32 (D,)``.

    Returns:
        ``float32 (D,)``: the emotion, minus the share of the own expression that gives way.
    """
    delta = target.expression - target.presence * own
    return delta.astype(np.float32)
