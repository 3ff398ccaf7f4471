"""Cached clips (``mien features --engine svd``): latents, what is heard, seen and felt.

A file ``NAME.npz`` has, at 12.5 frames a second:

- ``latents`` ``float16 (T, 4, h, w)``, times the scaling factor;
- ``clips`` ``float16 (R, C)`` and ``at`` ``int (R,)``: CLIP tokens of some frames that may be the
  reference, and which these are;
- ``heard`` ``float16 (S, 5, C)``: Whisper's hidden states, 50 a second;
- ``mask`` ``uint8 (H, W)``: where the face is, 0 or 255;
- ``face`` ``float32 (T, D)``: action units; ``voice`` ``float32 (V, E)``: emotion2vec's frames.

MEAD's folders (``ID/.../EMOTION/level_N/NNN.npz``) say who feels what; files elsewhere (HDTF) say
nothing: their feeling is what an embedder makes of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.datasets.mead import EMOTIONS
from mien.errors import InputError

Array = npt.NDArray[np.float32]

NEUTRAL: Final = "neutral"
LEVELS: Final = 3
CLASSES: Final = 1 + LEVELS * (len(EMOTIONS) - 1)
"""Neutral, and seven emotions at three levels: 22."""

UNKNOWN: Final = -1
PARTS: Final = ("latents", "clips", "at", "heard", "mask", "face", "voice")


@dataclass(frozen=True, slots=True)
class ClipLabel:
    """Who feels what in a cached clip.

    Attributes:
        path: of the file.
        person: MEAD's name; the file's own elsewhere.
        emotion: MEAD's name; empty where nobody said.
        level: 1 to 3; 1 for neutral.
    """

    path: Path
    person: str
    emotion: str
    level: int

    @property
    def label(self) -> int:
        """Class of the discriminator, 0 for neutral; -1 where nobody said."""
        if not self.emotion:
            return UNKNOWN
        if self.emotion == NEUTRAL:
            return 0
        others = [name for name in EMOTIONS if name != NEUTRAL]
        return 1 + LEVELS * others.index(self.emotion) + self.level - 1


def find_clips(folder: Path) -> list[ClipLabel]:
    """Every cached clip under ``folder``, in order of paths.

    Raises:
        InputError: when there is none.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; make it with mien features --engine svd.")
    found = [_labelled(path, folder) for path in sorted(folder.rglob("*.npz"))]
    if not found:
        raise InputError(f"There is no cached clip (*.npz) under {folder}.")
    return found


def _labelled(path: Path, root: Path) -> ClipLabel:
    parts = path.relative_to(root).parts
    if len(parts) >= 4 and parts[-3] in EMOTIONS and parts[-2].startswith("level_"):
        number = parts[-2].removeprefix("level_")
        if number.isdigit() and 1 <= int(number) <= LEVELS:
            return ClipLabel(path, parts[0], parts[-3], int(number))
    return ClipLabel(path, path.stem, "", 1)


def load_parts(path: Path, *names: str) -> dict[str, npt.NDArray[np.generic]]:
    """Some arrays of a cached clip.

    Raises:
        InputError: when one is missing or not finite.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            out = {name: stored[name] for name in names}
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is no cached clip ({error}); make it again.") from error
    for name, values in out.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise InputError(f"{path}: {name} holds values that are no numbers; make it again.")
    return out
