"""Plug-in: an ONNX net of the user that sharpens drawn faces; off by default."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mien.errors import InputError, WeightsError
from mien.media.frame import RGBImage
from mien.weights.bundled import open_net


class Restorer:
    """Runs a net from ``float32 (1, 3, S, S)`` in [-1, 1], RGB, to the same of any square size.

    Exported face restorers (512 pixels) have this form.

    Args:
        path: the ONNX file.

    Raises:
        InputError: when there is no such file.
        WeightsError: when it is no net of this form.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if not path.is_file():
            raise InputError(f"There is no restorer {path}.")
        self._net = open_net(path.name, folder=path.parent, threads=0)
        given = self._net.get_inputs()
        shape = given[0].shape
        sides = [side for side in shape[2:] if isinstance(side, int)]
        if len(given) != 1 or len(shape) != 4 or shape[1] != 3 or len(set(sides)) > 1:
            raise WeightsError(
                f"The restorer {path} should take one picture (1, 3, S, S); it takes "
                f"{[(one.name, one.shape) for one in given]}."
            )
        self._name = given[0].name
        self._side = sides[0] if sides else 512
        self._path = path

    def __call__(self, image: RGBImage) -> RGBImage:
        """A sharper picture of a face ``uint8 (P, P, 3)``."""
        side = self._side
        large = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
        values = large.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
        out = self._net.run(None, {self._name: values})[0]
        if out.ndim != 4 or out.shape[1] != 3 or out.shape[2] != out.shape[3]:
            raise WeightsError(
                f"The restorer {self._path} should give a picture (1, 3, S, S), not {out.shape}."
            )
        bright = (np.clip(out[0], -1, 1) + 1) * 127.5
        restored: RGBImage = np.rint(bright).astype(np.uint8).transpose(1, 2, 0)
        return np.ascontiguousarray(restored)
