"""Mouths to learn from: real open ones, and the same mouths as the mesh draws them."""

from __future__ import annotations

import csv
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.engines.mesh import lips
from mien.engines.mesh.appearance import (
    HEIGHT,
    NOT_GIVEN,
    PIXELS_PER_EYE_DISTANCE,
    WIDTH,
    Exemplar,
    Layer,
    MouthFrame,
    Points,
    conditions,
    inside,
    skin_color,
)
from mien.engines.mesh.engine import MeshEngine, MeshSettings
from mien.errors import InputError
from mien.face.facs import ACTION_UNITS
from mien.face.follow import Face
from mien.face.pose import head_pose
from mien.face.topology import INNER_LOWER, INNER_UPPER
from mien.face.tracker import FaceTracker
from mien.media.frame import ArrayPicture, RGBImage
from mien.training.appearance import AppearanceConfig
from mien.training.tracker.data import read_member

_CANVAS: Final = (400, 400)
"""Width and height of the part of a face that the mesh warps, pixels of a patch."""

_PATCH_CORNER: Final = (136, 204)
"""Where the patch lies on the canvas: the mouth is below the middle of the face."""

_LEAST_GAP: Final = 0.02
"""Lip gap, eye distances, from which a mouth is learned from."""

_LEAST_GAP_SMALL: Final = 0.05
"""The same in small pictures, where narrow gaps are a few blurred pixels."""

_MOST_YAW: Final = 0.6
_PARTNERS: Final = 2
"""Other frames of the same person from which the mesh draws a mouth."""

_UNLIKE_FRAMES: Final = 30.0
"""Mean difference of the skin, grey levels, from which two pictures of a person do not match."""

_STILLS: Final = 1200
_MUST_SHOW: Final = 0.3
"""Fraction of the inside that is clearly tooth or dark; below, the mouth shows lips alone."""

_SHARES: Final = {"london": 3.5, "liveportrait": 2.2, "stccl": 0.8, "real": 0.55, "still": 0.12}
"""How often a mouth of a source is drawn, before its quality counts."""

_HELD_OUT: Final = re.compile(r"d1[08]\b|d1[08]\.")
_LONDON_STEP: Final = 6


@dataclass(frozen=True, slots=True)
class _Picture:
    """A face, upright on a canvas where a patch has the net's resolution."""

    image: RGBImage
    points: Points
    scale: float
    source: str
    person: str
    held_out: bool

    @property
    def gap(self) -> float:
        return lips.opening(self.points) / PIXELS_PER_EYE_DISTANCE

    @property
    def yaw(self) -> float:
        return head_pose(self.points).yaw


@dataclass(frozen=True)
class Mouths:
    """Patches of open mouths.

    Attributes:
        target: ``uint8 (N, 96, 128, 3)``: the real mouth.
        warped: ``uint8 (M, 96, 128, 3)``: the mouth as the mesh draws it.
        first: ``int64 (N + 1,)``: mouth ``i`` has the warped patches ``first[i]:first[i + 1]``.
        outline: ``float32 (N, 82, 2)``.
        to_head: ``float64 (N, 2, 3)``.
        yaw, pitch, scale, gap: ``float32 (N,)``; gap in eye distances.
        style: ``float32 (N, 2)``: dark and toothy fractions of the inside.
        share: ``float64 (N,)``, how often each is drawn.
        source, person: ``str (N,)``.
        held_out: ``bool (N,)``: measured on, not trained on.
    """

    target: npt.NDArray[np.uint8]
    warped: npt.NDArray[np.uint8]
    first: npt.NDArray[np.int64]
    outline: Layer
    to_head: npt.NDArray[np.float64]
    yaw: Layer
    pitch: Layer
    scale: Layer
    gap: Layer
    style: Layer
    share: npt.NDArray[np.float64]
    source: npt.NDArray[np.str_]
    person: npt.NDArray[np.str_]
    held_out: npt.NDArray[np.bool_]

    def frame(self, index: int) -> MouthFrame:
        """Return where a patch lies; ``to_patch`` is that of the patch itself."""
        return MouthFrame(
            np.eye(2, 3),
            self.outline[index],
            self.to_head[index],
            float(self.yaw[index]),
            float(self.pitch[index]),
            float(self.scale[index]),
        )


_COLUMNS: Final = tuple(item.name for item in fields(Mouths))


def load_mouths(config: AppearanceConfig, cache: Path) -> Mouths:
    """Cut the mouths out of all pictures into ``cache``, or open what was cut before.

    Raises:
        InputError: when files are missing or cannot be used.
    """
    if not all((cache / f"{name}.npy").is_file() for name in _COLUMNS):
        cache.mkdir(parents=True, exist_ok=True)
        for name, values in _collect(config).items():
            np.save(cache / f"{name}.npy", values)
    return open_mouths(cache)


def open_mouths(cache: Path) -> Mouths:
    """Open what :func:`load_mouths` cut."""
    arrays = {n: np.load(cache / f"{n}.npy", mmap_mode="r", allow_pickle=False) for n in _COLUMNS}
    small = {n: np.array(a) for n, a in arrays.items() if n not in ("target", "warped")}
    return Mouths(**(arrays | small))


def _collect(config: AppearanceConfig) -> dict[str, npt.NDArray[np.generic]]:
    people: dict[tuple[str, str], list[_Picture]] = defaultdict(list)
    for picture in (*_portraits(config.portraits), *_crops(config.faces, config.manifest)):
        people[picture.source, picture.person].append(picture)
    rows: list[dict[str, object]] = []
    warped: list[RGBImage] = []
    first = [0]
    for pictures in people.values():
        for picture in pictures:
            row = _described(picture)
            if row is None:
                continue
            drawn = [_closed_and_opened(picture)]
            drawn += [_drawn_from(other, picture) for other in _partners(picture, pictures)]
            rows.append(row)
            warped += drawn
            first.append(len(warped))
    if not rows:
        raise InputError("There is no open mouth to train on.")
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return columns | {"warped": np.array(warped), "first": np.array(first, np.int64)}


def _portraits(folder: Path) -> Iterator[_Picture]:
    tracker = FaceTracker(max_faces=1, still=True)
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    order = sorted({row["person"] for row in rows if row["source"] == "london"})
    london_held_out = set(order[::_LONDON_STEP])
    for row in rows:
        read = cv2.imread(str(folder / row["file"]), cv2.IMREAD_COLOR)
        if read is None:
            raise InputError(f"{folder} lacks the picture {row['file']}.")
        image = np.ascontiguousarray(read[..., ::-1])
        faces = tracker(image)
        held_out = row["person"] in london_held_out or bool(_HELD_OUT.search(row["person"]))
        if faces:
            yield _placed(image, faces[0], row["source"], row["person"], held_out)


def _crops(folder: Path, manifest: Path) -> Iterator[_Picture]:
    """Frames of real clips, and stills."""
    labels, crops = folder / "labels.npz", folder / "crops.tar"
    with manifest.open(newline="", encoding="utf-8") as file:
        kinds = {row["clip"]: row["kind"] for row in csv.DictReader(file)}
    with np.load(labels, allow_pickle=False) as stored:
        landmarks, split = stored["landmarks"].astype(np.float32), stored["split"]
        sources = stored["source"].astype(str)
    rng = np.random.default_rng(0)
    stills = [i for i, name in enumerate(sources) if name.startswith("mux")]
    chosen = set(rng.permutation(stills)[:_STILLS].tolist())
    with tarfile.open(crops) as archive:
        for number, member in enumerate(sorted(archive.getnames())):
            name = sources[number]
            clip = Path(name).name.split(".mp4")[0]
            if name.startswith("video") and kinds.get(clip) == "real":
                if "liveportrait" in clip:  # the sharp frames are among the portraits
                    continue
                source, person = "real", clip
            elif number in chosen:
                source, person = "still", name
            else:
                continue
            image = read_member(archive, member)
            held_out = bool(split[number] != "train")
            yield _placed(image, landmarks[number], source, person, held_out)


def _placed(
    image: RGBImage, landmarks: npt.NDArray[np.float32], source: str, person: str, held_out: bool
) -> _Picture:
    """Move a face to the canvas."""
    points = landmarks.astype(np.float64)
    pose = head_pose(points)
    matrix = MouthFrame.of(points, pose).to_patch.copy()
    matrix[:, 2] += _PATCH_CORNER
    factor = PIXELS_PER_EYE_DISTANCE / pose.scale
    if factor < 0.7:
        image = cv2.GaussianBlur(image, (0, 0), 0.45 / factor)
    placed = cv2.warpAffine(
        image, matrix, _CANVAS, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    points[:, :2] = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    points[:, 2] *= factor
    return _Picture(placed, points, pose.scale, source, person, held_out)


def _patch(image: RGBImage) -> RGBImage:
    x, y = _PATCH_CORNER
    return image[y : y + HEIGHT, x : x + WIDTH]


def _described(picture: _Picture) -> dict[str, object] | None:
    """Return the columns of one mouth; None when nothing can be learned from it."""
    small = picture.source in ("real", "still")
    gap = picture.gap
    if gap < (_LEAST_GAP_SMALL if small else _LEAST_GAP) or abs(picture.yaw) > _MOST_YAW:
        return None
    corner = np.array([*_PATCH_CORNER, 0.0])
    points = picture.points - corner
    frame = MouthFrame.of(points, head_pose(points))
    target = _patch(picture.image)
    style = _style(target, frame.outline)
    if style is None or style.sum() < _MUST_SHOW:
        return None
    gray = cv2.cvtColor(target, cv2.COLOR_RGB2GRAY).astype(np.float32)
    edges = np.abs(cv2.Laplacian(cv2.GaussianBlur(gray, (0, 0), 0.7), cv2.CV_32F)).mean()
    sharp = float(edges / (gray.std() + 5))
    color = float(np.ptp(target.astype(np.int16), axis=2).mean())
    share = _SHARES[picture.source] * (np.clip(picture.scale, 30, 110) / 45) ** 0.7
    share *= np.clip(0.15 / gap, 0.6, 1.5) * np.clip(sharp / 0.12, 0.4, 1.5)
    share *= np.clip((style.sum() - 0.1) / 0.3, 0.2, 1) * (0.3 if color < 6 else 1.0)
    return {
        "target": target,
        "outline": frame.outline,
        "to_head": frame.to_head,
        "yaw": np.float32(frame.yaw),
        "pitch": np.float32(frame.pitch),
        "scale": np.float32(picture.scale),
        "gap": np.float32(gap),
        "style": style,
        "share": share,
        "source": picture.source,
        "person": picture.person,
        "held_out": picture.held_out,
    }


def _style(patch: RGBImage, edge: Layer) -> Layer | None:
    """Measure which fractions of the inside are dark, and teeth; None for a mouth too small."""
    within = inside(edge) > 0.5
    around = (inside(edge, 8) > 0.5) & (inside(edge, 3) < 0.5)
    if within.sum() < 30 or not around.any():
        return None
    pixels, lip = patch[within].astype(np.float32), patch[around].astype(np.float32).mean(0)
    light, level = pixels.mean(1), float(lip.mean())
    gray = float(_saturation(lip[None])[0])
    pale = (_saturation(pixels) < 0.65 * gray) & (gray > 0.12)
    tooth = (light > 1.15 * level) | ((light > 0.85 * level) & pale)
    dark = light < 0.62 * level
    return np.array([dark.mean(), (tooth & ~dark).mean()], np.float32)


def _saturation(colors: Layer) -> Layer:
    out: Layer = (colors.max(-1) - colors.min(-1)) / (colors.max(-1) + 5)
    return out


def _partners(picture: _Picture, pictures: Sequence[_Picture]) -> list[_Picture]:
    """Return pictures of the same person in the same light, the most closed mouths first."""
    if picture.source == "still":
        return []
    skin = skin_color(_patch(picture.image), _edge(picture))
    found = []
    for other in pictures:
        if other is picture or other.gap > 0.6 * picture.gap:
            continue
        unlike = np.abs(skin_color(_patch(other.image), _edge(other)) - skin).mean()
        if abs(other.yaw - picture.yaw) < 0.25 and unlike < _UNLIKE_FRAMES:
            found.append((abs(other.yaw - picture.yaw) + unlike / 100, other))
    found.sort(key=lambda entry: entry[0])
    return [other for _, other in found[:_PARTNERS]]


def _edge(picture: _Picture) -> Layer:
    points = picture.points - np.array([*_PATCH_CORNER, 0.0])
    return MouthFrame.of(points, head_pose(points)).outline


_ENGINE: Final = MeshEngine(MeshSettings(wrinkles=0.0))
_NO_UNITS: Final = np.zeros(len(ACTION_UNITS), np.float32)


def _moved(picture: _Picture, motion: Points) -> _Picture:
    """Draw a picture with its landmarks moved by ``motion``, head frame."""
    face = Face(0, picture.points.astype(np.float32))
    drawn = _ENGINE.move(ArrayPicture(picture.image), face, motion, _NO_UNITS).image()
    points = picture.points + head_pose(picture.points).rotate(motion)
    return replace(picture, image=drawn, points=points)


def _closed_and_opened(picture: _Picture) -> RGBImage:
    """Close a mouth by the mesh and open it again as it was."""
    head = head_pose(picture.points).to_head(picture.points)
    gap = head[list(INNER_LOWER), 1] - head[list(INNER_UPPER), 1]
    motion = lips.close_gap(np.zeros_like(head), -np.maximum(gap, 0))
    motion = lips.steady_corners(head, motion)
    return _patch(_moved(_moved(picture, motion), -motion).image)


def _drawn_from(other: _Picture, picture: _Picture) -> RGBImage:
    """Draw the mouth of ``picture`` from another picture of the same person."""
    pose = head_pose(other.points)
    motion = (picture.points - other.points) @ pose.rotation / pose.scale
    return _patch(_moved(other, motion).image)


@dataclass(frozen=True, slots=True)
class Sample:
    """One example: the net's input ``(16, 96, 128)`` and the real mouth, RGB 0..255."""

    planes: Layer
    target: Layer


class Drawer:
    """Draws augmented examples of mouths."""

    def __init__(self, mouths: Mouths) -> None:
        self.mouths = mouths
        share = mouths.share * ~mouths.held_out
        self.share = share / share.sum()
        same: dict[str, list[int]] = defaultdict(list)
        for i, person in enumerate(mouths.person):
            if mouths.source[i] not in ("london", "still"):
                same[person].append(i)
        self._same = same
        good = (mouths.source == "london") & ~mouths.held_out & (mouths.gap > 0.07)
        good &= mouths.style[:, 1] > 0.3
        self._donors = np.flatnonzero(good)
        if not len(self._donors):
            self._donors = np.flatnonzero(~mouths.held_out)

    def draw(self, rng: np.random.Generator) -> Sample:
        """Draw an example to train on."""
        index = int(rng.choice(len(self.share), p=self.share))
        return self.example(index, rng)

    def example(self, index: int, rng: np.random.Generator, *, augment: bool = True) -> Sample:
        """Return an example of one mouth, drawn as the mesh does from another frame or itself."""
        mouths = self.mouths
        first, last = mouths.first[index], mouths.first[index + 1]
        which = int(rng.integers(first, last))
        patch, target = mouths.warped[which], mouths.target[index]
        frame = mouths.frame(index)
        style = (float(mouths.style[index, 0]), float(mouths.style[index, 1]))
        chosen = self._exemplar_of(index, rng)
        exemplar = Exemplar.of(mouths.target[chosen], mouths.outline[chosen])
        if not augment:
            planes = exemplar.planes(frame.outline, skin_color(patch, frame.outline))
            return Sample(conditions(patch, frame, planes, style), target.astype(np.float32))
        both = np.concatenate([patch, target], 2).astype(np.float32)
        both, frame = _jittered(both, frame, rng)
        both = _relit(both, rng)
        if rng.random() < 0.08:
            gray = [part.mean(2, keepdims=True).repeat(3, 2) for part in np.split(both, 2, 2)]
            both = np.concatenate(gray, 2)
        both, frame = _coarser(both, frame, rng)
        patch, target = both[..., :3], both[..., 3:]
        noisy = replace(frame, outline=_jittered_edge(frame.outline, rng))
        drawn = None
        if rng.random() > 0.12:
            if rng.random() < 0.5:
                exemplar = _mirrored(exemplar)
            light = np.exp(rng.normal(0, 0.1) + rng.normal(0, 0.03, 3)).astype(np.float32)
            skin = skin_color(patch, noisy.outline) * light
            drawn = exemplar.planes(noisy.outline + _shift(rng), skin)
        if rng.random() < 0.25:
            style = NOT_GIVEN
        return Sample(conditions(patch, noisy, drawn, style), np.ascontiguousarray(target))

    def _exemplar_of(self, index: int, rng: np.random.Generator) -> int:
        """Choose another open mouth of the same person, or else a donor of a similar shape."""
        own = [i for i in self._same.get(self.mouths.person[index], ()) if i != index]
        if own and rng.random() < 0.6:
            few = rng.choice(own, min(4, len(own)), replace=False)
            return int(few[np.argmax(self.mouths.gap[few])])
        donors = self._donors[self._donors != index]
        few = rng.choice(donors, min(6, len(donors)), replace=False)
        unlike = np.abs(self.mouths.yaw[few] - self.mouths.yaw[index])
        return int(few[np.argmin(unlike)])


def _jittered(
    image: Layer, frame: MouthFrame, rng: np.random.Generator
) -> tuple[Layer, MouthFrame]:
    """Scale, turn, shift and mirror a patch a little."""
    scale, angle = np.exp(rng.normal(0, 0.06)), rng.normal(0, 0.05)
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    center = np.array([WIDTH / 2 - 0.5, HEIGHT / 2 - 0.5])
    turn = np.array([[c, -s], [s, c]])
    shift = center + rng.normal(0, 1.5, 2) - turn @ center
    flip = rng.random() < 0.5
    if flip:
        turn, shift = np.diag([-1.0, 1.0]) @ turn, np.array([WIDTH - 1 - shift[0], shift[1]])
    matrix = np.column_stack([turn, shift])
    image = cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    edge = (frame.outline @ turn.T + shift).astype(np.float32)
    back = np.linalg.inv(turn)
    linear = frame.to_head[:, :2] @ back
    to_head = np.column_stack([linear, frame.to_head[:, 2] - linear @ shift])
    yaw = frame.yaw
    if flip:
        to_head[0] *= -1
        yaw = -yaw
        edge = np.concatenate([edge[:41][::-1], edge[41:][::-1]])
    moved = replace(frame, outline=edge, to_head=to_head, yaw=yaw, scale=frame.scale * scale)
    return image, moved


def _relit(image: Layer, rng: np.random.Generator) -> Layer:
    """Change level, colour, tone, and light from a side, equally in both images."""
    gain = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.05, 3)).astype(np.float32)
    out: Layer = image * np.tile(gain, 2)
    if rng.random() < 0.3:
        power = np.float32(np.exp(rng.normal(0, 0.2)))
        out = (255 * np.clip(out / 255, 0, 1) ** power).astype(np.float32)
    if rng.random() < 0.3:
        angle = rng.uniform(0, 2 * np.pi)
        slope = (rng.normal(0, 0.25) * np.array([np.cos(angle), np.sin(angle)])).astype(np.float32)
        x = np.linspace(-0.5, 0.5, WIDTH, dtype=np.float32)[None, :, None]
        y = np.linspace(-0.5, 0.5, HEIGHT, dtype=np.float32)[:, None, None]
        out = out * (1 + slope[0] * x + slope[1] * y)
    return np.clip(out, 0, 255)


def _coarser(image: Layer, frame: MouthFrame, rng: np.random.Generator) -> tuple[Layer, MouthFrame]:
    """Simulate a smaller picture."""
    factor = rng.uniform(0.4, 1.0)
    scale = factor * PIXELS_PER_EYE_DISTANCE
    if rng.random() > 0.3 or scale > frame.scale:
        return image, frame
    size = (max(8, int(WIDTH * factor)), max(6, int(HEIGHT * factor)))
    parts = []
    for part in (image[..., :3], image[..., 3:]):
        small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        parts.append(cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
    out = np.concatenate(parts, 2)
    return np.clip(out, 0, 255), replace(frame, scale=scale)


def _jittered_edge(edge: Layer, rng: np.random.Generator) -> Layer:
    """Move an outline as an inexact tracker does: smoothly along the lips."""
    noise = rng.normal(0, 1, (9, 2)).astype(np.float32)
    smooth = cv2.resize(noise, (2, len(edge)), interpolation=cv2.INTER_CUBIC)
    out: Layer = edge + 0.6 * smooth
    return out


def _mirrored(exemplar: Exemplar) -> Exemplar:
    edge = exemplar.outline.copy()
    edge[:, 0] = WIDTH - 1 - edge[:, 0]
    edge = np.concatenate([edge[:41][::-1], edge[41:][::-1]])
    return replace(exemplar, image=np.ascontiguousarray(exemplar.image[:, ::-1]), outline=edge)


def _shift(rng: np.random.Generator) -> Layer:
    return rng.normal(0, 1.2, 2).astype(np.float32)
