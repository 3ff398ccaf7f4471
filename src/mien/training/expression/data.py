"""Labelled faces, decoded once, and batches of them."""

from __future__ import annotations

import csv
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.errors import InputError
from mien.face.expression import EXPRESSIONS, FACE_PIXELS, face_shape, face_view
from mien.face.tracker import FaceTracker
from mien.media.output import whole_file
from mien.training.expression import ExpressionConfig
from mien.training.tracker.data import read_member

Array = npt.NDArray[np.float32]

BLENDSHAPES: Final = 52
NO_LABEL: Final = -1

_STORED_PIXELS: Final = 72
"""Side of the stored faces: room for crops that are a little off."""

_LABEL: Final = re.compile(r"_(angry|disgusted|happy|neutral|sad|surprised|fear|contempt)_")


@dataclass(frozen=True)
class LabelledFaces:
    """Faces of people.

    Attributes:
        images: grey ``uint8 (N, 72, 72)``, the crop of the net's picture and no more.
        shapes: ``float16 (N, 468, 3)``, see :func:`mien.face.expression.face_shape`.
        blendshapes: the teacher's ``float16 (N, 52)``; -1 where there are none.
        labels: index of the emotion ``int64 (N,)``; -1 where there is none.
        people: ``str (N,)``.
    """

    images: npt.NDArray[np.uint8]
    shapes: npt.NDArray[np.float16]
    blendshapes: npt.NDArray[np.float16]
    labels: npt.NDArray[np.int64]
    people: npt.NDArray[np.str_]

    def part(self, chosen: npt.NDArray[np.bool_]) -> LabelledFaces:
        """Return the chosen faces."""
        return LabelledFaces(*(getattr(self, item.name)[chosen] for item in fields(self)))


_Row = tuple[npt.NDArray[np.uint8], Array, Array, int, str]


def load_faces(config: ExpressionConfig, cache: Path) -> LabelledFaces:
    """Decode every face into ``cache``, or open what was decoded before.

    Raises:
        InputError: when files are missing or cannot be used.
    """
    config.check_files()
    path = cache / "faces.npz"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        rows = [*_crops(config.faces, config.excluded)]
        rows += _portraits(config.portraits, config.excluded)
        if not rows:
            raise InputError("There is no face to train on.")
        images, shapes, blendshapes, labels, people = zip(*rows, strict=True)
        with whole_file(path) as part, part.open("wb") as file:
            np.savez(
                file,
                images=np.array(images, np.uint8),
                shapes=np.array(shapes, np.float16),
                blendshapes=np.array(blendshapes, np.float16),
                labels=np.array(labels, np.int64),
                people=np.array(people),
            )
    with np.load(path, allow_pickle=False) as stored:
        return LabelledFaces(**{name: stored[name] for name in stored.files})


def _crops(folder: Path, excluded: Sequence[str]) -> Iterator[_Row]:
    labels, crops = folder / "labels.npz", folder / "crops.tar"
    for path in (labels, crops):
        if not path.is_file():
            raise InputError(f"The folder of faces lacks {path.name}: {folder}.")
    with np.load(labels, allow_pickle=False) as stored:
        landmarks = stored["landmarks"].astype(np.float32)
        blendshapes = stored["blendshapes"].astype(np.float32)
        emotions, sources = stored["emotion"].astype(str), stored["source"].astype(str)
    with tarfile.open(crops) as archive:
        for number, member in enumerate(sorted(archive.getnames())):
            if any(part in sources[number] for part in excluded):
                continue
            points, label = landmarks[number], _index(emotions[number])
            view = face_view(read_member(archive, member), points, _STORED_PIXELS)
            person = person_of(sources[number])
            yield view, face_shape(points), blendshapes[number], label, person


def _portraits(folder: Path, excluded: Sequence[str]) -> Iterator[_Row]:
    tracker = FaceTracker(max_faces=1, still=True)
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    unknown = np.full(BLENDSHAPES, -1, np.float32)
    for row in rows:
        named = _LABEL.search(row["person"])
        label = _index(row["expression"] or (named[1] if named else ""))
        if label == NO_LABEL or any(part in row["person"] for part in excluded):
            continue
        picture = cv2.imread(str(folder / row["file"]), cv2.IMREAD_COLOR)
        if picture is None:
            raise InputError(f"{folder} lacks the picture {row['file']}.")
        image = np.ascontiguousarray(picture[..., ::-1])
        for points in tracker(image):
            view = face_view(image, points, _STORED_PIXELS)
            person = row["person"].partition("_source")[0]
            yield view, face_shape(points), unknown, label, person


def _index(name: str) -> int:
    return EXPRESSIONS.index(name) if name in EXPRESSIONS else NO_LABEL


def person_of(source: str) -> str:
    """Return who is in a picture: ``muxspace/Jackie_Chan_0004.jpg`` and its like share a name."""
    name = Path(source.partition("#")[0]).stem
    return re.sub(r"[_\d]+$", "", name)


def fold_of(person: str) -> float:
    """Return a number 0..1 that depends on the name alone."""
    return zlib.crc32(person.encode()) / 2**32


class FaceSampler:
    """Draws faces, half of them with labels."""

    def __init__(self, faces: LabelledFaces, config: ExpressionConfig) -> None:
        self._faces, self._batch = faces, config.batch
        self._labelled = np.flatnonzero(faces.labels != NO_LABEL)
        if not len(self._labelled):
            raise InputError("There is no labelled face to train on.")
        labels = faces.labels[self._labelled]
        counts = np.bincount(labels, minlength=len(EXPRESSIONS)).astype(np.float64)
        share = (counts[labels] ** config.balance) / counts[labels]
        self._share = share / share.sum()

    def draw(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw ``faces (B, 64, 64)``, ``shapes``, ``blendshapes`` and ``labels``."""
        half = self._batch // 2
        chosen = rng.choice(self._labelled, self._batch - half, p=self._share)
        chosen = np.concatenate([chosen, rng.integers(len(self._faces.labels), size=half)])
        images = np.stack([_filmed(self._faces.images[i], rng) for i in chosen])
        shapes = self._faces.shapes[chosen].astype(np.float32)
        shapes += rng.normal(0, 0.006, shapes.shape).astype(np.float32)
        shapes *= rng.normal(1, 0.03, (len(chosen), 1, 1)).astype(np.float32)
        labels = self._faces.labels[chosen]
        parts: dict[str, Any] = {
            "faces": images.astype(np.float32) / 255,
            "shapes": shapes,
            "blendshapes": self._faces.blendshapes[chosen].astype(np.float32),
            "labels": labels,
        }
        return {name: torch.from_numpy(values) for name, values in parts.items()}


def shown(images: npt.NDArray[np.uint8]) -> Array:
    """Return stored faces as the net sees them when nothing is varied."""
    size = (FACE_PIXELS, FACE_PIXELS)
    small = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images]
    return np.stack(small).astype(np.float32) / np.float32(255)


def _filmed(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Cut a face a little off and in another light; blur, noise and covered parts at times."""
    half = (_STORED_PIXELS - 1) / 2
    scale = FACE_PIXELS / _STORED_PIXELS * np.exp(rng.normal(0, 0.06))
    matrix = cv2.getRotationMatrix2D((half, half), rng.normal(0, 5), scale)
    matrix[:, 2] += rng.normal(0, 1.5, 2) + (FACE_PIXELS - 1) / 2 - half
    size = (FACE_PIXELS, FACE_PIXELS)
    out = cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    level = np.linspace(0, 1, 256) ** np.exp(rng.normal(0, 0.3)) - 0.5
    light = level * np.exp(rng.normal(0, 0.2)) + 0.5 + rng.normal(0, 0.08)
    out = cv2.LUT(out, (np.clip(light, 0, 1) * 255).astype(np.uint8))
    chance = rng.random(3)
    if chance[0] < 0.3:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.3, 1.5)))
    if chance[1] < 0.3:
        out = np.clip(out + rng.normal(0, rng.uniform(1, 10), out.shape), 0, 255).astype(np.uint8)
    if chance[2] < 0.3:
        x, y = rng.integers(0, FACE_PIXELS, 2)
        reach = int(rng.integers(4, 14))
        out[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach] = rng.integers(256)
    return np.asarray(out, np.uint8)
