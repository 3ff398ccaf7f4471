"""Metric networks that the user brings, as ONNX files of a stated form."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.errors import InputError, WeightsError
from mien.media.frame import RGBImage
from mien.weights.bundled import open_net

Array = npt.NDArray[np.float32]

_BATCH: Final = 16


class MetricNet:
    """A net with one input and one output, the first axis the batch.

    Args:
        path: ONNX file.
        what: for errors.
        dimensions: of the input.

    Raises:
        InputError: when there is no such file.
        WeightsError: when it has another form.
    """

    def __init__(self, path: str | Path, what: str, dimensions: int) -> None:
        path = Path(path)
        if not path.is_file():
            raise InputError(f"There is no {what} {path}.")
        self._net = open_net(path.name, folder=path.parent, threads=0)
        inputs = self._net.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != dimensions:
            raise WeightsError(
                f"The {what} {path} should take one array of {dimensions} axes; it takes "
                f"{[(one.name, one.shape) for one in inputs]}."
            )
        self._name = inputs[0].name
        self.shape = tuple(inputs[0].shape)

    def side(self, usual: int) -> int:
        """Side of the pictures it takes; ``usual`` where the file leaves it open."""
        last = self.shape[-1]
        return last if isinstance(last, int) else usual

    def __call__(self, values: Array) -> Array:
        """Outputs ``(N, ...)`` of inputs ``(N, ...)``, in batches the net accepts."""
        fixed = self.shape[0]
        size = fixed if isinstance(fixed, int) else _BATCH
        parts = []
        for start in range(0, len(values), size):
            some = values[start : start + size]
            padded = np.concatenate([some, np.repeat(some[-1:], size - len(some), 0)])
            given = padded if isinstance(fixed, int) else some
            out = self._net.run(None, {self._name: given.astype(np.float32)})[0]
            parts.append(np.asarray(out)[: len(some)])
        return np.concatenate(parts)


def pictures(images: list[RGBImage], side: int, low: float, high: float) -> Array:
    """Pictures as ``float32 (N, 3, side, side)``, RGB, 0..255 mapped to ``low``..``high``."""
    resized = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in images]
    values = np.stack(resized).transpose(0, 3, 1, 2).astype(np.float32) / 255
    return (low + (high - low) * values).astype(np.float32)
