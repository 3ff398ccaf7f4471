"""Voices and faces as differences from the same person speaking plainly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.training.connector.data import Pairs

Array = npt.NDArray[np.float32]

AUDIO_GAIN: Final = 3.0
FACE_GAIN: Final = 0.12
"""Bring differences of embeddings, and of code units, to about one."""


@dataclass(frozen=True)
class Felt:
    """Recordings of faces that are known.

    Attributes:
        audio: ``(N, views, A)`` embedding and affect, minus the person's neutral mean.
        face: ``(N, 17)`` code units, minus the person's neutral mean.
        emotion, person: labels ``(N,)``, indices of ``emotions`` and ``people``.
        train: ``bool (N,)``.
        emotions, people: names.
    """

    audio: Array
    face: Array
    emotion: npt.NDArray[np.int64]
    person: npt.NDArray[np.int64]
    train: npt.NDArray[np.bool_]
    emotions: tuple[str, ...]
    people: tuple[str, ...]


def felt_of(pairs: Pairs) -> Felt:
    """Every recording whose face is known, relative to its speaker's neutral ones."""
    index = np.flatnonzero(pairs.seen)
    audio, face = pairs.voices[index].astype(np.float32), pairs.faces[index].astype(np.float32)
    speakers, feelings = pairs.speaker[index], pairs.emotion[index]
    for speaker in np.unique(speakers):
        own = speakers == speaker
        plain = own & (feelings == "neutral")
        if plain.any():
            audio[own] -= audio[plain].mean((0, 1))
            face[own] -= face[plain].mean(0)
    emotions, emotion = np.unique(feelings, return_inverse=True)
    people, person = np.unique(speakers, return_inverse=True)
    return Felt(
        AUDIO_GAIN * audio,
        FACE_GAIN * face,
        emotion.astype(np.int64),
        person.astype(np.int64),
        pairs.train[index],
        tuple(emotions.tolist()),
        tuple(people.tolist()),
    )


def face_tokens(face: Array) -> Array:
    """Action units ``(N, 17)`` as tokens ``(N, 17, 17)``: each unit is a frame of its own."""
    out = np.zeros((*face.shape, face.shape[1]), np.float32)
    units = np.arange(face.shape[1])
    out[:, units, units] = face
    return out
