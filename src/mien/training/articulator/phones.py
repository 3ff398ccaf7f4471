"""Windows of speech whose phones are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mien.errors import InputError
from mien.speech.articulation import LOOK_AHEAD
from mien.speech.features import FEATURES
from mien.training.articulator.sampling import varied


class PhoneSampler:
    """Draws windows of speech with its phones.

    Args:
        path: what ``tools/label_phones.py`` wrote.
        batch, seconds: size of what is drawn.

    Raises:
        InputError: when the file cannot be read.
    """

    def __init__(self, path: Path, batch: int, seconds: float) -> None:
        try:
            with np.load(path, allow_pickle=False) as stored:
                self._rows, self._phones = stored["rows"], stored["phones"]
        except (OSError, KeyError, ValueError) as error:
            raise InputError(f"{path} holds no phones: {error}.") from error
        self._batch, self._length = batch, round(seconds * 50)
        if len(self._rows) < 2 * self._length + LOOK_AHEAD + 2:
            raise InputError(f"{path} holds less than {seconds} seconds of speech.")

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Rows ``(B, 2 T, 82)`` that begin ``LOOK_AHEAD`` late, and classes ``(B, T)``."""
        rows = np.empty((self._batch, 2 * self._length, FEATURES), np.float32)
        phones = np.empty((self._batch, self._length), np.int64)
        last = len(self._phones) - self._length - LOOK_AHEAD // 2
        for i in range(self._batch):
            start = int(rng.integers(last))
            first = 2 * start + LOOK_AHEAD
            rows[i] = varied(self._rows[first : first + 2 * self._length].astype(np.float32), rng)
            phones[i] = self._phones[start : start + self._length]
        return torch.from_numpy(rows), torch.from_numpy(phones)
