"""Training of the landmark nets: batches, objective, measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mien.errors import InputError
from mien.face.crop import Crop, eye_crop, eye_distance, face_crop, mouth_crop
from mien.face.landmarker import PARTS, Part
from mien.face.topology import EYE_POINTS, LIPS, canonical_face
from mien.media.frame import RGBImage
from mien.training.tracker import TrackerConfig
from mien.training.tracker.data import (
    Faces,
    TrackerData,
    cut_over,
    jitter,
    occlude,
    patch,
    photograph,
)
from mien.training.tracker.nets import Batch, LandmarkNet, NetSpec, TrackerTask

_WING: Final = 0.04
_WING_CURVATURE: Final = 0.008
"""Sides of the crop: the loss is linear above ``_WING`` and steepest below the curvature."""

_DEPTH_WEIGHT: Final = 0.3
_FINE_WEIGHT: Final = 2.0
_GAPS_WEIGHT: Final = 2.0
_TEMPORAL_WEIGHT: Final = 1.0
_PRESENCE_WEIGHT: Final = 0.02
_MEASURE_BATCH: Final = 128


@dataclass(frozen=True, slots=True)
class _View:
    """A net's crop of a picture, and its points in pixels of the picture."""

    crop: Crop
    points: npt.NDArray[np.float32]


def view(part: Part, points: npt.NDArray[np.float32], *, flip: bool, which: str = "R") -> _View:
    """Return the exact crop of a part, and its points in the order of the net's output.

    Args:
        part: which net.
        points: landmarks of the face ``(478, 3)``, pixels.
        flip: mirror the crop (``face`` and ``mouth``).
        which: which eye.
    """
    face = face_crop(points)
    if part.name == "eye":
        return _View(eye_crop(points, face, which), points[list(EYE_POINTS[which])])
    crop = face if part.name == "face" else mouth_crop(points, face)
    if flip:
        points = points[canonical_face().mirror]
        crop = Crop(crop.x, crop.y, crop.side, crop.angle, mirrored=True)
    return _View(crop, points[list(LIPS)] if part.name == "mouth" else points)


class LandmarkTask(TrackerTask[LandmarkNet]):
    """Trains one landmark net."""

    def __init__(self, config: TrackerConfig, data: TrackerData) -> None:
        super().__init__(config, data)
        self.part = PARTS[config.net]
        self._singles = _drawable(data.singles)
        self._pairs = _drawable(data.pairs, step=2) if data.pairs is not None else None
        weights = np.ones((len(self.part.points), 3), np.float32)
        weights[list(self.part.fine)] *= _FINE_WEIGHT
        weights[:, 2] *= _DEPTH_WEIGHT
        self._weights = torch.from_numpy(weights / weights.mean())
        self._gaps = torch.tensor(self.part.gaps)

    def new_net(self) -> LandmarkNet:
        """Create a net that returns about the mean shape."""
        config = self.config
        spec = NetSpec(
            config.net,
            self.part.pixels,
            config.widths,
            config.blocks,
            config.hidden,
            len(self.part.points),
        )
        net = LandmarkNet(spec)
        faces = self._data.singles
        index = np.flatnonzero(~faces.held_out)[::20]
        shapes = []
        for i in index:
            seen = view(self.part, faces.points[i], flip=False)
            shapes.append(seen.crop.to_crop(seen.points))
        net.mean.copy_(torch.from_numpy(np.mean(shapes, 0)))
        return net

    def batch(self, step: int) -> Batch:
        """Draw pictures, targets and presence; pairs follow the singles, then empty pictures."""
        config, rng = self.config, self.rng(step)
        images: list[RGBImage] = []
        targets: list[npt.NDArray[np.float32]] = []
        for index in rng.choice(self._singles[0], config.singles, p=self._singles[1]):
            self._add(self._data.singles, [int(index)], images, targets, rng)
        if self._pairs is not None and self._data.pairs is not None:
            for index in rng.choice(self._pairs[0], config.pairs, p=self._pairs[1]):
                both = [int(index), int(index) + 1]
                self._add(self._data.pairs, both, images, targets, rng)
        faces = len(images)
        for _ in range(config.empties):
            images.append(self._without_face(rng))
        present = np.zeros(len(images), np.float32)
        present[:faces] = 1
        arrays = {"images": np.array(images), "targets": np.array(targets), "present": present}
        return {name: torch.from_numpy(values) for name, values in arrays.items()}

    def _add(
        self,
        faces: Faces,
        indices: list[int],
        images: list[RGBImage],
        targets: list[npt.NDArray[np.float32]],
        rng: np.random.Generator,
    ) -> None:
        """Add neighbouring frames with the same augmentation."""
        flip, which = bool(rng.random() < 0.5), "RL"[rng.integers(2)]
        first = view(self.part, faces.points[indices[0]], flip=flip, which=which).crop
        crop = jitter(first, rng, loose=bool(rng.random() < self.config.loose))
        covered = rng.random() < 0.25
        seed = int(rng.integers(2**62))
        for index in indices:
            points = view(self.part, faces.points[index], flip=flip, which=which).points
            same = np.random.default_rng(seed)
            image = cut_over(faces.images[index], crop, self.part.pixels, same, self._data.pictures)
            if covered:
                image = occlude(image, same, self._data.pictures)
            images.append(photograph(image, same))
            targets.append(crop.to_crop(points))

    def _without_face(self, rng: np.random.Generator) -> RGBImage:
        """A part of a picture without faces, or of a face: much too close, or beside it."""
        pixels, pictures = self.part.pixels, self._data.pictures
        if rng.random() < 0.7:
            return photograph(patch(pictures, pixels, rng), rng)
        faces = self._data.singles
        index = int(rng.choice(self._singles[0]))
        crop = face_crop(faces.points[index])
        if rng.random() < 0.5:
            away = rng.uniform(0, 2 * np.pi)
            off = rng.uniform(0.65, 0.8) * crop.side
            crop = Crop(crop.x + off * np.cos(away), crop.y + off * np.sin(away), crop.side)
        else:
            shift = rng.uniform(-0.2, 0.2, 2) * crop.side
            side = crop.side * rng.uniform(0.12, 0.3)
            crop = Crop(crop.x + shift[0], crop.y + shift[1], side, rng.uniform(-3, 3))
        return photograph(cut_over(faces.images[index], crop, pixels, rng, pictures), rng)

    def parts(self, net: LandmarkNet, batch: Batch) -> Batch:
        """Compute the losses of points, openings, motion between neighbours, and presence."""
        points, present = net(batch["images"])
        targets = batch["targets"]
        faces = len(targets)
        points = points[:faces]
        error = (points - targets).abs()
        parts = {"points": (wing(error) * self._weights.to(error.device)).mean()}
        a, b = self._gaps.to(error.device).unbind(1)
        opening = _distance(points, a, b) - _distance(targets, a, b)
        parts["gaps"] = _GAPS_WEIGHT * wing(opening.abs()).mean()
        if self._pairs is not None:
            start = self.config.singles
            moved = points[start + 1 :: 2] - points[start::2]
            wanted = targets[start + 1 :: 2] - targets[start::2]
            weights = self._weights.to(error.device)
            parts["temporal"] = _TEMPORAL_WEIGHT * ((moved - wanted).abs() * weights).mean()
        if self.part.name == "face":
            seen = nn.functional.binary_cross_entropy_with_logits(present, batch["present"])
            parts["present"] = _PRESENCE_WEIGHT * seen
        return parts

    def measure(self, net: LandmarkNet) -> dict[str, float]:
        """Measure errors on held-out faces in inexact crops, as shares of the eye distance."""
        out = _errors(net, self.part, self._data.singles, 1)
        if self._data.pairs is not None:
            clips = _errors(net, self.part, self._data.pairs, 2)
            out |= {f"clips/{name}": value for name, value in clips.items()}
        if self.part.name == "face":
            rng = np.random.default_rng(1)
            empty = np.array([self._without_face(rng) for _ in range(256)])
            logits = net(_on(net, empty))[1]
            out["false alarms"] = float((logits > 0).float().mean())
        return out


def wing(error: Tensor) -> Tensor:
    """Compute the wing loss (Feng et al., CVPR 2018), logarithmic for small errors."""
    slope = _WING * torch.log1p(error / _WING_CURVATURE) / np.log1p(_WING / _WING_CURVATURE)
    return torch.where(error < _WING, slope, error)


def _distance(points: Tensor, a: Tensor, b: Tensor) -> Tensor:
    apart = points[:, a, :2] - points[:, b, :2]
    return (apart.square().sum(-1) + 1e-8).sqrt()


def _drawable(faces: Faces, step: int = 1) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    index = np.flatnonzero(~faces.held_out)[::step]
    if not len(index):
        raise InputError("There is no face to train on.")
    share = faces.share[index].astype(np.float64)
    return index, share / share.sum()


def _on(net: nn.Module, images: npt.NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).to(next(net.parameters()).device)


def _errors(net: nn.Module, part: Part, faces: Faces, step: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    index = np.flatnonzero(faces.held_out)[::step]
    errors, openings, presents = [], [], []
    for start in range(0, len(index), _MEASURE_BATCH):
        images, views, sizes = [], [], []
        for i in index[start : start + _MEASURE_BATCH]:
            seen = view(part, faces.points[i], flip=False, which="RL"[i % 2])
            crop = jitter(seen.crop, rng, loose=False)
            images.append(crop.cut(faces.images[i], part.pixels))
            views.append(_View(crop, seen.points))
            sizes.append(eye_distance(faces.points[i]))
        found, present = net(_on(net, np.array(images)))
        presents.append((present > 0).float().cpu().numpy())
        for points, seen, size in zip(found.cpu().numpy(), views, sizes, strict=True):
            back = seen.crop.to_image(points)
            errors.append(np.linalg.norm((back - seen.points)[:, :2], axis=1) / size)
            openings.append([_gap(back, part), _gap(seen.points, part)])
    error, opening = np.array(errors), np.array(openings)
    out = {
        "mean": float(error.mean()),
        "median": float(np.median(error.mean(1))),
        "fine": float(error[:, list(part.fine)].mean()),
        "opening": float(np.corrcoef(opening.T)[0, 1]) if opening.std(0).all() else 0.0,
    }
    if part.name == "face":
        out["missed"] = 1 - float(np.concatenate(presents).mean())
    return out


def _gap(points: npt.NDArray[np.float32], part: Part) -> float:
    """The opening of the mouth or the eye at its middle."""
    middle = part.gaps[4] if part.name != "eye" else part.gaps[3]
    a, b = (points[i, :2] for i in middle)
    return float(np.linalg.norm(a - b))
