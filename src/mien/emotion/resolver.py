"""What the engines' resolvers share: the checks of a request and its description in reports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.emotion.references import FaceReference, OwnVoice, Reference, check_files
from mien.emotion.request import (
    Emotion,
    Recognition,
    Request,
    RequestDescription,
    emotions_of,
    recognition,
    references_of,
    settled_times,
)
from mien.errors import InputError
from mien.media.audio import has_sound
from mien.speech.analysis import VoiceAnalysis, VoiceEmotions


class Resolver(ABC):
    """Turns a request into what an engine understands; every file is read once.

    Args:
        request: what is asked for.
        own_voice: voice of the clip, or the speech of a portrait; None where there is none.
    """

    def __init__(self, request: Request, own_voice: VoiceAnalysis | None = None) -> None:
        self._request, self._own_voice = request, own_voice
        self._voices = VoiceEmotions(own_voice)

    @abstractmethod
    def at(self, time: float) -> object:
        """Return what is wanted at ``time`` seconds."""

    def check(self) -> None:
        """Check the request, then resolve everything it refers to, before any work.

        Raises:
            InputError: for what the engine does not have, and for files that cannot be used.
            FaceNotFoundError: for a picture or clip of a face without one.
        """
        for emotion in emotions_of(self._request):
            self._check_emotion(emotion)
        for reference in references_of(self._request):
            self._check_reference(reference)
        for time in settled_times(self._request):
            self.at(time)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons why voices that were resolved are uncertain."""
        return self._voices.warnings

    def describe(self) -> RequestDescription:
        """Describe the request in plain values, for reports."""
        out = self._request.describe(None if self._own_voice is None else self._own_voice.path)
        heard: dict[str, Recognition] = {
            str(path): recognition(voice.likeliest, voice.confidence)
            for path, voice in self._voices.known.items()
        }
        if heard:
            out["heard"] = heard
        return out

    def _check_emotion(self, emotion: Emotion) -> None:  # noqa: B027 - the mesh has all
        """Refuse an emotion that the engine does not have."""

    def _check_reference(self, reference: Reference) -> None:
        """Check that the files of a reference are there, without decoding them."""
        check_files(reference.files)
        if isinstance(reference, OwnVoice):
            if self._own_voice is None:
                raise InputError("auto follows a clip's own voice; here there is no clip.")
            if not self._own_voice.has_sound:
                raise InputError(
                    f"{self._own_voice.path} has no sound: there is no voice to follow. Name an "
                    "emotion, or use --like."
                )
        if not isinstance(reference, FaceReference):
            for path in reference.files:
                if not has_sound(path):
                    raise InputError(f"{path} has no sound in it.")

    def _needs_own_voice(self) -> bool:
        """Whether the request needs the clip's own voice, as ``auto`` or as one of its files."""
        path = None if self._own_voice is None else self._own_voice.path
        return any(isinstance(r, OwnVoice) or path in r.files for r in references_of(self._request))

    def _embeddings(self, files: Sequence[Path]) -> npt.NDArray[np.float32] | None:
        """Embeddings ``(N, E)`` of the voices in which somebody speaks; None where nobody does."""
        voices = [self._voices.of(path) for path in files]
        spoken = [voice.embedding for voice in voices if voice.has_speech]
        return np.stack(spoken) if spoken else None

    def _neutral_embeddings(self, files: Sequence[Path]) -> npt.NDArray[np.float32]:
        """Embeddings ``(N, E)`` of neutral voices; nobody may be silent in all of them."""
        embeddings = self._embeddings(files)
        if embeddings is None:
            raise InputError(f"Nobody speaks in {files[0]}; leave --neutral out to do without.")
        return embeddings


def refuse_units(emotion: Emotion, engine: str) -> None:
    """Refuse action units for the ``engine``, which has none."""
    if emotion.units:
        raise InputError(
            f"Action units belong to the mesh engine; {engine} takes names, voices and faces."
        )
