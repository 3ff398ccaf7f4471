"""Resolve a request for DICE-Talk: an emotion prior for every frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.emotion.references import FaceReference, OwnVoice, Reference, VoiceReference
from mien.emotion.request import Emotion, Request, weighted_emotions
from mien.emotion.resolver import Resolver, refuse_units
from mien.errors import InputError
from mien.media.audio import Samples
from mien.speech.analysis import VoiceAnalysis
from mien.speech.listener import VOICE_EMOTIONS
from mien.utils.numeric import interpolate_rows

Prior = npt.NDArray[np.float32]

NEUTRAL: Final = "neutral"

Embed = Callable[[Path, Samples | None], Prior]
"""Embeds a clip (face, voice or both) as the mean of its prior (the paper's mode V); the second
argument is its sound, where it has been decoded already."""


class SvdResolver(Resolver):
    """Turns a request into priors.

    A prior is the neutral one plus, for every emotion, its strength times the difference between
    its prior and the neutral one (the paper's mode P). With an embedder, a voice or face counts as
    its own prior, measured from the neutral voice where one is given. Without, a voice counts as
    the emotions that the listener recognises in it, beside that neutral voice.

    Args:
        request: what is asked for.
        own_voice: the speech; ``auto`` needs its emotion, or its samples with an embedder.
        priors: stored priors by name, ``float32 (P,)``; ``neutral`` among them.
        embed: the user's embedder, if any.
    """

    _own_voice: VoiceAnalysis

    def __init__(
        self,
        request: Request,
        own_voice: VoiceAnalysis,
        priors: Mapping[str, Prior],
        embed: Embed | None = None,
    ) -> None:
        super().__init__(request, own_voice)
        self._priors, self._embed = priors, embed
        self._embedded: dict[Path, Prior] = {}
        self._curves: dict[OwnVoice, tuple[npt.NDArray[np.float64], Prior]] = {}
        if self._needs_own_voice():
            own_voice.require("emotion" if embed is None else "samples")

    def _check_emotion(self, emotion: Emotion) -> None:
        refuse_units(emotion, "svd")
        for name, _ in emotion.labels:
            self._offset(name)

    def _check_reference(self, reference: Reference) -> None:
        if self._embed is None and isinstance(reference, FaceReference):
            raise InputError(
                "--like with a face needs --embedder FILE on svd (made by mien train "
                "dice-embedder; none is published). Use a name or a voice."
            )
        super()._check_reference(reference)

    def at(self, time: float) -> Prior:
        """Return the prior wanted at ``time`` seconds, ``float32 (P,)``."""
        out = self._priors[NEUTRAL].astype(np.float32).copy()
        for emotion, weight in weighted_emotions(self._request, time):
            for offset, strength in self._parts(emotion, time):
                out += np.float32(weight * emotion.intensity * strength) * offset
        return out

    def track(self, frames: int, frames_per_second: float) -> Prior:
        """Return the priors of all frames, ``float32 (N, P)``; a steady one is repeated exactly."""
        return np.stack([self.at(i / frames_per_second) for i in range(frames)])

    def _parts(self, emotion: Emotion, time: float) -> Iterator[tuple[Prior, float]]:
        for name, strength in emotion.labels:
            yield self._offset(name), strength
        for reference, strength in emotion.references:
            yield self._referred(reference, time), strength

    def _offset(self, name: str) -> Prior:
        """Difference between the prior of a name and the neutral one."""
        if name not in self._priors:
            raise InputError(
                f"There is no prior of {name!r} for the engine svd. Valid: "
                f"{', '.join(self._priors)}."
            )
        return self._priors[name] - self._priors[NEUTRAL]

    def _referred(self, reference: Reference, time: float) -> Prior:
        plain = () if isinstance(reference, FaceReference) else reference.neutral
        if isinstance(reference, OwnVoice):
            paths: tuple[Path, ...] = (self._own_voice.path,)
        else:
            paths = reference.paths if isinstance(reference, VoiceReference) else reference.files
        if self._embed is not None:
            neutral = self._priors[NEUTRAL]
            if plain:
                neutral = np.mean([self._embedding(path, self._embed) for path in plain], 0)
            offsets = [self._embedding(path, self._embed) - neutral for path in paths]
            return np.mean(offsets, 0).astype(np.float32)
        if isinstance(reference, OwnVoice):
            return self._own_voice_at(reference, time)
        voices = [self._voices.of(path) for path in paths]
        shares = [self._recognised(voice.emotion, voice.embedding, plain) for voice in voices]
        return self._mixed(np.mean(shares, 0))

    def _own_voice_at(self, reference: OwnVoice, time: float) -> Prior:
        """Offset of the speech's own voice, interpolated linearly between its seconds."""
        if reference not in self._curves:
            voice = self._voices.of(self._own_voice.path)
            spoken = [(m, m.embedding) for m in voice.curve if m.embedding is not None]
            shares = [self._recognised(m.emotion, e, reference.neutral) for m, e in spoken]
            # Silence is neutral.
            offsets = list(map(self._mixed, shares)) or [np.zeros_like(self._priors[NEUTRAL])]
            times = np.array([moment.time for moment, _ in spoken] or [0.0])
            self._curves[reference] = (times, np.stack(offsets))
        return interpolate_rows(np.array([time]), *self._curves[reference])[0]

    def _recognised(self, emotion: Prior, embedding: Prior, neutral: Sequence[Path]) -> Prior:
        """Probabilities of emotions in a voice, beside the neutral voice where there is one."""
        if not neutral or not embedding.any():
            return emotion
        beside = self._neutral_embeddings(neutral).mean(0)
        return self._voices.listener.classify(embedding[None], beside)[0][0]

    def _mixed(self, shares: npt.NDArray[np.float32]) -> Prior:
        out = np.zeros_like(self._priors[NEUTRAL])
        for name, share in zip(VOICE_EMOTIONS, shares.tolist(), strict=True):
            if name in self._priors:
                out += np.float32(share) * self._offset(name)
        return out

    def _embedding(self, path: Path, embed: Embed) -> Prior:
        if path not in self._embedded:
            samples = self._own_voice.samples if path == self._own_voice.path else None
            self._embedded[path] = embed(path, samples)
        return self._embedded[path]
