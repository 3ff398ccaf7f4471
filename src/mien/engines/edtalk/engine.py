"""The engine: reads the motion of face crops and draws a source face with other motion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.engines.edtalk.checkpoints import fold
from mien.engines.edtalk.generator import Coefficients, EDTalk, Source
from mien.engines.edtalk.settings import EDTalkConfig, EDTalkSettings
from mien.errors import InputError, MienError, WeightsError
from mien.face.pose import Motion
from mien.media.frame import RGBImage
from mien.utils.device import out_of_memory, torch_device, working_dtype
from mien.weights.bundled import open_net
from mien.weights.convert import configured, load

T = TypeVar("T")

_BATCH_CPU: Final = 1
_BATCH_GPU: Final = 8
"""Pictures per batch. One is fastest on a CPU, whose caches do not hold more feature maps."""

_RESTORER_PIXELS: Final = 512
"""Side of a restorer's picture if its ONNX file does not fix one."""


class EDTalkEngine:
    """Reads and draws crops ``uint8 (B, P, P, 3)`` in the framing of ``framing.training_crop``.

    Args:
        net: the generator, in float32.
        settings: how it runs.

    Raises:
        InputError: for a device or precision that is not available.
    """

    name = "edtalk"

    def __init__(self, net: EDTalk, settings: EDTalkSettings | None = None) -> None:
        settings = settings or EDTalkSettings()
        self.device = torch_device(settings.device)
        dtype = working_dtype(settings.dtype, self.device)
        self.config = net.config
        self._net = net.to(self.device)
        if dtype != torch.float32:
            self._net.lighten(dtype)
        if settings.compile:
            for part in (self._net.encoder, self._net.synthesis):
                part.compile(options={"freezing": True})
        self.batch = _BATCH_CPU if self.device.type == "cpu" else _BATCH_GPU
        self._restore = None if settings.restorer is None else Restorer(settings.restorer)

    @classmethod
    def load(cls, path: Path, settings: EDTalkSettings | None = None) -> EDTalkEngine:
        """Load converted weights."""
        tensors, sizes = load(path)
        return cls(fold(tensors, configured(EDTalkConfig, sizes), torch.float32), settings)

    @property
    def pixels(self) -> int:
        """Side of the crops."""
        return self.config.pixels

    @property
    def expression_dim(self) -> int:
        """Number of expression coefficients."""
        return self.config.expression

    def motion(self, crops: npt.NDArray[np.uint8]) -> list[Motion]:
        """Read the motion of crops ``(B, P, P, 3)``."""
        found = self._in_batches(lambda batch: self._net.motion(self._tensor(batch)), crops)
        lip, pose, expression = (
            np.concatenate([np.atleast_2d(part[i].float().cpu().numpy()) for part in found])
            for i in range(3)
        )
        return [Motion(a, b, c) for a, b, c in zip(lip, pose, expression, strict=True)]

    def source(self, crop: RGBImage) -> Source:
        """Encode a source ``(P, P, 3)``, for any number of frames."""
        with torch.inference_mode():
            return self._net.source(self._tensor(crop[None]))

    def draw(self, source: Source, motion: list[Motion]) -> list[RGBImage]:
        """Draw the source with other motion, ``uint8``; larger than P x P with a restorer.

        Values are clipped to [-1, 1] and mapped to 0..255, the same way for every clip.
        """
        codes = np.stack([np.concatenate([m.lip, m.pose, m.expression]) for m in motion])
        sizes = [self.config.lip, self.config.pose, self.config.expression]

        def draw(batch: npt.NDArray[np.float32]) -> Tensor:
            values = torch.from_numpy(np.ascontiguousarray(batch, np.float32)).to(self.device)
            picture = self._net.draw(source, Coefficients(*torch.split(values, sizes, 1)))
            return _to_bytes(picture).cpu()

        drawn = torch.cat(self._in_batches(draw, codes)).numpy()
        return [one if self._restore is None else self._restore(one) for one in drawn]

    def _tensor(self, crops: npt.NDArray[np.uint8]) -> Tensor:
        pictures = torch.from_numpy(np.ascontiguousarray(crops)).to(self.device)
        return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1

    def _in_batches(self, run: Callable[[Any], T], items: npt.NDArray[Any]) -> list[T]:
        """Run over ``items`` in batches, smaller ones when memory runs out."""
        out: list[T] = []
        start = 0
        while start < len(items):
            try:
                with torch.inference_mode():
                    out.append(run(items[start : start + self.batch]))
                start += self.batch
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                if self.batch == 1:
                    raise MienError(
                        f"There is not enough memory on {self.device} for a single frame; close "
                        "other programs, use --dtype bf16, or --device cpu."
                    ) from error
                self.batch = max(1, self.batch // 2)
        return out


def _to_bytes(pictures: Tensor) -> Tensor:
    """``float (B, 3, h, w)`` in [-1, 1] to ``uint8 (B, h, w, 3)``."""
    bright = (pictures.float().clamp(-1, 1) + 1) * 127.5
    return bright.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class Restorer:
    """A user's ONNX net that sharpens drawn faces.

    It takes ``float32 (1, 3, S, S)`` in [-1, 1], RGB, and returns the same at any square size, as
    exported face restorers do (S = 512).

    Args:
        path: the ONNX file.

    Raises:
        InputError: when there is no such file.
        WeightsError: when it is no net of this form.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        if not self._path.is_file():
            raise InputError(f"There is no restorer {path}.")
        self._net = open_net(self._path.name, folder=self._path.parent, threads=0)
        inputs = self._net.get_inputs()
        shape = inputs[0].shape
        sides = [side for side in shape[2:] if isinstance(side, int)]
        if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or len(set(sides)) > 1:
            raise WeightsError(
                f"The restorer {path} should take one picture (1, 3, S, S); it takes "
                f"{[(one.name, one.shape) for one in inputs]}."
            )
        self._name = inputs[0].name
        self._side = sides[0] if sides else _RESTORER_PIXELS

    def __call__(self, image: RGBImage) -> RGBImage:
        """Sharpen a picture of a face ``uint8 (P, P, 3)``."""
        large = cv2.resize(image, (self._side, self._side), interpolation=cv2.INTER_CUBIC)
        values = large.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
        out = self._net.run(None, {self._name: values})[0]
        if out.ndim != 4 or out.shape[1] != 3 or out.shape[2] != out.shape[3]:
            raise WeightsError(
                f"The restorer {self._path} should give a picture (1, 3, S, S), not {out.shape}."
            )
        bright = (np.clip(out[0], -1, 1) + 1) * 127.5
        restored: RGBImage = np.rint(bright).astype(np.uint8).transpose(1, 2, 0)
        return np.ascontiguousarray(restored)
