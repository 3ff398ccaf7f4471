"""Pictures to train on, decoded once into files that are read through a memory map."""

from __future__ import annotations

import csv
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.media.frame import RGBImage
from mien.media.output import whole_file
from mien.training.tracker.config import FaceNetConfig

PAIR_EVERY: Final = 4
"""Frames between pairs of neighbouring frames."""

_PICTURE_SIDE: Final = 400
_GENERATED_SHARE: Final = 0.5
"""How often frames of generated clips are drawn, real ones: 1."""


@dataclass(frozen=True)
class Faces:
    """Square pictures of one face each.

    Attributes:
        images: ``uint8 (N, S, S, 3)`` RGB.
        points: the teacher's landmarks ``float32 (N, 478, 3)``, pixels of ``images``.
        held_out: ``bool (N,)``: measured on, not trained on.
        share: ``float32 (N,)``, how often each is drawn.
    """

    images: npt.NDArray[np.uint8]
    points: npt.NDArray[np.float32]
    held_out: npt.NDArray[np.bool_]
    share: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pictures:
    """Pictures without faces, of any size.

    Attributes:
        data: ``uint8``, all pixels one after another.
        shapes: ``int64 (N, 2)``.
        starts: ``int64 (N,)``, where each begins.
        group: ``int64 (N,)``, the subfolder.
    """

    data: npt.NDArray[np.uint8]
    shapes: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64]

    def draw(self, rng: np.random.Generator) -> RGBImage:
        """Any picture; every subfolder is as likely as the others."""
        members = np.flatnonzero(self.group == rng.integers(self.group.max() + 1))
        index = int(rng.choice(members))
        height, width = (int(v) for v in self.shapes[index])
        start = int(self.starts[index])
        return self.data[start : start + height * width * 3].reshape(height, width, 3)


@dataclass(frozen=True)
class Material:
    """What a run trains on; ``pairs`` has the frames 2i and 2i+1 next to each other in time."""

    singles: Faces
    pairs: Faces | None
    pictures: Pictures


def load_material(config: FaceNetConfig) -> Material:
    """Decode everything, or open what was decoded before.

    Raises:
        InputError: for folders that lack what is needed.
    """
    cache = Path(config.cache)
    cache.mkdir(parents=True, exist_ok=True)
    singles = _stored(cache / "singles", lambda: _crops(Path(config.faces)))
    pairs = None
    if config.videos and config.labels and config.manifest:
        videos, labels, manifest = (
            Path(p) for p in (config.videos, config.labels, config.manifest)
        )
        pairs = _stored(cache / "pairs", lambda: _clips(videos, labels, manifest))
    return Material(singles, pairs, _pictures(Path(config.backgrounds), cache))


_Item = tuple[RGBImage, npt.NDArray[np.float32], bool, float]


def _stored(stem: Path, items: object) -> Faces:
    data, index = stem.with_suffix(".u8"), stem.with_suffix(".npz")
    if not (data.exists() and index.exists()):
        rows: list[tuple[npt.NDArray[np.float32], bool, float]] = []
        side = 0
        with whole_file(data) as part, part.open("wb") as file:
            for image, points, held_out, share in items():  # type: ignore[operator]
                side = image.shape[0]
                file.write(image.tobytes())
                rows.append((points, held_out, share))
        with whole_file(index) as part, part.open("wb") as file:
            np.savez(
                file,
                points=np.array([row[0] for row in rows], np.float32),
                held_out=np.array([row[1] for row in rows], bool),
                share=np.array([row[2] for row in rows], np.float32),
                side=np.array(side),
            )
    with np.load(index, allow_pickle=False) as stored:
        side = int(stored["side"])
        images = np.memmap(data, np.uint8, "r").reshape(-1, side, side, 3)
        return Faces(images, stored["points"], stored["held_out"], stored["share"])


def _crops(folder: Path) -> Iterator[_Item]:
    labels, crops = folder / "labels.npz", folder / "crops.tar"
    for path in (labels, crops):
        if not path.is_file():
            raise InputError(f"The folder of faces lacks {path.name}: {folder}.")
    with np.load(labels, allow_pickle=False) as stored:
        landmarks, split = stored["landmarks"].astype(np.float32), stored["split"]
    with tarfile.open(crops) as archive:
        for number, member in enumerate(sorted(archive.getnames())):
            file = archive.extractfile(member)
            if file is None:
                raise InputError(f"{crops} holds {member}, which is no file.")
            image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
            if image is None:
                raise InputError(f"{crops} holds {member}, which is no picture.")
            points = landmarks[number]
            yield image[..., ::-1], points, bool(split[number] != "train"), _worth(points)


def _worth(points: npt.NDArray[np.float32]) -> float:
    """How often a picture is drawn: open mouths and turned heads are rare."""
    size = float(np.ptp(points[:468, :2], axis=0).max())
    opening = float(np.linalg.norm(points[13, :2] - points[14, :2])) / size
    turned = abs(float(points[234, 2] - points[454, 2])) / size
    return 1 + 2 * min(1.0, opening / 0.12) + min(1.0, turned / 0.5)


def _clips(videos: Path, labels: Path, manifest: Path) -> Iterator[_Item]:
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        path, label = videos / f"{row['clip']}.mp4", labels / f"{row['clip']}.npz"
        if not (path.is_file() and label.is_file()):
            continue
        with np.load(label, allow_pickle=False) as stored:
            landmarks, missing = stored["landmarks"].astype(np.float32), stored["missing"]
        share = 1.0 if row["kind"] == "real" else _GENERATED_SHARE
        held_out = row["split"] != "train"
        before: RGBImage | None = None
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number % PAIR_EVERY == 0:
                    before = frame.to_ndarray(format="rgb24")
                if number % PAIR_EVERY != 1 or before is None:
                    continue
                now = frame.to_ndarray(format="rgb24")
                if missing[number - 1 : number + 1].any():
                    continue
                yield before, landmarks[number - 1], held_out, share
                yield now, landmarks[number], held_out, share


def _pictures(folder: Path, cache: Path) -> Pictures:
    data, index = cache / "pictures.u8", cache / "pictures.npz"
    if not (data.exists() and index.exists()):
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
        if not files:
            raise InputError(f"The folder of backgrounds has no JPEG or PNG files: {folder}.")
        groups = sorted({p.parent for p in files})
        shapes, starts, group, at = [], [], [], 0
        with whole_file(data) as part, part.open("wb") as out:
            for path in files:
                image = cv2.imread(str(path), cv2.IMREAD_COLOR)
                if image is None:
                    continue
                scale = _PICTURE_SIDE / max(image.shape[:2])
                if scale < 1:
                    image = cv2.resize(
                        image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
                    )
                out.write(np.ascontiguousarray(image[..., ::-1]).tobytes())
                shapes.append(image.shape[:2])
                starts.append(at)
                group.append(groups.index(path.parent))
                at += image.size
        with whole_file(index) as part, part.open("wb") as out:
            np.savez(
                out,
                shapes=np.array(shapes, np.int64),
                starts=np.array(starts, np.int64),
                group=np.array(group, np.int64),
            )
    with np.load(index, allow_pickle=False) as stored:
        arrays = [stored[name] for name in ("shapes", "starts", "group")]
    return Pictures(np.memmap(data, np.uint8, "r"), *arrays)
