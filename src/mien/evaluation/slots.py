"""Metric networks that the user supplies: one slot each, an ONNX file of a stated form.

The networks that papers report with (Inception, I3D, SyncNet …) may not be shipped, or only for
research. Each has a slot here, filled by ``--net SLOT=FILE`` or the environment variable
``MIEN_NET_SLOT``; docs/evaluation.md says how to make the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.errors import InputError, WeightsError
from mien.media.frame import RGBImage
from mien.weights.bundled import open_net
from mien.weights.store import sha256_of

Array = npt.NDArray[np.float32]

_BATCH: Final = 16
_DOCS: Final = "docs/evaluation.md"


@dataclass(frozen=True, slots=True)
class Slot:
    """A network that a metric needs.

    Attributes:
        name: of the slot.
        metrics: what is measured with it.
        what: the network that papers use.
        takes: shape, order and range of the inputs.
        gives: what comes out.
        axes: number of axes of every input.
        inputs: number of inputs.
        low, high: what 0 and 255 become; None for inputs that are no pictures.
        side: pixels of the pictures where the file leaves them open.
    """

    name: str
    metrics: str
    what: str
    takes: str
    gives: str
    axes: int = 4
    inputs: int = 1
    low: float = -1.0
    high: float = 1.0
    side: int = 224

    @property
    def variable(self) -> str:
        """Environment variable that names its file."""
        return f"MIEN_NET_{self.name.upper()}"

    def wanted(self) -> str:
        """Say what file is wanted."""
        return (
            f"For {self.metrics} the net {self.name} is needed ({self.what}): an ONNX file that "
            f"takes {self.takes} and gives {self.gives}, named by --net {self.name}=FILE or "
            f"{self.variable}; {_DOCS} says where it is described."
        )


_RGB: Final = "(N, 3, S, S) RGB"

SLOTS: Final[Mapping[str, Slot]] = MappingProxyType(
    {
        slot.name: slot
        for slot in (
            Slot(
                "inception", "FID", "Inception v3 of the FID authors",
                f"{_RGB} -1..1", "features (N, D)", side=299,
            ),
            Slot(
                "i3d", "FVD", "I3D trained on Kinetics-400",
                "(N, 3, 16, S, S) RGB -1..1", "features (N, D)", axes=5,
            ),
            Slot(
                "emotion", "Acc_emo", "Emotion-FAN or another classifier of faces",
                f"{_RGB} 0..1", "one number per class (N, classes)", low=0.0,
            ),
            Slot(
                "identity", "CSIM and FAD", "ArcFace",
                f"{_RGB} -1..1, aligned as ArcFace's training pictures", "identities (N, D)",
                side=112,
            ),
            Slot(
                "expression", "E-FID", "a 3D face reconstruction",
                f"{_RGB} 0..1", "expression coefficients (N, D)", low=0.0,
            ),
            Slot(
                "lpips", "LPIPS", "LPIPS with AlexNet",
                f"two pictures {_RGB} -1..1", "their distances (N, …)", inputs=2, side=256,
            ),
            Slot(
                "syncnet_video", "LSE-D and LSE-C", "SyncNet's half for pictures",
                "(N, 3, 5, S, S) BGR 0..255", "embeddings (N, E)", axes=5, low=0.0, high=255.0,
            ),
            Slot(
                "syncnet_audio", "LSE-D and LSE-C", "SyncNet's half for sound",
                "(N, 1, 13, 20) MFCCs", "embeddings (N, E)",
            ),
        )
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NetFiles:
    """The files in the slots.

    Attributes:
        files: slot and file, in order of the slots.
        classes: names of the outputs of ``emotion``, in its order.
    """

    files: tuple[tuple[str, Path], ...] = ()
    classes: tuple[str, ...] = ()

    @classmethod
    def given(cls, options: Sequence[str] = (), classes: Sequence[str] = ()) -> NetFiles:
        """Return the files that options and environment name; options take precedence.

        Args:
            options: ``SLOT=FILE`` each.
            classes: names of the outputs of ``emotion``.

        Raises:
            InputError: for an unknown slot, a missing file, half a SyncNet, or a classifier without
                the names of its outputs.
        """
        named = {slot.name: os.environ.get(slot.variable, "") for slot in SLOTS.values()}
        for option in options:
            name, equals, file = option.partition("=")
            if name not in SLOTS or not equals or not file:
                raise InputError(
                    f"--net takes SLOT=FILE with one of the slots {', '.join(SLOTS)}; got "
                    f"{option!r}."
                )
            named[name] = file
        files = tuple((name, Path(file)) for name, file in named.items() if file)
        for name, path in files:
            if not path.is_file():
                raise InputError(f"There is no file {path}. {SLOTS[name].wanted()}")
        filled = {name for name, _ in files}
        halves = {"syncnet_video", "syncnet_audio"}
        if len(filled & halves) == 1:
            (missing,) = halves - filled
            raise InputError(f"SyncNet has two halves. {SLOTS[missing].wanted()}")
        if "emotion" in filled and not classes:
            raise InputError(
                "The net emotion needs the names of its outputs in their order: --classes "
                "angry,happy,…"
            )
        return cls(files, tuple(classes))

    def file(self, name: str) -> Path | None:
        """Return the file in a slot."""
        return dict(self.files).get(name)


class MetricNet:
    """A network in a slot; the first axis of its inputs and of its output is the batch.

    Args:
        path: ONNX file.
        slot: where it belongs.

    Raises:
        WeightsError: when the file is damaged or the network has another form.
    """

    def __init__(self, path: Path, slot: Slot) -> None:
        self.path, self.slot = path, slot
        self._net = open_net(path.name, folder=path.parent, threads=0)
        inputs = self._net.get_inputs()
        shapes = [(one.name, one.shape) for one in inputs]
        if len(inputs) != slot.inputs or any(len(one.shape) != slot.axes for one in inputs):
            raise WeightsError(f"{path} takes {shapes}. {slot.wanted()}")
        self._names = [one.name for one in inputs]
        self._shape = tuple(inputs[0].shape)

    @property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return _sha256(self.path)

    @property
    def side(self) -> int:
        """Pixels of the square pictures it takes."""
        last = self._shape[-1]
        return last if isinstance(last, int) else self.slot.side

    def stack(self, images: Sequence[RGBImage]) -> Array:
        """Return pictures as it takes them, ``float32 (N, 3, S, S)``."""
        return stack_images(images, self.side, self.slot.low, self.slot.high)

    def __call__(self, *values: Array) -> Array:
        """Return outputs ``(N, ...)`` for inputs ``(N, ...)``, in batches the network accepts."""
        fixed = self._shape[0]
        size = fixed if isinstance(fixed, int) else _BATCH
        parts = []
        for start in range(0, len(values[0]), size):
            batch = [value[start : start + size].astype(np.float32) for value in values]
            count = len(batch[0])
            if isinstance(fixed, int):
                batch = [np.concatenate([b, np.repeat(b[-1:], size - count, 0)]) for b in batch]
            out = self._net.run(None, dict(zip(self._names, batch, strict=True)))[0]
            parts.append(np.asarray(out, np.float32)[:count])
        return np.concatenate(parts)


@lru_cache(maxsize=32)
def _sha256(path: Path) -> str:
    return sha256_of(path)


def stack_images(images: Sequence[RGBImage], side: int, low: float, high: float) -> Array:
    """Return images as ``float32 (N, 3, side, side)``, 0..255 mapped to ``low``..``high``."""
    resized = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in images]
    values = np.stack(resized).transpose(0, 3, 1, 2).astype(np.float32) / 255
    return (low + (high - low) * values).astype(np.float32)
