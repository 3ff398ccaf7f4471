"""Resolve a request for the mesh engine: action units over time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.cmet.mesh import MeshConnector
from mien.cmet.semantic import semantic_vector, voice_of
from mien.dicetalk.speaking_face import (
    FACE_EMOTIONS,
    SpeakingFaceReader,
    typical_units,
    with_face,
)
from mien.emotion.expression_track import ExpressionTrack, GainCurve
from mien.emotion.references import (
    FaceReference,
    OwnVoice,
    Reference,
    VoiceReference,
    faces_of,
)
from mien.emotion.request import (
    Emotion,
    Recognition,
    Request,
    RequestDescription,
    Timeline,
    recognition,
    references_of,
)
from mien.emotion.resolver import Resolver
from mien.errors import FaceNotFoundError
from mien.face.facs import INDEX, NAMED, Expression, expression, read_landmarks
from mien.media.read import has_picture
from mien.media.still import is_still
from mien.speech.analysis import VoiceAnalysis

_SMOOTH_SECONDS: Final = 1.0
"""Spread of the weights with which moments of a voice are averaged: emotions change slowly."""

_BLOCK: Final = 256
_STEP_SECONDS: Final = 0.25
_FULL_NORM: Final = 1.5
"""Norm of an expression at which the person's own gives way entirely."""

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


class MeshResolver(Resolver):
    """Turns a request into action units.

    A clip that is referred to counts with its voice and, where it shows a face, the face together.
    What comes from voices and faces is scaled by the prosody of the clip's own voice; named
    emotions and action units stay steady.

    Args:
        request: what is asked for.
        own_voice: as for :class:`Resolver`; decoded only if the request needs it.
        scale_all: scale every request by prosody, as portraits that talk do.
        speaking: the face speaks, as in a video: emotions leave the mouth its speech.
    """

    def __init__(
        self,
        request: Request,
        own_voice: VoiceAnalysis | None = None,
        *,
        scale_all: bool = False,
        speaking: bool = False,
    ) -> None:
        super().__init__(request, own_voice)
        self._speaking = speaking
        self._tracks: dict[Reference, ExpressionTrack] = {}
        self._faces: dict[Path, npt.NDArray[np.float32] | None] = {}
        self._seen: dict[str, Recognition] = {}
        self._gain: GainCurve | None = None
        self._scaled_by: VoiceAnalysis | None = None
        if own_voice is None:
            return
        if scale_all or (any(references_of(request)) and own_voice.has_sound):
            self._scaled_by = own_voice
            own_voice.require("prosody")
        if self._needs_own_voice():
            own_voice.require("emotion")

    def check(self) -> None:
        """As :meth:`Resolver.check`; the clip's own voice is not decoded for its prosody yet."""
        for reference in references_of(self._request):
            self._check_reference(reference)
        for reference in references_of(self._request):
            self._track(reference)

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
        out = super().describe()
        if self._seen:
            out["seen"] = self._seen
        if self._scaled_by is not None:
            out["follows"] = "loudness and pitch of the clip's own voice"
        return out

    def _emotion_at(self, emotion: Emotion, time: float) -> EmotionTarget:
        units: dict[str, float] = {}
        for name, strength in emotion.units:
            units[name] = units.get(name, 0.0) + strength
        total, presence = expression(units), 0.0
        for name, strength in emotion.labels:
            total = total + strength * NAMED[name].expression(speaking=self._speaking)
            presence += strength
        referred = 0.0
        for reference, strength in emotion.references:
            track = self._track(reference)
            total = total + strength * track.expression_at(time)
            referred += strength * track.presence_at(time)
        shown = (emotion.intensity * total).astype(np.float32)
        return EmotionTarget(shown, min(1.0, emotion.intensity * (presence + referred)))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons why what was resolved is uncertain."""
        without = [path for path, units in self._faces.items() if units is None]
        faces = (f"{path}: no face was found in it; its voice alone counts." for path in without)
        return (*super().warnings, *faces)

    @cached_property
    def _connector(self) -> MeshConnector:
        return MeshConnector()

    @cached_property
    def _face_reader(self) -> SpeakingFaceReader:
        return SpeakingFaceReader()

    def _track(self, reference: Reference) -> ExpressionTrack:
        if reference not in self._tracks:
            self._tracks[reference] = self._read_track(reference)
        return self._tracks[reference]

    def _read_track(self, reference: Reference) -> ExpressionTrack:
        if isinstance(reference, FaceReference):
            return ExpressionTrack.steady(read_face(reference.path))
        plain = self._neutral_embeddings(reference.neutral) if reference.neutral else None
        if isinstance(reference, OwnVoice):
            return self._own_voice_track(plain)
        embeddings, face = self._embeddings(reference.paths), self._face_odds(reference)
        if embeddings is None:
            return ExpressionTrack.steady(np.zeros(len(INDEX), np.float32))
        return ExpressionTrack.steady(self._shown(embeddings, plain, face))

    def _own_voice_track(self, plain: npt.NDArray[np.float32] | None) -> ExpressionTrack:
        assert self._own_voice is not None  # noqa: S101 - checked before
        voice = self._voices.of(self._own_voice.path)
        spoken = [(m.time, m.embedding) for m in voice.curve if m.embedding is not None]
        if not spoken:
            return ExpressionTrack.steady(np.zeros(len(INDEX), np.float32))
        at, embeddings = np.array([t for t, _ in spoken]), np.stack([e for _, e in spoken])
        end = max(voice.seconds, _STEP_SECONDS) + _STEP_SECONDS
        times = np.arange(0.0, end, _STEP_SECONDS)
        faces = [self._shown(one[None], plain) for one in _smooth(at, embeddings, at)]
        shown = _smooth(at, np.stack(faces), times)
        presence = np.clip(np.linalg.norm(shown, axis=1) / _FULL_NORM, 0, 1).astype(np.float32)
        return ExpressionTrack(times, shown, presence)

    def _face_odds(self, reference: VoiceReference) -> npt.NDArray[np.float32] | None:
        """Probabilities of ``FACE_EMOTIONS`` of the clips' faces; None where there is none."""
        plain = [face for path in reference.neutral if (face := self._face(path)) is not None]
        neutral = np.mean(plain, 0) if plain else None
        out = []
        for path in reference.paths:
            face = self._face(path)
            if face is not None:
                odds = self._face_reader.odds(face, neutral)
                best = int(odds.argmax())
                self._seen[str(path)] = recognition(FACE_EMOTIONS[best], float(odds[best]))
                out.append(odds)
        return np.mean(out, 0) if out else None

    def _face(self, path: Path) -> npt.NDArray[np.float32] | None:
        """Typical action units of the face in a clip; None for sound, and without a face."""
        if path not in self._faces:
            if not has_picture(path):
                return None
            try:
                self._faces[path] = typical_units(face for _, face in faces_of(path))
            except FaceNotFoundError:
                self._faces[path] = None
        return self._faces[path]

    def _shown(
        self,
        embeddings: npt.NDArray[np.float32],
        plain: npt.NDArray[np.float32] | None,
        face: npt.NDArray[np.float32] | None = None,
    ) -> Expression:
        """Expression of a voice, given by its recordings and the speaker's neutral ones, if any.

        Args:
            embeddings: of the recordings.
            plain: of the neutral ones.
            face: probabilities of what the speaker's face expresses.
        """
        listener, neutral = self._voices.listener, self._connector.neutral_voice
        beside = None if plain is None else plain.mean(0)
        if plain is not None:
            neutral = voice_of(listener, plain)
        vector = semantic_vector(voice_of(listener, embeddings), neutral)
        odds = listener.classify(embeddings, beside)[0].mean(0)
        if face is not None:
            odds = with_face(odds, face)
        return self._connector.expression(vector, odds, speaking=self._speaking)


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
    """Read the expression of the face in a picture, or of a clip as a whole, ``float32 (D,)``."""
    seen = np.stack([read_landmarks(face) for _, face in faces_of(path)])
    if is_still(path):
        own = np.maximum(seen[0] - _SHAPE, 0) / (1 - _SHAPE)
    else:
        own = np.median(seen, 0) - np.quantile(seen, _NEUTRAL_QUANTILE, axis=0)
        own = np.maximum(own, np.median(seen, 0) - 2 * _SHAPE)
    return _completed(own.astype(np.float32))


def _completed(own: Expression) -> Expression:
    """Add units that landmarks do not show but that accompany others; reduce those of speech."""
    out = own.copy()
    for side in "LR":
        out[INDEX[f"6{side}"]] = max(out[INDEX[f"6{side}"]], 0.8 * out[INDEX[f"12{side}"]])
        out[INDEX[f"9{side}"]] = max(out[INDEX[f"9{side}"]], 0.6 * out[INDEX[f"10{side}"]])
    for name in _SPEECH_UNITS:
        out[INDEX[name]] *= _SPEECH_SHARE
    return out
