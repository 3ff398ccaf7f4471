"""Emotion semantic vectors, and their transfer to expressions along a clip (sections 3.1, 3.2).

The paper's vector is the difference between two speech embeddings. mien adds the difference in
valence, arousal and dominance: the embedding separates the emotions it was trained on but says
little about how they relate, which is what a connector needs to place an emotion whose face was
not in its training data (see docs/voices.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mien.speech.listener import Listener, affect_of

Vector = npt.NDArray[np.float32]
"""``float32 (E + 3,)``."""

Codes = npt.NDArray[np.floating[Any]]
"""Expression codes or differences, ``(T, D)``."""

Connect = Callable[[Codes, Codes, Codes], Codes]
"""``(reference (5, D), speech (S,), expression (5, D)) -> difference (5, D)``."""

WINDOW: Final = 5
"""Frames that a connector processes at once."""

EMBEDDING_GAIN: Final = 1.2
AFFECT_GAIN: Final = 12.0
"""Weights in the vector; affect dominates because it generalises to unseen emotions."""

_TEMPERATURE: Final = 1.5
"""Softens the listener's probabilities, so that affect averages over several likely emotions."""


@dataclass(frozen=True, slots=True)
class Voice:
    """The sound of a voice, averaged over recordings.

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
    """Compute the weighted difference from a neutral voice, ``float32 (E + 3,)``."""
    return np.concatenate(
        [
            EMBEDDING_GAIN * (emotional.embedding - neutral.embedding),
            AFFECT_GAIN * (emotional.affect - neutral.affect),
        ]
    ).astype(np.float32)


def transfer(connect: Connect, vector: Codes, expression: Codes) -> Codes:
    """Predict expression differences along a clip.

    Windows of five frames follow each other; the difference of one is the reference of the next
    (zeros before the first), as published. Unlike in the published code no frame is dropped or
    mirrored: the last window is padded by repeating the last frame, and the result is cut.

    Args:
        connect: the connector.
        vector: emotion semantic vector ``(S,)``.
        expression: codes ``(T, D)``, T >= 1.

    Returns:
        ``(T, D)``.
    """
    length = len(expression)
    padded = np.concatenate([expression, np.repeat(expression[-1:], -length % WINDOW, axis=0)])
    reference = np.zeros_like(padded[:WINDOW])
    parts = []
    for start in range(0, len(padded), WINDOW):
        reference = connect(reference, vector, padded[start : start + WINDOW])
        parts.append(reference)
    return np.concatenate(parts)[:length]
