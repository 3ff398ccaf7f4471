"""Pictures with and without faces, decoded once into memory-mapped files; their augmentation."""

from __future__ import annotations

import csv
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.face.crop import Crop
from mien.media.frame import RGBImage
from mien.media.output import whole_file
from mien.training.tracker import TrackerConfig

_BORDERS: Final = (cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)

_PAIR_EVERY: Final = 4
"""Frames between pairs of neighbouring frames."""

_PICTURE_SIDE: Final = 400
_GENERATED_SHARE: Final = 0.5
"""How often frames of generated clips are drawn, relative to real ones."""


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
        """Draw a picture; all subfolders are equally likely."""
        members = np.flatnonzero(self.group == rng.integers(self.group.max() + 1))
        index = int(rng.choice(members))
        height, width = (int(v) for v in self.shapes[index])
        start = int(self.starts[index])
        return self.data[start : start + height * width * 3].reshape(height, width, 3)


@dataclass(frozen=True)
class TrackerData:
    """Data of a run; the frames 2i and 2i + 1 of ``pairs`` are neighbours in time."""

    singles: Faces
    pairs: Faces | None
    pictures: Pictures


def load_data(config: TrackerConfig, cache: Path) -> TrackerData:
    """Decode everything into ``cache``, or open what was decoded there before.

    Raises:
        InputError: when files are missing or cannot be used.
    """
    config.check_files()
    cache.mkdir(parents=True, exist_ok=True)
    singles = _faces(cache / "singles", lambda: _crops(config.faces))
    pairs = None
    if config.videos and config.labels and config.manifest:
        clips = (config.videos, config.labels, config.manifest)
        pairs = _faces(cache / "pairs", lambda: _clips(*clips))
    return TrackerData(singles, pairs, _pictures(config.backgrounds, cache / "pictures"))


_Item = tuple[RGBImage, npt.NDArray[np.float32], bool, float]


def _cached(
    stem: Path, write: Callable[[Callable[[npt.NDArray[np.uint8]], object]], dict[str, object]]
) -> tuple[npt.NDArray[np.uint8], dict[str, npt.NDArray[Any]]]:
    """Pixels in one file and arrays about them in another; ``write`` makes both at first."""
    data, index = stem.with_suffix(".u8"), stem.with_suffix(".npz")
    if not (data.exists() and index.exists()):
        with whole_file(data) as part, part.open("wb") as file:
            arrays = write(lambda image: file.write(np.ascontiguousarray(image).tobytes()))
        with whole_file(index) as part, part.open("wb") as file:
            np.savez(file, **{name: np.asarray(values) for name, values in arrays.items()})  # type: ignore[arg-type]
    with np.load(index, allow_pickle=False) as stored:
        return np.memmap(data, np.uint8, "r"), dict(stored)


def _faces(stem: Path, items: Callable[[], Iterator[_Item]]) -> Faces:
    def write(add: Callable[[npt.NDArray[np.uint8]], object]) -> dict[str, object]:
        rows: list[tuple[npt.NDArray[np.float32], bool, float]] = []
        side = 0
        for image, points, held_out, share in items():
            side = image.shape[0]
            add(image)
            rows.append((points, held_out, share))
        return {
            "points": np.array([row[0] for row in rows], np.float32),
            "held_out": np.array([row[1] for row in rows], bool),
            "share": np.array([row[2] for row in rows], np.float32),
            "side": side,
        }

    data, known = _cached(stem, write)
    side = int(known["side"])
    images = data.reshape(-1, side, side, 3)
    return Faces(images, known["points"], known["held_out"], known["share"])


def read_member(archive: tarfile.TarFile, member: str) -> RGBImage:
    """Decode one picture of an archive.

    Raises:
        InputError: when it is not a picture.
    """
    file = archive.extractfile(member)
    if file is None:
        raise InputError(f"{archive.name!s} holds {member}, which is not a file.")
    image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{archive.name!s} holds {member}, which is not a picture.")
    return np.ascontiguousarray(image[..., ::-1])


def _crops(folder: Path) -> Iterator[_Item]:
    labels, crops = folder / "labels.npz", folder / "crops.tar"
    for path in (labels, crops):
        if not path.is_file():
            raise InputError(f"The folder of faces lacks {path.name}: {folder}.")
    with np.load(labels, allow_pickle=False) as stored:
        landmarks, split = stored["landmarks"].astype(np.float32), stored["split"]
    with tarfile.open(crops) as archive:
        for number, member in enumerate(sorted(archive.getnames())):
            image = read_member(archive, member)
            points = landmarks[number]
            yield image, points, bool(split[number] != "train"), _draw_share(points)


def _draw_share(points: npt.NDArray[np.float32]) -> float:
    """How often a picture is drawn: more often for open mouths and turned heads, which are rare."""
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
                if number % _PAIR_EVERY == 0:
                    before = frame.to_ndarray(format="rgb24")
                if number % _PAIR_EVERY != 1 or before is None:
                    continue
                now = frame.to_ndarray(format="rgb24")
                if missing[number - 1 : number + 1].any():
                    continue
                yield before, landmarks[number - 1], held_out, share
                yield now, landmarks[number], held_out, share


def _pictures(folder: Path, stem: Path) -> Pictures:
    def write(add: Callable[[npt.NDArray[np.uint8]], object]) -> dict[str, object]:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
        if not files:
            raise InputError(f"The folder of backgrounds has no JPEG or PNG files: {folder}.")
        groups = sorted({p.parent for p in files})
        shapes, starts, group, at = [], [], [], 0
        for path in files:
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None:
                continue
            scale = _PICTURE_SIDE / max(image.shape[:2])
            if scale < 1:
                image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            add(image[..., ::-1])
            shapes.append(image.shape[:2])
            starts.append(at)
            group.append(groups.index(path.parent))
            at += image.size
        columns = {"shapes": shapes, "starts": starts, "group": group}
        return {name: np.array(values, np.int64) for name, values in columns.items()}

    data, known = _cached(stem, write)
    return Pictures(data, known["shapes"], known["starts"], known["group"])


def jitter(crop: Crop, rng: np.random.Generator, *, loose: bool) -> Crop:
    """Return a crop that is a little off, as one of the previous frame is, or far off.

    Loose crops are turned by up to 45 degrees, shifted by up to an eighth and scaled by up to a
    third.
    """
    if loose:
        angle, grow = rng.uniform(-np.pi / 4, np.pi / 4), rng.uniform(-0.29, 0.29)
        dx, dy = rng.uniform(-0.12, 0.12, 2)
    else:
        angle, grow = rng.normal(0, 0.08), rng.normal(0, 0.05)
        dx, dy = rng.normal(0, 0.03, 2)
    return Crop(
        crop.x + float(dx) * crop.side,
        crop.y + float(dy) * crop.side,
        crop.side * float(np.exp(grow)),
        crop.angle + float(angle),
        crop.mirrored,
    )


def cut_over(
    image: RGBImage, crop: Crop, pixels: int, rng: np.random.Generator, pictures: Pictures
) -> RGBImage:
    """Cut a crop; outside ``image`` there is black, a colour, its edge, or another picture."""
    matrix = crop.matrix(pixels)
    size = (pixels, pixels)
    kind = rng.integers(5)
    if kind < 2:
        colour = (0, 0, 0) if kind == 0 else tuple(int(v) for v in rng.integers(0, 256, 3))
        return cv2.warpAffine(image, matrix, size, borderValue=colour)
    if kind < 4:
        return cv2.warpAffine(image, matrix, size, borderMode=_BORDERS[kind - 2])
    under = patch(pictures, pixels, rng)
    return cv2.warpAffine(image, matrix, size, dst=under.copy(), borderMode=cv2.BORDER_TRANSPARENT)


def patch(pictures: Pictures, pixels: int, rng: np.random.Generator) -> RGBImage:
    """Cut a square from a random picture, ``uint8 (pixels, pixels, 3)``."""
    picture = pictures.draw(rng)
    height, width = picture.shape[:2]
    side = int(min(height, width) * rng.uniform(0.3, 1))
    x, y = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
    part = picture[y : y + side, x : x + side]
    how = cv2.INTER_AREA if side > pixels else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(part), (pixels, pixels), interpolation=how)


def occlude(image: RGBImage, rng: np.random.Generator, pictures: Pictures) -> RGBImage:
    """Cover part of the face, in place: an ellipse or a bar, plain or of another picture."""
    side = image.shape[0]
    mask = np.zeros((side, side), np.uint8)
    x, y = rng.uniform(0, side, 2)
    if rng.random() < 0.5:
        axes = (int(rng.uniform(0.06, 0.28) * side), int(rng.uniform(0.06, 0.28) * side))
        cv2.ellipse(mask, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    else:
        angle, thick = rng.uniform(0, np.pi), int(rng.uniform(0.03, 0.2) * side) + 1
        dx, dy = np.cos(angle) * side * 0.4, np.sin(angle) * side * 0.4
        ends = (int(x - dx), int(y - dy)), (int(x + dx), int(y + dy))
        cv2.line(mask, *ends, 1, thick)
    if rng.random() < 0.5:
        image[mask > 0] = rng.integers(0, 256, 3)
    else:
        cv2.copyTo(patch(pictures, side, rng), mask, image)
    return image


def photograph(image: RGBImage, rng: np.random.Generator) -> RGBImage:
    """Simulate a camera: resolution, blur, light, colour, noise and compression."""
    side = image.shape[0]
    chance = rng.random(8)
    if chance[0] < 0.3:  # low resolution
        small = max(8, int(side / np.exp(rng.uniform(0, 1.3))))
        down = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(down, (side, side), interpolation=cv2.INTER_LINEAR)
    if chance[1] < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 0.02 * side)))
    elif chance[1] < 0.3:
        image = _motion_blur(image, rng)
    light = _light(rng, dark=bool(chance[2] < 0.08))
    image = cv2.LUT(image, light)
    if chance[3] < 0.15:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        image = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    if chance[4] < 0.25:
        grain = rng.standard_normal((side, side), np.float32) * np.float32(rng.uniform(1, 12))
        noise = cv2.cvtColor(grain, cv2.COLOR_GRAY2RGB)
        image = cv2.add(image, noise, dtype=cv2.CV_8U)
    if chance[5] < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(15, 85))]
        packed = cv2.imencode(".jpg", image, quality)[1]
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return image


def _motion_blur(image: RGBImage, rng: np.random.Generator) -> RGBImage:
    length = int(rng.integers(3, max(4, image.shape[0] // 14)))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    middle = (length - 1) / 2
    dx, dy = np.cos(angle) * middle, np.sin(angle) * middle
    ends = ((round(middle - dx), round(middle - dy)), (round(middle + dx), round(middle + dy)))
    cv2.line(kernel, *ends, 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def _light(rng: np.random.Generator, *, dark: bool) -> RGBImage:
    """A table of tone for each channel, ``uint8 (256, 1, 3)``."""
    level = np.linspace(0, 1, 256)[:, None]
    gamma = np.exp(rng.normal(0, 0.25) + (rng.uniform(0.3, 0.9) if dark else 0))
    contrast = np.exp(rng.normal(0, 0.2))
    colour = np.exp(rng.normal(0, 0.12, 3))
    out = (level**gamma - 0.5) * contrast * colour + 0.5 + rng.normal(0, 0.08)
    if dark:
        out = out * rng.uniform(0.15, 0.6)
    return (np.clip(out, 0, 1) * 255).astype(np.uint8)[:, None]
