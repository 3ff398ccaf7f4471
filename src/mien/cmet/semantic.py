"""The emotion semantic vector: how a voice differs from a neutral one (section 3.1 of the paper).

The paper's vector is the difference of two speech embeddings. Ours has the listener's embedding
difference and, beside it, the difference in valence, arousal and dominance. The embedding alone
separates the emotions it was trained on but says little about how they relate; those three numbers
do, and carry what lets a connector place an emotion whose face it never saw (see docs/cmet.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.speech.listener import Listener, affect_of

Vector = npt.NDArray[np.float32]
"""``float32 (E + 3,)``."""

EMBEDDING_GAIN: Final = 1.2
AFFECT_GAIN: Final = 12.0
"""Affect weighs more: it is what carries over to emotions whose faces were never seen."""

_TEMPERATURE: Final = 1.5
"""Softens the listener's certainty: the mean of several likely emotions is the better guess."""


@dataclass(frozen=True, slots=True)
class Voice:
    """How somebody sounds, averaged over recordings.

    Attributes:
        embedding: mean of unit embeddings, ``float32 (E,)``.
        affect: mean valence, arousal and dominance, ``float32 (3,)``.
    """

    embedding: npt.NDArray[np.float32]
    affect: npt.NDArray[np.float32]


def voice_of(
    listener: Listener, embeddings: npt.NDArray[np.float32], weights: Sequence[float] | None = None
) -> Voice:
    """Average recordings given by their unit embeddings ``(N, E)``."""
    odds, _ = listener.classify(embeddings, temperature=_TEMPERATURE)
    return Voice(
        np.average(embeddings, axis=0, weights=weights).astype(np.float32),
        np.average(affect_of(odds), axis=0, weights=weights).astype(np.float32),
    )


def semantic_vector(emotional: Voice, neutral: Voice) -> Vector:
    """What has to be added to a neutral voice, ``float32 (E + 3,)``."""
    return np.concatenate(
        [
            EMBEDDING_GAIN * (emotional.embedding - neutral.embedding),
            AFFECT_GAIN * (emotional.affect - neutral.affect),
        ]
    ).astype(np.float32)
