"""The engine: crops of a face to motion, and a source face with other motion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.engines.base import Motion
from mien.engines.edtalk.encoder import Coefficients
from mien.engines.edtalk.generator import EDTalk, Source
from mien.engines.edtalk.keys import fold
from mien.engines.edtalk.settings import EDTalkSettings
from mien.engines.edtalk.spec import EDTalkSpec
from mien.errors import MienError
from mien.media.frame import RGBImage
from mien.utils.device import out_of_memory, torch_device, working_dtype
from mien.weights.convert import load

Codes = npt.NDArray[np.float32]

_BATCH_CPU: Final = 1
_BATCH_GPU: Final = 8
"""Pictures at once: one is best on a CPU, where larger pictures fall out of its caches."""


class EDTalkEngine:
    """Reads and draws crops ``uint8 (B, P, P, 3)`` in the framing of ``framing.training_crop``.

    Args:
        net: the generator, in float32.
        settings: how it runs.

    Raises:
        InputError: for a device or precision that is not there.
    """

    name = "edtalk"

    def __init__(self, net: EDTalk, settings: EDTalkSettings | None = None) -> None:
        settings = settings or EDTalkSettings()
        self.device = torch_device(settings.device)
        dtype = working_dtype(settings.dtype, self.device)
        self.spec = net.spec
        self._net = net.to(self.device)
        if dtype != torch.float32:
            self._net.lighten(dtype)
        if settings.compile:
            _compile(self._net)
        self.batch = _BATCH_CPU if self.device.type == "cpu" else _BATCH_GPU
        self._restore: Callable[[RGBImage], RGBImage] | None = None
        if settings.restorer is not None:
            from mien.engines.edtalk.restorer import Restorer

            self._restore = Restorer(settings.restorer)

    @classmethod
    def load(cls, path: Path, settings: EDTalkSettings | None = None) -> EDTalkEngine:
        """Open converted weights.

        Raises:
            WeightsError: when they are damaged or of another kind.
        """
        tensors, spec = load(path)
        return cls(fold(tensors, EDTalkSpec.from_dict(spec), torch.float32), settings)

    @property
    def pixels(self) -> int:
        """Side of the crops."""
        return self.spec.pixels

    @property
    def expression_dim(self) -> int:
        """Number of expression coefficients."""
        return self.spec.expression

    def motion(self, crops: npt.NDArray[np.uint8]) -> list[Motion]:
        """Motion of crops ``(B, P, P, 3)``, one by one."""
        found = self._in_batches(lambda some: self._net.motion(self._tensor(some)), crops)
        lip, pose, expression = (
            np.concatenate([np.atleast_2d(part[i].float().cpu().numpy()) for part in found])
            for i in range(3)
        )
        return [Motion(a, b, c) for a, b, c in zip(lip, pose, expression, strict=True)]

    def source(self, crop: RGBImage) -> Source:
        """See a source ``(P, P, 3)`` once, for any number of frames."""
        with torch.inference_mode():
            return self._net.source(self._tensor(crop[None]))

    def draw(self, source: Source, motion: list[Motion]) -> list[RGBImage]:
        """The source with other motion, ``uint8``; larger than P x P with a restorer.

        Values are cut to [-1, 1] and mapped to 0..255, the same way for every clip.
        """
        codes = np.stack([np.concatenate([m.lip, m.pose, m.expression]) for m in motion])

        def some(part: Codes) -> Tensor:
            sizes = [self.spec.lip, self.spec.pose, self.spec.expression]
            values = torch.from_numpy(np.ascontiguousarray(part, np.float32)).to(self.device)
            picture = self._net.draw(source, Coefficients(*torch.split(values, sizes, 1)))
            return _to_bytes(picture).cpu()

        drawn = torch.cat(self._in_batches(some, codes)).numpy()
        return [self._restore(one) if self._restore is not None else one for one in drawn]

    def _tensor(self, crops: npt.NDArray[np.uint8]) -> Tensor:
        pictures = torch.from_numpy(np.ascontiguousarray(crops)).to(self.device)
        return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1

    def _in_batches(self, run: Callable[[Any], Result], items: npt.NDArray[Any]) -> list[Result]:
        """Run over ``items`` in batches; smaller ones when memory does not suffice."""
        out: list[Result] = []
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


Result = TypeVar("Result")


def _to_bytes(pictures: Tensor) -> Tensor:
    """``float (B, 3, h, w)`` in [-1, 1] to ``uint8 (B, h, w, 3)``."""
    bright = (pictures.float().clamp(-1, 1) + 1) * 127.5
    return bright.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _compile(net: EDTalk) -> None:
    options: dict[str, Any] = {"freezing": True}
    net.encoder.forward = torch.compile(net.encoder.forward, options=options)  # type: ignore[method-assign]
    net.synthesis.forward = torch.compile(net.synthesis.forward, options=options)  # type: ignore[method-assign]
