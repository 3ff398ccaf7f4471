"""Articulation: how a voice moves the mouth, 50 codes per second.

A code says in seven numbers how the lower face differs from the same person's neutral face, in eye
distances of the head's own frame. ``assets/articulation.npz`` holds how all landmarks move with
each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import Any, Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from mien.media.audio import Samples
from mien.speech.features import (
    FEATURES,
    FEATURES_PER_SECOND,
    MELS,
    SILENT,
    Chunk,
    Features,
    features,
    loudness,
)
from mien.utils.numeric import interpolate_rows
from mien.weights.bundled import open_net

NAMES: Final = ("opening", "width", "jaw", "upper lip", "lower lip", "protrusion", "lip thickness")
"""Entries of the code: lip gap, distance of the mouth's corners, height of the chin, rise of the
upper and fall of the lower lip, how far the lips come forward, height of both lips' red."""

CODES_PER_SECOND: Final = 50

LOOK_AHEAD: Final = 16
"""Rows of features (10 ms each) beyond its own time that a code depends on: mouths lead sound."""

Code = npt.NDArray[np.float32]
"""``float32 (T, 7)``, eye distances."""

LOUD: Final = 0.9
"""Quantile of the level that a voice is brought to."""

_LEVEL: Final = 0.3
_CHUNK: Final = 1500
"""Rows of features per run of the net: bounds its memory."""

PAST: Final = 150
"""Rows before a chunk that its codes still depend on."""

_LEAST_VOICED: Final = 0.03
"""Share of voiced rows below which the sound is no voice."""

_QUIET: Final = (-1.25, -0.85)
"""Level below the voice's own between which speech fades into silence."""

_VOICED: Final = 0.3
EASE: Final = 7
"""Rows (70 ms) over which the mouth comes to rest in silence."""

_STRESS_SECONDS: Final = (0.15, 1.5)
"""Spread of a syllable, and of the phrase whose level it is compared with."""

_STRESS_RANGE: Final = 0.35
_MEMORY: Final = 1 << 24
"""Bytes of features that stay in memory (eight minutes); longer voices go to a temporary file."""


class Rows(Protocol):
    """Features of a voice ``(R, 82)``, of which slices are read: an array or :class:`RowStore`."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> Features: ...


class RowStore:
    """Features of a voice of any length, kept in a temporary file beyond eight minutes.

    The articulator needs the loudest and quietest parts of the whole voice before its first code.
    """

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(_MEMORY)  # noqa: SIM115 - see close
        self._count = 0

    def close(self) -> None:
        """Release the memory and the file."""
        self._file.close()

    def feed(self, chunk: Chunk) -> None:
        """Append a chunk."""
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(chunk.rows, np.float32).tobytes())
        self._count += len(chunk.rows)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice, /) -> Features:
        start, stop, _ = part.indices(self._count)
        self._file.seek(4 * FEATURES * start)
        data = self._file.read(4 * FEATURES * max(0, stop - start))
        return np.frombuffer(data, np.float32).reshape(-1, FEATURES)


def levelled(rows: Features) -> Features:
    """Return features with the voice at the level the articulator was trained at."""
    if not len(rows):
        return rows.astype(np.float32)
    return at_level(rows, _gain(loudness(rows.astype(np.float32))))


class Articulator:
    """Predicts articulation codes from a voice, with the bundled net."""

    def __init__(self) -> None:
        self._net = open_net("articulator.onnx")

    def articulate(self, samples: Samples) -> Code:
        """Compute the codes of sound at 16 kHz; silence is the neutral face, exactly."""
        return self.follow(features(samples))

    def follow(self, rows: Rows) -> Code:
        """As :meth:`articulate`, from a voice's features ``float32 (R, 82)``."""
        count = len(rows) // 2
        if count == 0:
            return np.zeros((0, len(NAMES)), np.float32)
        level = loudness_of(rows)
        voiced = sum(int((part[:, MELS + 1] > _VOICED).sum()) for part in _parts(rows)) / len(rows)
        if float(level.max()) < SILENT or voiced < _LEAST_VOICED:
            return np.zeros((count, len(NAMES)), np.float32)
        gain = _gain(level)
        codes = np.concatenate(list(self._chunks(rows, gain)))[:count]
        level = np.concatenate([loudness(at_level(part, gain)) for part in _parts(rows)])
        return (codes * speaking(level)[: 2 * count : 2, None]).astype(np.float32)

    def run(self, rows: Features) -> Code:
        """Return the net's codes ``(R // 2, 7)`` of levelled rows, shifted by ``LOOK_AHEAD``."""
        codes: Code = self._net.run(None, {"rows": rows[None]})[0][0]
        return codes

    def _chunks(self, rows: Rows, gain: np.floating[Any]) -> Iterator[Code]:
        """Codes of chunks, each computed with the rows before it that the net depends on."""
        end = len(rows) // 2 * 2
        silence = min(float(at_level(part, gain)[:, :MELS].min()) for part in _parts(rows))
        for start in range(0, end, _CHUNK):
            first = max(0, start - PAST)
            low, high = first + LOOK_AHEAD, start + _CHUNK + LOOK_AHEAD
            part = at_level(rows[low : min(high, end)], gain)
            missing = max(0, min(high, end + LOOK_AHEAD) - max(low, end))
            beyond = np.zeros((missing, FEATURES), np.float32)
            beyond[:, :MELS] = silence
            codes = self.run(np.concatenate([part, beyond]))
            yield codes[(start - first) // 2 :]


def loudness_of(rows: Rows) -> npt.NDArray[np.float32]:
    """Compute the level of every row, ``float32 (R,)``, in the features' unit."""
    levels = [loudness(part) for part in _parts(rows)]
    return np.concatenate(levels) if levels else np.zeros(0, np.float32)


def stress(level: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute how much louder every syllable is than its phrase, 0..1, from :func:`loudness_of`."""
    if not len(level):
        return np.zeros(0, np.float32)
    near, far = (
        cv2.GaussianBlur(
            level[None], (0, 0), seconds * FEATURES_PER_SECOND, borderType=cv2.BORDER_REPLICATE
        )[0]
        for seconds in _STRESS_SECONDS
    )
    return np.clip((near - far) / _STRESS_RANGE, 0, 1).astype(np.float32)


def code_at(codes: Code, times: Iterable[float]) -> Code:
    """Interpolate codes linearly at any times (seconds); the ends hold beyond them."""
    wanted = np.fromiter(times, float)
    if not len(codes) or not len(wanted):
        return np.zeros((len(wanted), len(NAMES)), np.float32)
    low = min(max(int(wanted.min() * CODES_PER_SECOND) - 2, 0), len(codes) - 1)
    high = max(int(wanted.max() * CODES_PER_SECOND) + 3, low + 1)
    known = (np.arange(low, min(high, len(codes))) + 0.5) / CODES_PER_SECOND
    return interpolate_rows(wanted, known, codes[low:high])


def _parts(rows: Rows) -> Iterator[Features]:
    return (rows[start : start + 4 * _CHUNK] for start in range(0, len(rows), 4 * _CHUNK))


def gain_at(loud: np.floating[Any]) -> np.floating[Any]:
    """Return what to subtract from the bands of a voice to bring it to the net's level.

    Args:
        loud: level that a tenth of the voice exceeds.
    """
    out: np.floating[Any] = loud - _LEVEL
    return out


def _gain(level: npt.NDArray[np.float32]) -> np.floating[Any]:
    out: np.floating[Any] = gain_at(np.quantile(level, LOUD))
    return out


def at_level(rows: Features, gain: np.floating[Any]) -> Features:
    """Return features with ``gain`` taken from their bands."""
    out = rows.astype(np.float32).copy()
    out[:, :MELS] -= gain
    return out


def speaking(level: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return 1 where somebody speaks, 0 in pauses, soft between, per row of a levelled voice."""
    share = np.clip((level - _LEVEL - _QUIET[0]) / (_QUIET[1] - _QUIET[0]), 0, 1)
    # The mouth opens before the sound and closes after it.
    wide = np.lib.stride_tricks.sliding_window_view(
        np.pad(share, (EASE, LOOK_AHEAD)), EASE + LOOK_AHEAD + 1
    ).max(1)
    kernel = np.hanning(2 * EASE + 3)[1:-1]
    soft = np.convolve(np.pad(wide, EASE, mode="edge"), kernel / kernel.sum(), mode="valid")
    return soft.astype(np.float32)
