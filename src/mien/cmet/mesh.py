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
from mien.face.facs import ACTION_UNITS, INDEX, RECIPES, Expression, expression
from mien.weights.bundled import open_net

_SETTLING_FRAMES: Final = 10
"""Frames of a constant face after which the connector's output has settled: two windows."""

_MAX_STRENGTH: Final = 1.6

# Sharpening. Similarities are cosines to the nearest prototype; lengths are Euclidean norms.
_SHARPNESS: Final = 14.0
"""How fast the second nearest prototype loses weight, per unit of cosine."""

_UNCLEAR, _CLEAR = 0.35, 0.7
"""Similarities at which an expression begins to move, and moves most."""

_MAX_PULL: Final = 0.8
"""Weight of the prototypes in a clear expression."""

_WEAK, _STRONG = 0.75, 1.15
"""Lengths of a sharpened expression, relative to its prototype, for weak and strong predictions."""

_STRONG_PREDICTION: Final = 1.2
"""Length of a strong prediction, relative to its prototype."""

_NOISE, _SIGNAL = 0.45, 1.2
"""Lengths up to which a prediction is no more than neutral voices give, and from which it counts
fully."""

_FAINT_SNEER, _SNEER_RANGE = 0.3, 0.5
"""Lip raises below the first are suppressed (they would bare the teeth); they fade in over the
second."""

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

    def expression(self, vector: Vector) -> Expression:
        """Predict the expression for the mesh engine, ``float32 (D,)``; none for a neutral voice.

        The part that all emotional speech has in common, which the connector also outputs for a
        zero vector, is subtracted.
        """
        return self.decode(self.difference(vector) - self._common)

    def decode(self, difference: Array) -> Expression:
        """Convert a difference in code units ``(17,)`` to sharpened rig action units."""
        sharpened = sharpen(difference @ self._decoder)
        return np.clip(sharpened, -_MAX_STRENGTH, _MAX_STRENGTH).astype(np.float32)

    def _connect(self, reference: Codes, vector: Codes, code: Codes) -> Codes:
        feed = {
            "reference": reference[None],
            "speech": vector[None, None],
            "expression": code[None],
        }
        out: Codes = self._session.run(None, {k: np.float32(v) for k, v in feed.items()})[0][0]
        return out


def sharpen(expression: Expression) -> Expression:
    """Pull a predicted expression ``float32 (D,)`` toward the nearest prototype.

    A connector predicts a mean over what a voice may express. Such means are faint mixtures, while
    real expressions are near one of a few prototypes. A prediction that is clearly near a
    prototype moves toward it; one that is near none keeps its direction.
    """
    length = float(np.linalg.norm(expression))
    if length < 1e-6:
        return expression
    prototypes, lengths = _prototypes()
    similarity = prototypes @ expression / length
    clear = float(np.clip((similarity.max() - _UNCLEAR) / (_CLEAR - _UNCLEAR), 0, 1))
    weights = np.exp(_SHARPNESS * (similarity - similarity.max()))
    weights = weights / weights.sum()
    usual = float(weights @ lengths)
    strength = float(np.clip(length / usual / _STRONG_PREDICTION, 0, 1))
    size = usual * (_WEAK + (_STRONG - _WEAK) * strength)
    ideal = weights @ prototypes * size
    pull = _MAX_PULL * clear
    signal = float(np.clip((length - _NOISE) / (_SIGNAL - _NOISE), 0, 1))
    signal *= signal * (3 - 2 * signal)
    out = (signal * ((1 - pull) * expression + pull * ideal)).astype(np.float32)
    for name in ("10L", "10R"):
        raised = float(out[INDEX[name]])
        out[INDEX[name]] *= np.clip((raised - _FAINT_SNEER) / _SNEER_RANGE, 0, 1)
    return out


@lru_cache(maxsize=1)
def _prototypes() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the prototypes as unit vectors ``(N, D)``, and their lengths ``(N,)``."""
    faces = np.stack([face for name, face in PROTOTYPES.items() if name != "neutral"])
    lengths = np.linalg.norm(faces, axis=1)
    return faces / lengths[:, None], lengths
