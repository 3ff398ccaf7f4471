"""The face beside the voice: what somebody in a clip expresses while speaking (mode V).

DICE-Talk (arXiv 2504.18087) embeds the voice and the face of a clip together. On a few hundred
recordings, attention over both overfits; this module multiplies the evidence of two readers that
were trained apart instead (``docs/talking.md``): the listener for the voice, and for the face a
small net on action units. The net was trained on people who speak, so that it takes a moving mouth
for speech. :mod:`mien.face.expression` is another reader, which measures pictures and never helps
to draw them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mien.face.facs import INDEX, OPENFACE_UNITS, PAIRED, Expression, read_landmarks
from mien.face.topology import Landmarks
from mien.speech.listener import VOICE_EMOTIONS
from mien.weights.bundled import open_arrays, open_net

Array = npt.NDArray[np.float32]

FACE_EMOTIONS: Final = ("neutral", "happy", "sad", "angry", "surprised", "fear", "disgusted")
"""Labels of the net."""

_NOT_READ: Final = ("6", "9", "25")
"""Units of OpenFace's that :func:`mien.face.facs.read_landmarks` does not read."""

FACE_UNITS: Final = tuple(unit for unit in OPENFACE_UNITS if unit not in _NOT_READ)
"""Action units that the net sees, both sides together."""

_SAME_UNIT: Final = {"45": "43"}
"""Blinks, by the name of the same unit among the rig's."""

SAME_FACE: Final = {"calm": "neutral"}
"""Labels of the listener that look like one of the net's."""

_LEAST_FRAMES: Final = 5
"""Frames with a face below which a clip says nothing about it."""

_TINY: Final = 1e-6


class SpeakingFaceReader:
    """Reads what faces express while they speak, with the bundled net.

    Raises:
        WeightsError: when it is missing or damaged.
    """

    def __init__(self) -> None:
        self._net = open_net("dice_face.onnx")
        self.neutral: Array = open_arrays("dice_face.npz")["neutral"]

    def odds(self, units: Array, neutral: Array | None = None) -> Array:
        """Return the probabilities of ``FACE_EMOTIONS``, ``float32 (7,)``.

        Args:
            units: typical units of a clip (:func:`typical_units`).
            neutral: those of the same person speaking neutrally; of many people by default.
        """
        change = units - (self.neutral if neutral is None else neutral)
        out: Array = self._net.run(None, {"change": change[None].astype(np.float32)})[0][0]
        return out


def typical_units(faces: Iterable[Landmarks]) -> Array | None:
    """Return the median action units ``float32 (14,)`` of a face in frames of a clip.

    None where it is in too few frames.
    """
    seen = [read_landmarks(face) for face in faces]
    return None if len(seen) < _LEAST_FRAMES else np.median(both_sides(np.stack(seen)), 0)


def both_sides(readings: Expression) -> Array:
    """Return the net's units ``(..., 14)`` of readings ``(..., D)``: means of left and right."""
    columns = []
    for name in FACE_UNITS:
        unit = _SAME_UNIT.get(name, name)
        sides = (f"{unit}L", f"{unit}R") if unit in PAIRED else (unit,)
        columns.append(readings[..., [INDEX[side] for side in sides]].mean(-1))
    return np.stack(columns, -1).astype(np.float32)


def with_face(voice: npt.NDArray[np.floating[Any]], face: npt.NDArray[np.floating[Any]]) -> Array:
    """Multiply the evidence of a voice and a face.

    Args:
        voice: probabilities of ``VOICE_EMOTIONS``, ``(..., 16)``.
        face: probabilities of ``FACE_EMOTIONS`` ``(..., 7)``. It says nothing about the listener's
            other labels.

    Returns:
        Probabilities of ``VOICE_EMOTIONS``, ``float32``.
    """
    known = [SAME_FACE.get(name, name) for name in VOICE_EMOTIONS]
    columns = [
        face[..., FACE_EMOTIONS.index(name)] * len(FACE_EMOTIONS)
        if name in FACE_EMOTIONS
        else np.ones(face.shape[:-1])
        for name in known
    ]
    product = (voice + _TINY) * np.stack(columns, -1)
    out: Array = (product / product.sum(-1, keepdims=True)).astype(np.float32)
    return out
