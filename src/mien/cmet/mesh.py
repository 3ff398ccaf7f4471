"""From a semantic vector to a face the mesh engine can draw."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.cmet.semantic import Vector, Voice
from mien.cmet.sharpen import clarify
from mien.cmet.transfer import Codes, transfer
from mien.errors import WeightsError
from mien.face.facs import ACTION_UNITS, Expression
from mien.weights.bundled import open_net

_SETTLE: Final = 10
"""Frames a face is held so that the connector settles: two windows."""

MOST: Final = 1.6
"""Largest strength of an action unit."""

Array = npt.NDArray[np.float32]


class Expresser:
    """Turns emotion semantic vectors into expressions with the connector that ships with mien.

    Args:
        folder: of ``connector.onnx`` and ``connector.npz``; the shipped ones by default.

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
        """How a face changes: code units ``float32 (17,)`` of :mod:`mien.face.readers`.

        Args:
            vector: emotion semantic vector.
            face: the code it starts from; an average neutral face by default.
        """
        start = self.neutral_face if face is None else face
        out = transfer(self._connect, vector, np.repeat(start[None], _SETTLE, 0))
        return out.mean(0).astype(np.float32)

    def expression(self, vector: Vector) -> Expression:
        """The expression the mesh engine draws, ``float32 (D,)``; none for a neutral voice.

        Everybody who speaks with any feeling moves more than somebody who does not; that common
        part, which the connector gives for no difference in voice, is taken away.
        """
        return self.decode(self.difference(vector) - self._common)

    def decode(self, difference: Array) -> Expression:
        """Rig action units, both sides apart, of a difference in code units ``(17,)``."""
        return np.clip(clarify(difference @ self._decoder), -MOST, MOST).astype(np.float32)

    def _connect(self, reference: Codes, vector: Codes, code: Codes) -> Codes:
        feed = {
            "reference": reference[None],
            "speech": vector[None, None],
            "expression": code[None],
        }
        out: Codes = self._session.run(None, {k: np.float32(v) for k, v in feed.items()})[0][0]
        return out
