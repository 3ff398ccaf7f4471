"""Resolve a request for the published C-MET: emotion semantic vectors over time.

Names and voices become differences of speech embeddings (section 3.1 of arXiv 2604.07786). Faces,
and names for which the user brought EDTalk's own coefficients, become expression coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.emotion.references import FaceReference, VoiceReference
from mien.emotion.request import Emotion, Request, emotions_of, weighted_emotions
from mien.emotion.resolver import Resolver, refuse_units
from mien.errors import InputError
from mien.media.audio import SAMPLE_RATE_HZ, Samples, read_speech
from mien.speech.analysis import VoiceAnalysis
from mien.weights.bundled import open_arrays

Vector = npt.NDArray[np.float32]

_STEP_SECONDS: Final = 0.5
"""The clip's own voice is embedded this often."""

_SPAN: Final = 3 * SAMPLE_RATE_HZ
"""Samples of each such embedding."""

_NEUTRAL: Final = "neutral"


@dataclass(frozen=True, slots=True)
class SemanticTarget:
    """What EDTalk is to show at one moment.

    Attributes:
        vector: emotion semantic vector ``(S,)``; None where no voice or name is wanted.
        strength: of what the connector makes of it.
        coefficients: expression coefficients ``(D,)`` to go to, and how far.
    """

    vector: Vector | None
    strength: float
    coefficients: tuple[tuple[Vector, float], ...] = ()

    @property
    def weight(self) -> float:
        """Sum of all strengths."""
        return self.strength + sum(share for _, share in self.coefficients)


@lru_cache(maxsize=1)
def label_voices() -> Mapping[str, Vector]:
    """Load the bundled mean speech embedding of every emotion, ``float32 (1024,)``."""
    stored = open_arrays("published_voices.npz")
    pairs = zip(stored["names"].tolist(), stored["voices"], strict=True)
    return MappingProxyType(dict(pairs))


class EDTalkResolver(Resolver):
    """Turns a request into semantic vectors and coefficients.

    Args:
        request: what is asked for.
        own_voice: voice of the clip that is edited, or the speech of a portrait. Its samples are
            kept if ``auto`` or ``neutral`` need them.
        embed: embeds speech (16 kHz), by emotion2vec+ large where the connector is the published.
        labels: EDTalk's own coefficients per emotion, where the user has them.
        read_face: reads the expression coefficients of a picture or clip of a face.
        voices: embeddings of whole files that are known; those read here are added.
    """

    _own_voice: VoiceAnalysis

    def __init__(
        self,
        request: Request,
        own_voice: VoiceAnalysis,
        embed: Callable[[Samples], Vector],
        labels: Mapping[str, Vector],
        read_face: Callable[[Path], Vector],
        voices: dict[Path, Vector] | None = None,
    ) -> None:
        super().__init__(request, own_voice)
        self._embed, self._labels, self._face = embed, labels, cache(read_face)
        self._known = {} if voices is None else voices
        self._moments: dict[int, Vector] = {}
        if self._needs_own_voice() or any(map(self._leaves_voice, emotions_of(request))):
            own_voice.require("samples")

    def _leaves_voice(self, emotion: Emotion) -> bool:
        """Whether an emotion is measured away from that of the clip's own voice."""
        return _NEUTRAL not in self._labels and any(n == _NEUTRAL for n, _ in emotion.labels)

    def _check_emotion(self, emotion: Emotion) -> None:
        refuse_units(emotion, "edtalk")
        for name, _ in emotion.labels:
            if name not in self._labels and name not in label_voices():
                valid = ", ".join(dict.fromkeys((*label_voices(), *self._labels)))
                raise InputError(f"There is no voice of {name!r} for edtalk. Valid: {valid}.")
        if self._leaves_voice(emotion) and not self._own_voice.has_sound:
            raise InputError(
                "For edtalk, neutral means away from the emotion of the clip's voice, and this "
                "clip has no sound. Install EDTalk's own coefficients (mien weights convert "
                "edtalk/labels DIR) or use the mesh engine."
            )

    def at(self, time: float) -> SemanticTarget:
        """Return what is wanted at ``time`` seconds."""
        total, strength = np.zeros(0, np.float32), 0.0
        coefficients: list[tuple[Vector, float]] = []
        for emotion, weight in weighted_emotions(self._request, time):
            for vector, is_face, share in self._parts(emotion, time):
                scale = weight * emotion.intensity * share
                if scale <= 0:
                    continue
                if is_face:
                    coefficients.append((vector, scale))
                else:
                    total = total + scale * vector if len(total) else scale * vector
                    strength += scale
        mean = total / strength if strength > 0 else None
        return SemanticTarget(mean, strength, tuple(coefficients))

    def _parts(self, emotion: Emotion, time: float) -> Iterator[tuple[Vector, bool, float]]:
        """(semantic vector or coefficients, whether these, strength) of every part."""
        for name, strength in emotion.labels:
            if name in self._labels:
                yield self._labels[name], True, strength
            else:
                yield self._label(name), False, strength
        for reference, strength in emotion.references:
            if isinstance(reference, FaceReference):
                yield self._face(reference.path), True, strength
                continue
            if isinstance(reference, VoiceReference):
                voice = self._mean(reference.paths)
            else:
                voice = self._own_voice_at(time)
            plain = reference.neutral
            neutral = self._mean(plain) if plain else label_voices()[_NEUTRAL]
            yield voice - neutral, False, strength

    def _label(self, name: str) -> Vector:
        voices = label_voices()
        if name != _NEUTRAL:
            return voices[name] - voices[_NEUTRAL]
        return voices[_NEUTRAL] - self._mean([self._own_voice.path])

    def _mean(self, paths: Sequence[Path]) -> Vector:
        """Mean speech embedding of whole files."""
        for path in paths:
            if path not in self._known:
                own = path == self._own_voice.path
                samples = self._own_voice.samples if own else read_speech(path)
                self._known[path] = self._embed(samples)
        mean: Vector = np.mean([self._known[path] for path in paths], 0)
        return mean

    def _own_voice_at(self, time: float) -> Vector:
        """Speech embedding of the clip's own voice, interpolated linearly."""
        before = int(time / _STEP_SECONDS)
        share = time / _STEP_SECONDS - before
        self._moments = {i: v for i, v in self._moments.items() if abs(i - before) <= 1}
        one, two = (self._moment(step) for step in (before, before + 1))
        return one + np.float32(share) * (two - one)

    def _moment(self, step: int) -> Vector:
        if step not in self._moments:
            samples = self._own_voice.samples
            middle = round(step * _STEP_SECONDS * SAMPLE_RATE_HZ)
            start = min(max(0, middle - _SPAN // 2), max(0, len(samples) - _SPAN))
            self._moments[step] = self._embed(samples[start : start + _SPAN])
        return self._moments[step]
