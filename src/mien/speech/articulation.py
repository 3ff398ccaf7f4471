"""How a voice moves the mouth: the articulation code, and the small net that hears it.

The code says in seven numbers how the lower face differs from the same person's face at rest, in
eye distances of the head's own frame. ``assets/articulation.npz`` knows how all landmarks go along
with each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.media.audio import Samples
from mien.speech.features import MELS, Features, features
from mien.weights.bundled import open_net

NAMES: Final = ("opening", "width", "jaw", "upper lip", "lower lip", "protrusion", "lip thickness")
"""Entries of the code: lip gap, distance of the mouth's corners, height of the chin, rise of the
upper and fall of the lower lip, how far the lips come forward, height of both lips' red."""

CODE_RATE: Final = 50
"""Codes per second."""

LOOK_AHEAD: Final = 16
"""Rows of features (10 ms each) that a code sees beyond its own time: mouths lead the sound."""

Code = npt.NDArray[np.float32]
"""``float32 (T, 7)``, eye distances."""

_LOUD: Final = 0.9
"""Quantile of the level that a voice is brought to."""

_LEVEL: Final = 0.3
_SHORTEST: Final = 2
_CHUNK: Final = 1500
"""Rows of features the net sees at once: bounds its memory."""

_PAST: Final = 150
"""Rows before a piece that its codes still depend on."""

_SILENT: Final = -1.65
"""Level of the loudest row, in the features' unit, under which nobody speaks (some -60 dB)."""

_LEAST_VOICED: Final = 0.03
"""Share of voiced rows under which what is heard is no voice."""

_QUIET: Final = (-1.25, -0.85)
"""Level below the voice's own between which speech fades into silence."""

_VOICED: Final = 0.3
_EASE: Final = 7
"""Rows (70 ms) over which silence stills the mouth."""


def levelled(rows: Features) -> Features:
    """Features with the voice at the net's level, as it was trained."""
    out = rows.astype(np.float32).copy()
    if len(out):
        out[:, :MELS] -= np.quantile(out[:, :MELS].mean(1), _LOUD) - _LEVEL
    return out


class Articulator:
    """Hears what the mouth does.

    Args:
        folder: of ``articulator.onnx``; the shipped one by default.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._net = open_net("articulator.onnx", folder=folder)

    def listen(self, samples: Samples) -> Code:
        """Articulation codes of a voice, 50 per second; silence is the face at rest, exactly.

        Args:
            samples: ``float32 (samples,)``, 16 kHz mono.
        """
        return self.follow(features(samples))

    def follow(self, rows: Features) -> Code:
        """As :meth:`listen`, of a voice's features ``float32 (R, 82)``."""
        count = len(rows) // 2
        if count == 0:
            return np.zeros((0, len(NAMES)), np.float32)
        voiced = float((rows[:, MELS + 1] > _VOICED).mean())
        if float(rows[:, :MELS].mean(1).max()) < _SILENT or voiced < _LEAST_VOICED:
            return np.zeros((count, len(NAMES)), np.float32)
        level = levelled(rows)
        codes = np.concatenate(list(self._pieces(level)))[:count]
        return (codes * _speaking(level)[: 2 * count : 2, None]).astype(np.float32)

    def _pieces(self, rows: Features) -> Iterator[Code]:
        """Codes of pieces that overlap by what the net remembers."""
        silence = rows[:, :MELS].min()
        ahead = np.full((LOOK_AHEAD, rows.shape[1]), silence, np.float32)
        ahead[:, MELS:] = 0
        padded = np.concatenate([rows[: len(rows) // 2 * 2], ahead])
        for start in range(0, len(rows) // 2 * 2, _CHUNK):
            first = max(0, start - _PAST)
            piece = padded[first + LOOK_AHEAD : start + _CHUNK + LOOK_AHEAD]
            said = self._net.run(None, {"rows": piece[None]})[0][0]
            yield said[(start - first) // 2 :]


def _speaking(level: Features) -> npt.NDArray[np.float32]:
    """1 where somebody speaks, 0 in pauses, soft between, per row."""
    loud = level[:, :MELS].mean(1) - _LEVEL
    heard = np.clip((loud - _QUIET[0]) / (_QUIET[1] - _QUIET[0]), 0, 1)
    # The mouth opens before the sound and closes after it.
    wide = np.lib.stride_tricks.sliding_window_view(
        np.pad(heard, (_EASE, LOOK_AHEAD)), _EASE + LOOK_AHEAD + 1
    ).max(1)
    kernel = np.hanning(2 * _EASE + 3)[1:-1]
    soft = np.convolve(np.pad(wide, _EASE, mode="edge"), kernel / kernel.sum(), mode="valid")
    return soft.astype(np.float32)


def code_at(codes: Code, times: Iterable[float]) -> Code:
    """Codes at any times (seconds), by line between; held beyond the ends."""
    known = (np.arange(len(codes)) + 0.5) / CODE_RATE
    wanted = np.fromiter(times, float)
    if not len(codes):
        return np.zeros((len(wanted), len(NAMES)), np.float32)
    columns = [np.interp(wanted, known, column) for column in codes.T]
    return np.stack(columns, 1).astype(np.float32)
