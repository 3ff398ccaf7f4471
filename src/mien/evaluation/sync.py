"""Whether lips and sound belong together, by mien's own sync net (assets/sync.md)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.face.crop import speech_crops
from mien.face.topology import Landmarks
from mien.media.audio import Samples
from mien.media.frame import Image
from mien.speech.articulation import levelled
from mien.speech.features import MELS, features
from mien.speech.lip_sync import MOUTH_PIXELS, Sync, agreement, surrounded
from mien.weights.bundled import open_net

Mouths = npt.NDArray[np.uint8]
"""Mouth and chin in grey, ``uint8 (T, 48, 48)``, 25 per second."""

FEWEST_FRAMES = 12
"""Frames below which there is too little to compare."""


def mouths_of(images: Sequence[Image], landmarks: Sequence[Landmarks]) -> Mouths:
    """Cut mouth and chin out of pictures of one person, 25 per second.

    Args:
        images: RGB ``uint8 (H, W, 3)`` each.
        landmarks: ``(478, 3)`` each, pixels.
    """
    crops = speech_crops(np.stack(landmarks))
    cut = [
        crop.cut(image, MOUTH_PIXELS, replicate_edges=True)
        for image, crop in zip(images, crops, strict=True)
    ]
    return np.stack([cv2.cvtColor(mouth, cv2.COLOR_RGB2GRAY) for mouth in cut])


class SyncNet:
    """Compares lips with sound.

    Args:
        folder: where ``sync.onnx`` is; None: bundled with the package.

    Raises:
        WeightsError: when it is missing or damaged.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._net = open_net("sync.onnx", folder=folder)

    def offset(self, mouths: Mouths, sound: Samples) -> Sync:
        """Find the offset of a clip, its confidence and the distance there.

        Definitions are those of SyncNet (Chung & Zisserman 2016), in this net's own space: figures
        of other nets cannot be compared with them.

        Args:
            mouths: of :func:`mouths_of`.
            sound: 16 kHz mono, from the first frame on.

        Raises:
            InputError: for pictures of another form.
        """
        if mouths.ndim != 3 or mouths.shape[1:] != (MOUTH_PIXELS, MOUTH_PIXELS):
            raise InputError(
                f"Mouths must be an array (T, {MOUTH_PIXELS}, {MOUTH_PIXELS}); got {mouths.shape}."
            )
        rows = levelled(features(sound))[:, :MELS]
        if min(len(mouths), len(rows) // 4) < FEWEST_FRAMES:
            return Sync(float("nan"), float("nan"), 0)
        pictures = mouths[None].astype(np.float32) / 255
        lips, sounds = self._net.run(None, {"mouths": pictures, "rows": rows[None]})
        return agreement(lips[0], surrounded(sounds[0], lips.shape[1]))
