"""C-MET for the mesh engine: from a semantic vector to rig action units."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.cmet.semantic import Codes, Vector, Voice, transfer
from mien.errors import WeightsError
from mien.face.facs import ACTION_UNITS, INDEX, NAMED, RECIPES, Expression, expression
from mien.speech.listener import VOICE_EMOTIONS
from mien.utils.numeric import smoothstep
from mien.weights.bundled import open_net

_SETTLING_FRAMES: Final = 10
"""Frames of a constant face after which the connector's output has settled: two windows."""

_MAX_STRENGTH: Final = 2.0

CHOICE: Final = 3.0
"""Power of the probabilities that weigh the faces of labels: mixtures of faces that exclude each
other look like none of them."""

_DOUBTFUL, _SURE = 0.1, 0.5
"""Leads of the likeliest label over the second, in probability, at which an expression is smallest,
and as strong as the named emotion."""

_LEAST: Final = 0.3
"""Size of an expression from a doubtful voice."""

_DETAIL: Final = 0.2
"""Weight of the connector's prediction beside the faces of labels."""

_FAINT_SNEER, _SNEER_RANGE = 0.3, 0.5
"""Predicted lip raises below the first are suppressed (they would bare the teeth); they fade in
over the second."""

_SPEAKING: Final = MappingProxyType(
    {
        "surprised": {"1": 0.8, "2": 1.6, "5": 1.4, "24": 0.1, "25": 0.2, "26": 0.9},
        "disgusted": {"4": 0.4, "9": 1.4, "10": 1.8, "15": 0.5, "17": 1.0, "25": 0.2},
    }
)
"""Faces of labels that are read as others while the mouth speaks: brows that rise most at the inner
end look sad, and a wrinkled nose with tight lids looks angry."""

_CALM: Final = MappingProxyType({"12": 0.15, "43": 0.12})
"""This project's estimate."""

Array = npt.NDArray[np.float32]

PROTOTYPES: Final[Mapping[str, Expression]] = MappingProxyType(
    {
        **{name: recipe.expression() for name, recipe in RECIPES.items()},
        "angry": expression({"4": 1.2, "5": 0.15, "7": 0.9, "23": 0.7, "24": 0.25}),
        "fear": expression(
            {"1": 1.55, "2": 0.4, "4": 0.3, "5": 1.35, "20": 1.25, "25": 0.5, "26": 0.2}
        ),
        "disgusted": expression({"9": 1.0, "10": 0.95, "4": 0.9, "7": 0.5, "15": 0.1}),
    }
)
"""Typical expressions of speakers, which the decoder is fitted to. The recipes of anger, fear and
disgust also move the mouth, which speech needs for itself."""


class MeshConnector:
    """The bundled connector and its decoder to rig action units.

    Args:
        folder: of ``connector.onnx`` and ``connector.npz``; the bundled ones by default.

    Raises:
        WeightsError: when one is missing or damaged.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        place = files("mien") / "assets" if folder is None else Path(folder)
        for name in ("connector.onnx", "connector.npz"):
            if not (place / name).is_file():
                raise WeightsError(f"The net {name} is missing ({place}); install mien again.")
        self._session = open_net("connector.onnx", folder=folder)
        with (place / "connector.npz").open("rb") as file:
            stored = dict(np.load(file, allow_pickle=False))
        self.neutral_face: Array = stored["neutral_face"]
        self._decoder: Array = stored["decoder"]
        self.neutral_voice = Voice(stored["neutral_embedding"], stored["neutral_affect"])
        self._common: Array = stored["common"]
        if self._decoder.shape != (len(self.neutral_face), len(ACTION_UNITS)):
            raise WeightsError("connector.npz does not fit this version; install mien again.")

    def difference(self, vector: Vector, face: Array | None = None) -> Array:
        """Predict the change of a face in code units, ``float32 (17,)``.

        Args:
            vector: emotion semantic vector.
            face: the initial code (see :mod:`mien.face.facs`); an average neutral face by
                default.
        """
        start = self.neutral_face if face is None else face
        out = transfer(self._connect, vector, np.repeat(start[None], _SETTLING_FRAMES, 0))
        return out.mean(0).astype(np.float32)

    def expression(self, vector: Vector, odds: Array, *, speaking: bool = False) -> Expression:
        """Predict the expression for the mesh engine, ``float32 (D,)``.

        The faces of what the listener names, and around them what the connector predicts. They
        agree better with real faces together than each alone (``docs/voices.md``). A voice that
        is named surely gives an expression as strong as the named emotion, an uncertain one a
        smaller one.

        Args:
            vector: emotion semantic vector.
            odds: probabilities of ``VOICE_EMOTIONS``.
            speaking: the face speaks, which needs other strengths around the mouth.
        """
        named = odds**CHOICE / (odds**CHOICE).sum()
        moved = float(named @ _emotional())
        face = named @ _faces(speaking)
        detail = _DETAIL * moved * self.decode(vector)
        # It varies the face and does not enlarge it: strong emotions would become grimaces.
        out = face + detail - max(float(detail @ face), 0) / max(float(face @ face), 1e-6) * face
        second, first = np.sort(odds)[-2:].tolist()
        share = np.clip((first - second - _DOUBTFUL) / (_SURE - _DOUBTFUL), 0, 1)
        size = _LEAST + (1 - _LEAST) * smoothstep(share)
        return np.clip(size * out, -_MAX_STRENGTH, _MAX_STRENGTH).astype(np.float32)

    def decode(self, vector: Vector) -> Expression:
        """Predict the expression that the connector alone gives, ``float32 (D,)``.

        The part that all emotional speech has in common, which it also outputs for a zero vector,
        is subtracted.
        """
        out = (self.difference(vector) - self._common) @ self._decoder
        for name in ("10L", "10R"):
            raised = float(out[INDEX[name]])
            out[INDEX[name]] *= np.clip((raised - _FAINT_SNEER) / _SNEER_RANGE, 0, 1)
        return np.clip(out, -_MAX_STRENGTH, _MAX_STRENGTH).astype(np.float32)

    def _connect(self, reference: Codes, vector: Codes, code: Codes) -> Codes:
        feed = {
            "reference": reference[None],
            "speech": vector[None, None],
            "expression": code[None],
        }
        out: Codes = self._session.run(None, {k: np.float32(v) for k, v in feed.items()})[0][0]
        return out


@lru_cache(maxsize=2)
def _faces(speaking: bool) -> Array:
    """Return the face of every label of the listener, ``(len(VOICE_EMOTIONS), D)``."""
    known = {name: recipe.expression(speaking=speaking) for name, recipe in NAMED.items()}
    if speaking:
        known |= {name: expression(units) for name, units in _SPEAKING.items()}
    return np.stack([known.get(name, expression(_CALM)) for name in VOICE_EMOTIONS])


@lru_cache(maxsize=1)
def _emotional() -> Array:
    """Return 1 for every label that shows in a face, 0 for others."""
    return (np.abs(_faces(False)).sum(1) > 1).astype(np.float32)
