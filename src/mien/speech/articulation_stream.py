"""Articulation of a voice that arrives piece by piece, a quarter of a second behind it."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from mien.media.audio import Samples
from mien.speech.analysis import Articulation
from mien.speech.articulation import (
    EASE,
    LOOK_AHEAD,
    LOUD,
    NAMES,
    PAST,
    Articulator,
    at_level,
    gain_at,
    speaking,
    stress,
)
from mien.speech.features import (
    CONTEXT_ROWS,
    FEATURES,
    HOP,
    MELS,
    SILENT,
    Features,
    features,
    loudness,
)

_LATER: Final = LOOK_AHEAD + EASE
"""Rows beyond its own that a code waits for: those the net sees, and the fading of speech."""

_HELD: Final = 512
"""Rows that stay in memory: what the net and the stress of a phrase look back on."""

_STEP: Final = 0.02
_LOWEST, _HIGHEST = -3.0, 3.0
"""Levels that are counted, and how finely."""

_USUAL_LEVEL: Final = -0.2
"""Loudest tenth of usual recordings: what is expected of a voice before it is known."""

_EXPECTED_ROWS: Final = 20
"""Rows that the expectation counts for."""

_VOICED: Final = 0.3


class ArticulationStream:
    """Predicts articulation while a voice arrives.

    The level of the voice is estimated on the way, so that codes differ a little from those of
    :meth:`Articulator.articulate`, which knows the whole voice.
    """

    def __init__(self) -> None:
        self._articulator = Articulator()
        self._samples = np.zeros(0, np.float32)
        self._lead = 0  # rows at the start of the samples that were computed before
        self._rows = np.zeros((0, FEATURES), np.float32)
        self._first = 0  # number of the first row in memory
        self._done = 0  # rows whose codes were returned
        self._levels = np.zeros(round((_HIGHEST - _LOWEST) / _STEP), np.int64)
        self._levels[self._bins(np.full(1, _USUAL_LEVEL))] = _EXPECTED_ROWS
        self._quietest = np.inf
        self._spoken = False

    def feed(self, samples: Samples, *, last: bool = False) -> Articulation:
        """Take the next samples, ``float32 (N,)`` at 16 kHz; return what they complete.

        Args:
            samples: of any number.
            last: whether the voice ends here; nothing can be fed after it.
        """
        held = np.concatenate([self._samples, samples.astype(np.float32)])
        complete = -(-len(held) // HOP) if last else len(held) // HOP - CONTEXT_ROWS
        if complete > self._lead:
            self._take(features(held)[self._lead : complete])
            self._samples = held[max(0, complete - CONTEXT_ROWS) * HOP :]
            self._lead = min(complete, CONTEXT_ROWS)
        else:
            self._samples = held
        end = self._first + len(self._rows)
        until = max(self._done, (end if last else end - _LATER) // 2 * 2)
        out = self._articulated(self._done, until)
        self._done = until
        drop = max(0, self._done - _HELD - self._first)
        self._rows, self._first = self._rows[drop:], self._first + drop
        return out

    def _take(self, rows: Features) -> None:
        level = loudness(rows)
        np.add.at(self._levels, self._bins(level[level > SILENT]), 1)
        self._quietest = min(self._quietest, float(rows[:, :MELS].min()))
        self._spoken |= bool((rows[level > SILENT, MELS + 1] > _VOICED).any())
        self._rows = np.concatenate([self._rows, rows])

    def _articulated(self, start: int, stop: int) -> Articulation:
        """Return codes and stress of the rows from ``start`` to ``stop``, both even."""
        count = stop - start
        if count == 0 or not self._spoken:
            rest = np.zeros((count // 2, len(NAMES)), np.float32)
            return Articulation(rest, np.zeros(count, np.float32))
        gain = gain_at(np.float64(self._loud()))
        first = max(self._first, start - PAST) // 2 * 2
        seen = self._rows[first + LOOK_AHEAD - self._first : stop + LOOK_AHEAD - self._first]
        seen = at_level(seen, gain)
        beyond = np.zeros((max(0, stop - first - len(seen)), FEATURES), np.float32)
        beyond[:, :MELS] = self._quietest - gain
        codes = self._articulator.run(np.concatenate([seen, beyond]))[(start - first) // 2 :]
        level = loudness(at_level(self._rows, gain))
        here = slice(start - self._first, stop - self._first)
        share = speaking(level)[here]
        own = (codes[: count // 2] * share[::2, None]).astype(np.float32)
        return Articulation(own, stress(loudness(self._rows))[here])

    def _loud(self) -> float:
        """Return the level that a tenth of the voice so far exceeds."""
        share = np.cumsum(self._levels) / self._levels.sum()
        return float(_LOWEST + _STEP * (np.searchsorted(share, LOUD) + 0.5))

    @staticmethod
    def _bins(level: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        most = round((_HIGHEST - _LOWEST) / _STEP) - 1
        out: npt.NDArray[np.int64] = np.clip((level - _LOWEST) / _STEP, 0, most).astype(np.int64)
        return out
