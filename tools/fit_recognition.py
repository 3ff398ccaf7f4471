"""Make ``unrolled_face.npz`` and ``recognition.npz``, which tell faces apart; measure the errors.

python tools/fit_recognition.py DATA MEDIA

DATA holds ``faces`` (crops of named people), ``highres`` and ``talking``; MEDIA holds ``portraits``
and ``videos``. A fifth of the named people, two fifths of the others, all portraits and the people
who are in several recordings are held out. The map is a linear discriminant analysis: it whitens
the 300 strongest components and keeps the 128 in which one person's faces differ least.
"""

from __future__ import annotations

import argparse
import csv
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from mien.face.crop import face_crop
from mien.face.recognition import TEXTURE_PIXELS, patterns, unroll
from mien.face.topology import MESH_POINTS, Landmarks, canonical_face
from mien.face.tracker import FaceTracker
from mien.media.frame import RGBImage
from mien.media.read import VideoReader
from mien.media.still import read_still

ASSETS = Path(__file__).parent.parent / "src" / "mien" / "assets"

COMPONENTS, SIZE, SHRINKAGE = 300, 128, 0.3
PIXELS, FRAMES, SECONDS = 80, 8, 30.0
OUTSIDE = -0.02
"""Barycentric weight below which a pixel lies outside its triangle."""

PEOPLE = {
    "einstein": "instein", "monalisa": "mona|mola", "aiface2": "aiface2", "lianliru": "lianliru",
    "obama": "bama|speech_450", "feifei": "feifei", "furious": "furious", "w009": "[wW]009|gone_",
    "aoc": "AOC|OcasioCortez|hdtf_512|pose_source1", "andrew": "andrew|styletalk_demo",
    "radio": "RD_Radio1_|hdtf_radio|rotated_flag|variable_rate", "art13": "art_13|paint_angy",
    "happy": "happyenglish|edtalk.*expression_source", "actor": "7414001|turning_224",
    "s18": "source_s18|wide_1280", "s20": "source_s20|odd_480",
}  # fmt: skip
"""People in several recordings, by parts of file names: held out, the pictures and the clips."""

ALIASES = {
    "aiface1": "aiface1", "aiface3": "aiface3", "aiface4": "aiface4", "statue": "statue",
    "radio10": "RD_Radio10", "d10": "driving_d10|liveportrait_d10|expressive_512",
    "grid-b": "grid_360|bbaf2n", "grid-p": "pwij3p|id2_vcd", "man": "ChatGPT_man",
    "vasa10": "case_10_|vasa-1_10_", "vasa13": "case_tys|vasa-1_13_", "m012": "M012",
}  # fmt: skip
"""Further people under several names, held out by chance."""

Array = npt.NDArray[np.float32]


def write_unrolling(path: Path) -> None:
    """Write the mesh points ``(48, 48, 3)`` around every pixel, their weights, and the mask."""
    mesh = canonical_face().points[:MESH_POINTS, :2].astype(np.float64)
    low, high = mesh.min(0), mesh.max(0)
    side = TEXTURE_PIXELS
    mesh = (mesh - (low + high) / 2) / (high - low).max() * 0.9 * side + side / 2
    plane = cv2.Subdiv2D((0, 0, side, side))
    order = {plane.insert((float(x), float(y))): i for i, (x, y) in enumerate(mesh)}
    corners = np.zeros((side, side, 3), np.int16)
    weights = np.full((side, side, 3), -np.inf)
    for triangle in np.reshape(plane.getTriangleList(), (-1, 3, 2)):
        if triangle.min() < 0 or triangle.max() > side:  # a corner of the subdivision itself
            continue
        found = [order[plane.findNearest((float(x), float(y)))[0]] for x, y in triangle]
        system = np.vstack([mesh[found].T, np.ones(3)])
        if abs(np.linalg.det(system)) < 1e-6:
            continue
        left, top = np.maximum(np.floor(mesh[found].min(0)).astype(int) - 1, 0)
        right, bottom = np.ceil(mesh[found].max(0)).astype(int) + 1
        x, y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
        inside = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(system).T
        here = (slice(top, bottom), slice(left, right))
        better = inside.min(-1) > weights[here].min(-1)
        corners[here][better], weights[here][better] = found, inside[better]
    mask = weights.min(-1) > OUTSIDE
    weights[~mask] = 1 / 3
    np.savez_compressed(path, corners=corners, weights=weights.astype(np.float32), mask=mask)


class Sample(NamedTuple):
    """A face: contrasts of it and its mirror image ``(2, 576)``, and where it comes from."""

    patterns: Array
    person: str
    source: str
    kind: str
    held_out: bool


def person_of(name: str) -> str:
    """Return who a file shows."""
    for person, pattern in (PEOPLE | ALIASES).items():
        if re.search(pattern, name):
            return person
    found = re.match(r"london_\d+", name) or re.search(
        r"(?<=driving_)d\d+|(?<=portrait_)d\d+", name
    )
    return found[0] if found else Path(name).stem


def is_held_out(person: str, fifths: int) -> bool:
    """Return whether chance puts a person on the side that is measured."""
    return person in PEOPLE or zlib.crc32(person.encode()) % 5 < fifths


def sample(
    image: RGBImage, landmarks: Landmarks, person: str, source: str, kind: str, out: bool
) -> Sample:
    """Unroll one face."""
    crop = face_crop(landmarks)
    points = (crop.to_crop(landmarks[:, :2]) + np.float32(0.5)) * PIXELS
    return Sample(patterns(unroll(crop.cut(image, PIXELS), points)), person, source, kind, out)


def named(folder: Path) -> Iterator[Sample]:
    """Read crops whose file names say whom they show."""
    labels = np.load(folder / "labels.npz")
    points = labels["landmarks"]
    with tarfile.open(folder / "crops.tar") as archive:
        for i, source in enumerate(labels["source"]):
            name = re.match(r"muxspace/(.+)_\d+\.\w+$", str(source))
            file = archive.extractfile(f"{i:06d}.jpg") if name else None
            if name and file:
                image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR_RGB)
                person = name[1]
                out = is_held_out(person, 1)
                yield sample(image, points[i].astype(np.float32), person, str(source), "named", out)


def stills(data: Path, media: Path) -> Iterator[Sample]:
    """Read portraits, all held out, and sharp stills."""
    with (data / "highres" / "manifest.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    paths = {data / "highres" / row["file"]: row["source"] for row in rows}
    paths |= dict.fromkeys(sorted((media / "portraits").iterdir()), "portrait")
    with closing(FaceTracker(still=True)) as tracker:
        for path, kind in paths.items():
            image, person = read_still(path), person_of(path.name)
            for landmarks in tracker(image)[:1]:
                out = kind == "portrait" or is_held_out(person, 2)
                yield sample(image, landmarks, person, path.name, kind, out)


def clips(data: Path, media: Path) -> Iterator[Sample]:
    """Read a few frames of every clip."""
    paths = sorted((media / "videos").iterdir()) + sorted((data / "talking/video").iterdir())
    with closing(FaceTracker(still=True)) as tracker:
        for path in paths:
            person = person_of(path.stem)
            with VideoReader(path) as reader:
                for picture in reader.first_look(FRAMES, SECONDS):
                    image = picture.image()
                    for landmarks in tracker(image)[:1]:
                        out = is_held_out(person, 2)
                        yield sample(image, landmarks, person, path.name, "clip", out)


def fit(samples: list[Sample]) -> tuple[Array, Array]:
    """Return the mean ``(576,)`` and the projection ``(576, 128)``."""
    both = np.stack([s.patterns for s in samples]).astype(np.float64)
    rows = np.concatenate([both[:, 0], both[:, 1]])
    people = [s.person for s in samples] * 2
    mean = rows.mean(0)
    values, vectors = np.linalg.eigh(np.cov((rows - mean).T))
    whitening = vectors[:, -COMPONENTS:] / np.sqrt(values[-COMPONENTS:] + 1e-9)
    white = (rows - mean) @ whitening
    within, weight = np.zeros((COMPONENTS, COMPONENTS)), 0.0
    for person, count in Counter(people).items():
        if count > 2:  # more than one picture and its mirror image
            theirs = white[[name == person for name in people]][:20]
            share = min(len(theirs), 6)
            within += share * np.cov(theirs.T)
            weight += share
    within /= weight
    level = np.trace(within) / COMPONENTS
    within = (1 - SHRINKAGE) * within + SHRINKAGE * level * np.eye(COMPONENTS)
    spread, directions = np.linalg.eigh(within)
    gain = np.sqrt(np.maximum(1 - spread, 0.02) / spread)
    projection = whitening @ (directions * gain)[:, :SIZE]
    return mean.astype(np.float16), projection.astype(np.float16)


def unit(rows: Array) -> Array:
    """Scale vectors to length 1."""
    out: Array = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return out


def report(name: str, same: list[float], other: list[float]) -> None:
    """Print error rates of likenesses of the same and of different people."""
    alike, unlike = np.sort(same), np.sort(other)
    limits = np.linspace(-1, 1, 2001)
    rejects = np.searchsorted(alike, limits) / len(alike)
    accepts = 1 - np.searchsorted(unlike, limits) / len(unlike)
    k = int(np.abs(rejects - accepts).argmin())
    print(f"{name}: {len(alike)} and {len(unlike)} pairs, equal error "
          f"{50 * (rejects[k] + accepts[k]):.1f} % at {limits[k]:.2f}")  # fmt: skip
    for limit in (0.3, 0.35, 0.4, 0.45, 0.5, 0.55):
        i = int(np.abs(limits - limit).argmin())
        errors = f"accepts {100 * accepts[i]:.2f} %, rejects {100 * rejects[i]:.1f} %"
        print(f"  from {limit:.2f}: {errors}")


def measure(samples: list[Sample], looks: Array) -> None:
    """Print error rates on the people who were held out."""

    def pairs(title: str, chosen: list[int]) -> None:
        same, other = [], []
        for a, b in combinations(chosen, 2):
            if samples[a].person != samples[b].person:
                other.append(float(looks[a] @ looks[b]))
            elif samples[a].kind != "clip" or samples[a].source == samples[b].source:
                same.append(float(looks[a] @ looks[b]))
        report(title, same, other)

    def of(kind: str, part: str = "") -> list[int]:
        rows = enumerate(samples)
        return [i for i, s in rows if s.held_out and s.kind == kind and part in s.source.lower()]

    pairs("frames of one clip", of("clip"))
    pairs("frames of one clip, GRID", of("clip", "grid"))
    pairs("stills of one studio (London)", of("london"))
    pairs("named press and film pictures", of("named"))
    sources: dict[str, list[int]] = {}
    for i in of("clip"):
        sources.setdefault(samples[i].source, []).append(i)
    means = {source: unit(looks[index].mean(0)) for source, index in sources.items()}
    same: dict[str, list[float]] = {}
    other = []
    for i in [*of("clip"), *of("portrait")]:
        for source, mean in means.items():
            if samples[i].source == source:
                continue
            likeness = float(looks[i] @ mean)
            if samples[i].person == samples[sources[source][0]].person:
                same.setdefault(samples[i].person, []).append(likeness)
            else:
                other.append(likeness)
    rng = np.random.default_rng(0)
    even = [rng.choice(found, min(len(found), 60), replace=False) for found in same.values()]
    report(f"a picture and a clip, {len(same)} people", list(np.concatenate(even)), other)


def main() -> None:
    """Read, fit, write, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("media", type=Path)
    arguments = parser.parse_args()
    data, media = arguments.data, arguments.media
    write_unrolling(ASSETS / "unrolled_face.npz")
    samples = [*named(data / "faces"), *stills(data, media), *clips(data, media)]
    train = [s for s in samples if not s.held_out]
    print(f"{len(train)} faces of {len({s.person for s in train})} people")
    mean, projection = fit(train)
    np.savez_compressed(ASSETS / "recognition.npz", mean=mean, projection=projection)
    both = np.stack([s.patterns for s in samples]) - mean.astype(np.float32)
    measure(samples, unit(unit(both @ projection.astype(np.float32)).sum(1)))


if __name__ == "__main__":
    main()
