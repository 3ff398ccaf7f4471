"""Resolve a request for the mesh engine: action units over time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.cmet.mesh import MeshConnector
from mien.cmet.semantic import Voice, semantic_vector, voice_of
from mien.emotion.expression_track import PRESETS, ExpressionTrack, GainCurve, presets
from mien.emotion.references import (
    FaceReference,
    OwnVoice,
    Reference,
    VoiceReference,
    check_references,
    use_voice,
)
from mien.emotion.request import (
    Emotion,
    Request,
    RequestDescription,
    Timeline,
    emotions_of,
    references_of,
)
from mien.errors import FaceNotFoundError, InputError
from mien.face.facs import INDEX, RECIPES, Expression, expression
from mien.media.still import is_still, read_still
from mien.speech.analysis import VoiceAnalysis, VoiceEmotions

_SMOOTH_SECONDS: Final = 1.0
"""Spread of the weights with which moments of a voice are averaged: emotions change slowly."""

_BLOCK: Final = 256
_STEP_SECONDS: Final = 0.25
_FULL_NORM: Final = 1.5
"""Norm of an expression at which the person's own gives way entirely."""

_FACE_SAMPLES: Final = 40
_FACE_SECONDS: Final = 60.0

_NEUTRAL_QUANTILE: Final = 0.2
"""Quantile of a clip's action units that is taken for the person's neutral expression."""

_SHAPE: Final = 0.15
"""Readings of a single picture up to this are the person's shape rather than an expression."""

_SPEECH_UNITS: Final = ("16L", "16R", "17", "18", "25", "26", "43L", "43R")
_SPEECH_SHARE: Final = 0.3


@dataclass(frozen=True, slots=True)
class EmotionTarget:
    """What the mesh engine is to show at one moment.

    Attributes:
        expression: action units, ``float32 (D,)``.
        presence: how much of the person's own neutral expression gives way, 0..1.
    """

    expression: Expression
    presence: float


class MeshResolver:
    """Turns a request into action units; every file is read once, when first needed.

    What comes from voices, faces and presets is scaled by the prosody of the clip's own voice;
    other named emotions and action units stay steady.

    Args:
        request: what is asked for.
        own_voice: voice of the clip, or of the speech of a portrait; None where there is none.
            It is decoded only if the request needs it.
        scale_all: scale every request by prosody, as portraits that talk do.
    """

    def __init__(
        self, request: Request, own_voice: VoiceAnalysis | None = None, *, scale_all: bool = False
    ) -> None:
        self._request, self._own_voice = request, own_voice
        self._tracks: dict[Reference, ExpressionTrack] = {}
        self._voices = VoiceEmotions(own_voice)
        self._gain: GainCurve | None = None
        self._scaled_by: VoiceAnalysis | None = None
        if own_voice is None:
            return
        if scale_all or (_is_derived(request) and own_voice.has_sound):
            self._scaled_by = own_voice
            own_voice.require("prosody")
        if use_voice(references_of(request), own_voice.path):
            own_voice.require("emotion")

    def check(self) -> None:
        """Check the request, then resolve everything it refers to, before any work.

        Raises:
            InputError: for files that are missing or cannot be used.
            FaceNotFoundError: for a picture or clip of a face without one.
        """
        check_references(references_of(self._request), self._own_voice)
        for reference in references_of(self._request):
            self._track(reference)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons why voices that were resolved are uncertain."""
        return self._voices.warnings

    def at(self, time: float) -> EmotionTarget:
        """Return what is wanted at ``time`` seconds; continuous in time."""
        if isinstance(self._request, Timeline):
            shown, presence = np.zeros(len(INDEX), np.float32), 0.0
            for key, share in self._request.shares(time):
                target = self._emotion_at(key.emotion, time)
                shown = shown + share * (target.expression - shown)
                presence += share * (target.presence - presence)
            shown = (self._request.intensity * shown).astype(np.float32)
            presence = min(1.0, self._request.intensity * presence)
        else:
            target = self._emotion_at(self._request, time)
            shown, presence = target.expression, target.presence
        if self._scaled_by is not None:
            if self._gain is None:
                self._gain = GainCurve.of(self._scaled_by.prosody)
            shown = (self._gain.at(time) * shown).astype(np.float32)
        return EmotionTarget(shown, presence)

    def describe(self) -> RequestDescription:
        """Describe the request in plain values, for reports."""
        out = self._request.describe(None if self._own_voice is None else self._own_voice.path)
        if self._scaled_by is not None:
            out["follows"] = "loudness and pitch of the clip's own voice"
        return out

    def _emotion_at(self, emotion: Emotion, time: float) -> EmotionTarget:
        units: dict[str, float] = {}
        for name, strength in emotion.units:
            units[name] = units.get(name, 0.0) + strength
        total, presence = expression(units), 0.0
        for name, strength in emotion.labels:
            known = RECIPES[name].expression() if name in RECIPES else presets()[name].expression
            total = total + strength * known
            presence += strength
        referred = 0.0
        for reference, strength in emotion.references:
            track = self._track(reference)
            total = total + strength * track.expression_at(time)
            referred += strength * track.presence_at(time)
        shown = (emotion.intensity * total).astype(np.float32)
        return EmotionTarget(shown, min(1.0, emotion.intensity * (presence + referred)))

    @cached_property
    def _connector(self) -> MeshConnector:
        return MeshConnector()

    def _track(self, reference: Reference) -> ExpressionTrack:
        if reference not in self._tracks:
            if isinstance(reference, FaceReference):
                track = ExpressionTrack.steady(read_face(reference.path))
            elif isinstance(reference, VoiceReference):
                track = self._voice_track(reference)
            else:
                track = self._own_voice_track(reference)
            self._tracks[reference] = track
        return self._tracks[reference]

    def _voice_track(self, reference: VoiceReference) -> ExpressionTrack:
        neutral = self._neutral(reference.neutral)
        voice = self._mean_voice(reference.paths)
        if voice is None:
            return ExpressionTrack.steady(np.zeros(len(INDEX), np.float32))
        return ExpressionTrack.steady(self._connector.expression(semantic_vector(voice, neutral)))

    def _own_voice_track(self, reference: OwnVoice) -> ExpressionTrack:
        if self._own_voice is None:
            raise InputError("auto follows a clip's own voice; here there is no clip.")
        neutral = self._neutral(reference.neutral)
        voice = self._voices.of(self._own_voice.path)
        spoken = [
            (moment.time, moment.embedding)
            for moment in voice.curve
            if moment.embedding is not None
        ]
        if not spoken:
            return ExpressionTrack.steady(np.zeros(len(INDEX), np.float32))
        at, embeddings = np.array([t for t, _ in spoken]), np.stack([e for _, e in spoken])
        end = max(voice.seconds, _STEP_SECONDS) + _STEP_SECONDS
        times = np.arange(0.0, end, _STEP_SECONDS)
        faces = np.stack(
            [
                self._connector.expression(
                    semantic_vector(voice_of(self._voices.listener, one[None]), neutral)
                )
                for one in _smooth(at, embeddings, at)
            ]
        )
        shown = _smooth(at, faces, times)
        presence = np.clip(np.linalg.norm(shown, axis=1) / _FULL_NORM, 0, 1).astype(np.float32)
        return ExpressionTrack(times, shown, presence)

    def _neutral(self, files: Sequence[Path]) -> Voice:
        if not files:
            return self._connector.neutral_voice
        voice = self._mean_voice(files)
        if voice is None:
            raise InputError(f"Nobody speaks in {files[0]}; leave --neutral out to do without.")
        return voice

    def _mean_voice(self, files: Sequence[Path]) -> Voice | None:
        """The mean of voices; None where nobody speaks in any of them."""
        voices = [self._voices.of(path) for path in files]
        spoken = [voice.embedding for voice in voices if voice.has_speech]
        return voice_of(self._voices.listener, np.stack(spoken)) if spoken else None


def _is_derived(request: Request) -> bool:
    """Whether any part of a request comes from voices, faces or presets."""
    return any(
        emotion.references or any(name in PRESETS for name, _ in emotion.labels)
        for emotion in emotions_of(request)
    )


def _smooth(
    at: npt.NDArray[np.float64], values: npt.NDArray[np.float32], times: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Average values ``(N, D)`` known ``at`` some times with Gaussian weights, ``(K, D)``."""
    out = []
    for start in range(0, len(times), _BLOCK):  # bounds the memory of the weights
        gap = (times[start : start + _BLOCK, None] - at[None]) / _SMOOTH_SECONDS
        # The nearest moment counts for 1, so that a long pause holds the emotion before it.
        gap = gap**2 - (gap**2).min(1, keepdims=True)
        weights = np.exp(-0.5 * gap)
        out.append(weights @ values / weights.sum(1, keepdims=True))
    return np.concatenate(out).astype(np.float32)


def read_face(path: Path) -> Expression:
    """Read the expression of the face in a picture, or of a clip as a whole, ``float32 (D,)``.

    Raises:
        FaceNotFoundError: when there is no face.
    """
    from mien.face.facs import read_expression
    from mien.face.pose import head_pose
    from mien.face.tracker import FaceTracker

    still = is_still(path)
    readings = []
    with closing(FaceTracker(still=still)) as tracker:
        for image in [read_still(path)] if still else _pictures(path):
            for face in tracker(image)[:1]:
                readings.append(read_expression(head_pose(face).to_head(face)))
    if not readings:
        raise FaceNotFoundError(f"No usable face was found in {path}.")
    seen = np.stack(readings)
    if still:
        own = np.maximum(seen[0] - _SHAPE, 0) / (1 - _SHAPE)
    else:
        own = np.median(seen, 0) - np.quantile(seen, _NEUTRAL_QUANTILE, axis=0)
        own = np.maximum(own, np.median(seen, 0) - 2 * _SHAPE)
    return _completed(own.astype(np.float32))


def _pictures(path: Path) -> list[npt.NDArray[np.uint8]]:
    from mien.media.read import VideoReader

    with VideoReader(path) as reader:
        return list(reader.first_look(_FACE_SAMPLES, _FACE_SECONDS))


def _completed(own: Expression) -> Expression:
    """Add units that landmarks do not show but that accompany others; reduce those of speech."""
    out = own.copy()
    for side in "LR":
        out[INDEX[f"6{side}"]] = max(out[INDEX[f"6{side}"]], 0.8 * out[INDEX[f"12{side}"]])
        out[INDEX[f"9{side}"]] = max(out[INDEX[f"9{side}"]], 0.6 * out[INDEX[f"10{side}"]])
    for name in _SPEECH_UNITS:
        out[INDEX[name]] *= _SPEECH_SHARE
    return out
