"""Resolve a request for DICE-Talk: an emotion prior for every frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.emotion.references import FaceReference, OwnVoice, Reference, check_references, use_voice
from mien.emotion.request import (
    Emotion,
    Request,
    RequestDescription,
    emotions_of,
    references_of,
    settled_times,
    weighted_emotions,
)
from mien.errors import InputError
from mien.media.audio import Samples
from mien.speech.analysis import VoiceAnalysis, VoiceEmotions
from mien.speech.listener import VOICE_EMOTIONS
from mien.utils.numeric import interpolate_rows

Prior = npt.NDArray[np.float32]

NEUTRAL: Final = "neutral"

Embed = Callable[[Path, Samples | None], Prior]
"""Embeds a clip (face, voice or both) as the mean of its prior (the paper's mode V); the second
argument is its sound, where it has been decoded already."""


class SvdResolver:
    """Turns a request into priors; every file is read once.

    A prior is the neutral one plus, for every emotion, its strength times the difference between
    its prior and the neutral one (the paper's mode P). Without an embedder, a voice counts as the
    emotions that the listener recognises in it.

    Args:
        request: what is asked for.
        own_voice: the speech; ``auto`` needs its emotion, or its samples with an embedder.
        priors: stored priors by name, ``float32 (P,)``; ``neutral`` among them.
        embed: the user's embedder, if any.
    """

    def __init__(
        self,
        request: Request,
        own_voice: VoiceAnalysis,
        priors: Mapping[str, Prior],
        embed: Embed | None = None,
    ) -> None:
        self._request, self._own_voice = request, own_voice
        self._priors, self._embed = priors, embed
        self._offsets: dict[Path, Prior] = {}
        self._voices = VoiceEmotions(own_voice)
        self._curves: tuple[npt.NDArray[np.float64], Prior] | None = None
        if use_voice(references_of(request), own_voice.path):
            own_voice.require("emotion" if embed is None else "samples")

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons why voices that were resolved are uncertain."""
        return self._voices.warnings

    def check(self) -> None:
        """Check the request, then resolve everything it refers to, before any work.

        Raises:
            InputError: for action units, names without a prior, faces without an embedder, and
                unusable files.
        """
        for emotion in emotions_of(self._request):
            if emotion.units:
                raise InputError(
                    "Action units belong to the mesh engine; svd takes names, voices and faces."
                )
            for name, _ in emotion.labels:
                self._offset(name)
        references = list(references_of(self._request))
        if self._embed is None and any(isinstance(r, FaceReference) for r in references):
            raise InputError(
                "--like with a face needs --embedder FILE on svd (made by mien train "
                "dice-embedder; none is published). Use a name or a voice."
            )
        check_references(references, self._own_voice)
        for time in settled_times(self._request):
            self.at(time)

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

    def describe(self) -> RequestDescription:
        """Describe the request in plain values, for reports."""
        return self._request.describe(self._own_voice.path)

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
        if isinstance(reference, OwnVoice) and self._embed is None:
            return self._own_voice_at(time)
        if isinstance(reference, OwnVoice):
            paths: tuple[Path, ...] = (self._own_voice.path,)
        else:
            paths = (reference.path,) if isinstance(reference, FaceReference) else reference.paths
        if self._embed is not None:
            offsets = [self._embedded(path, self._embed) for path in paths]
            return np.mean(offsets, 0).astype(np.float32)
        return self._mixed(np.mean([self._voices.of(path).emotion for path in paths], 0))

    def _own_voice_at(self, time: float) -> Prior:
        """Offset of the speech's own voice, interpolated linearly between its seconds."""
        if self._curves is None:
            voice = self._voices.of(self._own_voice.path)
            spoken = [moment for moment in voice.curve if moment.embedding is not None]
            offsets = [self._mixed(moment.emotion) for moment in spoken]
            if not spoken:  # silence is neutral
                offsets = [np.zeros_like(self._priors[NEUTRAL])]
            times = np.array([moment.time for moment in spoken] or [0.0])
            self._curves = (times, np.stack(offsets))
        return interpolate_rows(np.array([time]), *self._curves)[0]

    def _mixed(self, shares: npt.NDArray[np.float32]) -> Prior:
        out = np.zeros_like(self._priors[NEUTRAL])
        for name, share in zip(VOICE_EMOTIONS, shares.tolist(), strict=True):
            if name in self._priors:
                out += np.float32(share) * self._offset(name)
        return out

    def _embedded(self, path: Path, embed: Embed) -> Prior:
        if path not in self._offsets:
            samples = self._own_voice.samples if path == self._own_voice.path else None
            self._offsets[path] = embed(path, samples) - self._priors[NEUTRAL]
        return self._offsets[path]
