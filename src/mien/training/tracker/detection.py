"""Training of the detector: faces of all sizes are pasted into pictures without faces."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch

from mien.face.crop import Crop, face_square
from mien.face.detector import CELL_PIXELS, decode
from mien.face.topology import EYE_POINTS, MOUTH_CORNERS, canonical_face
from mien.media.frame import RGBImage
from mien.training.tracker import TrackerConfig
from mien.training.tracker.data import Faces, TrackerData, patch, photograph
from mien.training.tracker.nets import Batch, DetectorNet, NetSpec, TrackerTask

PIXELS: Final = 256
"""Side of the training pictures; the net runs on any size."""

_SMALLEST: Final = 9.0
_LARGEST: Final = 235.0
"""Sizes of faces in pixels."""

_FACE_COUNT_SHARES: Final = (0.15, 0.4, 0.2, 0.12, 0.08, 0.05)
"""Shares of the pictures with 0, 1, 2 … faces."""

_FOCUS: Final = 2
_NEAR_MIDDLE: Final = 4
"""Exponents of the focal loss (Zhou et al., Objects as Points, 2019)."""

_BOX_WEIGHT: Final = 1.0
_KEYS_WEIGHT: Final = 0.5
_MEASURE_BATCH: Final = 32


def key_points(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the middles of the right and left eye, the nose tip, and the mouth's corners."""
    eyes = [points[list(EYE_POINTS[side][:16]), :2].mean(0) for side in "RL"]
    return np.array([*eyes, points[1, :2], *points[list(MOUTH_CORNERS), :2]], np.float32)


class DetectorTask(TrackerTask[DetectorNet]):
    """Trains the detector."""

    def __init__(self, config: TrackerConfig, data: TrackerData) -> None:
        super().__init__(config, data)
        self._sources = [f for f in (data.singles, data.pairs) if f is not None]
        self._train = [np.flatnonzero(~f.held_out) for f in self._sources]

    def new_net(self) -> DetectorNet:
        """Create a detector."""
        return DetectorNet(NetSpec("detector", PIXELS, self.config.widths, self.config.blocks))

    def batch(self, step: int) -> Batch:
        """Draw pictures ``images (B, H, W, 3)`` and the target maps ``targets (B, h, w, 14)``."""
        rng = self.rng(step)
        images, maps = [], []
        for _ in range(self.config.singles):
            image, faces = self._scene(rng, self._train)
            images.append(photograph(image, rng))
            maps.append(_target(faces))
        arrays = {"images": np.array(images), "targets": np.array(maps)}
        return {name: torch.from_numpy(values) for name, values in arrays.items()}

    def _scene(
        self, rng: np.random.Generator, indices: list[npt.NDArray[np.int64]]
    ) -> tuple[RGBImage, list[npt.NDArray[np.float32]]]:
        """A picture and the landmarks of the faces in it."""
        pictures = self._data.pictures
        scene = patch(pictures, PIXELS, rng).copy()
        for _ in range(int(rng.integers(3))):  # distractors
            side = int(rng.uniform(12, 160))
            self._paste_square(scene, patch(pictures, side, rng), rng.uniform(0, PIXELS, 2), rng)
        placed: list[npt.NDArray[np.float32]] = []
        for _ in range(int(rng.choice(len(_FACE_COUNT_SHARES), p=_FACE_COUNT_SHARES))):
            which = int(rng.random() < 0.3) if len(self._sources) > 1 else 0
            index = int(rng.choice(indices[which]))
            points = self._paste(scene, self._sources[which], index, placed, rng)
            if points is not None:
                placed.append(points)
        return scene, placed

    def _paste(
        self,
        scene: RGBImage,
        faces: Faces,
        index: int,
        placed: list[npt.NDArray[np.float32]],
        rng: np.random.Generator,
    ) -> npt.NDArray[np.float32] | None:
        """Paste a face and return its landmarks in the scene, or None where there is no room."""
        points = faces.points[index]
        if rng.random() < 0.5:  # mirrored
            image = cv2.flip(faces.images[index], 1)
            points = points[canonical_face().mirror]
            points[:, 0] = image.shape[1] - points[:, 0]
        else:
            image = faces.images[index]
        size = float(np.exp(rng.uniform(np.log(_SMALLEST), np.log(_LARGEST))))
        x, y = (
            rng.uniform(0.3 * size, PIXELS - 0.3 * size, 2)
            if size < PIXELS / 1.5
            else (PIXELS / 2 + rng.normal(0, 0.1, 2) * PIXELS)
        )
        for other in placed:
            box = face_square(other)
            if max(abs(x - box.x), abs(y - box.y)) < (box.side + size) * 0.62:
                return None
        shrink = 1.2 * size / face_square(points).side
        if shrink < 0.8:
            image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
            points = points * np.float32(shrink)
        own = face_square(points)
        angle = float(np.clip(rng.normal(0, 0.3), -1.0, 1.0))
        # This crop, placed at (x, y) in the scene, shows the face at this size.
        around = Crop(own.x, own.y, own.side * PIXELS / size, angle)
        matrix = around.matrix(PIXELS)
        matrix[:, 2] += (x - PIXELS / 2, y - PIXELS / 2)
        mask = self._mask(image.shape[0], points, rng)
        reach = 1.3 * size + 2
        left, top = max(0, int(x - reach)), max(0, int(y - reach))
        under = scene[top : int(y + reach), left : int(x + reach)]
        near = matrix - [[0, 0, left], [0, 0, top]]
        extent = (under.shape[1], under.shape[0])
        layer = cv2.warpAffine(image, near, extent)
        alpha = cv2.warpAffine(mask, near, extent)
        under[:] = cv2.blendLinear(layer, np.ascontiguousarray(under), alpha, 1 - alpha)
        out = points.copy()
        out[:, :2] = (points[:, :2] - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
        return out

    @staticmethod
    def _mask(
        side: int, points: npt.NDArray[np.float32], rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """The whole picture, or a soft ellipse around the head."""
        if rng.random() < 0.4:
            return np.ones((side, side), np.float32)
        mask = np.zeros((side, side), np.float32)
        box = face_square(points)
        axes = (int(box.side * rng.uniform(0.58, 0.75)), int(box.side * rng.uniform(0.68, 0.85)))
        middle = (int(box.x), int(box.y - 0.08 * box.side))
        cv2.ellipse(mask, middle, axes, 0, 0, 360, 1.0, -1)
        return cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.5, 0.06 * side)))

    @staticmethod
    def _paste_square(
        scene: RGBImage, piece: RGBImage, middle: npt.NDArray[np.float64], rng: np.random.Generator
    ) -> None:
        """Paste a square where it fits, with a hard or soft edge, like the faces."""
        side = piece.shape[0]
        if side >= PIXELS:
            return
        x, y = (int(np.clip(v - side / 2, 0, PIXELS - side)) for v in middle)
        mask = np.ones((side, side), np.float32)
        if rng.random() < 0.6:
            mask[:] = 0
            half = side // 2
            cv2.ellipse(mask, (half, half), (int(half * 0.75), int(half * 0.9)), 0, 0, 360, 1.0, -1)
            mask = cv2.GaussianBlur(mask, (0, 0), max(0.5, side * 0.03))
        under = scene[y : y + side, x : x + side]
        under[:] = (piece * mask[..., None] + under * (1 - mask[..., None])).astype(np.uint8)

    def parts(self, net: DetectorNet, batch: Batch) -> Batch:
        """Compute the focal loss of the middles, and box and key points at the middles."""
        output = net(batch["images"])
        targets = batch["targets"].permute(0, 3, 1, 2)
        heat, wanted = output[:, 0], targets[:, 0]
        middle = wanted == 1
        count = middle.sum().clamp(min=1)
        sure = torch.sigmoid(heat).clamp(1e-4, 1 - 1e-4)
        hit = (1 - sure).pow(_FOCUS) * torch.log(sure) * middle
        miss = (1 - wanted).pow(_NEAR_MIDDLE) * sure.pow(_FOCUS) * torch.log(1 - sure) * ~middle
        # Cells beside a middle learn the box too: the best cell is not always the exact one.
        near = (wanted > 0.6).float()
        many = near.sum().clamp(min=1)
        box = (output[:, 1:4] - targets[:, 1:4]).abs().sum(1) * near
        size = targets[:, 3].exp().unsqueeze(1)  # errors of key points are relative to the face
        keys = ((output[:, 4:] - targets[:, 4:]).abs() / size).sum(1) * near
        return {
            "middle": -(hit + miss).sum() / count,
            "box": _BOX_WEIGHT * box.sum() / many,
            "keys": _KEYS_WEIGHT * keys.sum() / many,
        }

    def measure(self, net: DetectorNet) -> dict[str, float]:
        """Measure found and false faces in held-out scenes; errors are relative to the face."""
        rng = np.random.default_rng(0)
        held_out = [np.flatnonzero(f.held_out) for f in self._sources]
        found = {"small": [0, 0], "large": [0, 0]}
        false, boxes, keys = 0, [], []
        for start in range(0, self.config.scenes, _MEASURE_BATCH):
            count = min(_MEASURE_BATCH, self.config.scenes - start)
            scenes = [self._scene(rng, held_out) for _ in range(count)]
            images = np.array([scene for scene, _ in scenes])
            device = next(net.parameters()).device
            maps = net(torch.from_numpy(images).to(device)).float().cpu().numpy()
            for found_map, (_, faces) in zip(maps, scenes, strict=True):
                left = list(decode(found_map, 0.5))
                for points in faces:
                    box = face_square(points)
                    kind = found["small" if box.side < 24 else "large"]
                    kind[1] += 1
                    hit = next((d for d in left if d.square.near(box, 0.4)), None)
                    if hit is None:
                        continue
                    left.remove(hit)
                    kind[0] += 1
                    boxes.append(abs(np.log(hit.square.side / box.side)))
                    keys.append(np.abs(hit.keypoints - key_points(points)).mean() / box.side)
                false += len(left)
        return {
            "found small": found["small"][0] / max(1, found["small"][1]),
            "found large": found["large"][0] / max(1, found["large"][1]),
            "false per picture": false / self.config.scenes,
            "size error": float(np.mean(boxes or [1])),
            "key error": float(np.mean(keys or [1])),
        }


def _target(faces: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """The map that the net should return, ``float32 (h, w, 14)``."""
    cells = PIXELS // CELL_PIXELS
    out = np.zeros((cells, cells, 14), np.float32)
    rows, columns = np.mgrid[:cells, :cells]
    for points in faces:
        box = face_square(points)
        x, y = box.x / CELL_PIXELS - 0.5, box.y / CELL_PIXELS - 0.5
        column, row = int(np.clip(round(x), 0, cells - 1)), int(np.clip(round(y), 0, cells - 1))
        spread = max(0.6, 0.1 * box.side / CELL_PIXELS)
        heat = np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / (2 * spread**2))
        mine = heat > out[..., 0]
        out[..., 0] = np.maximum(out[..., 0], heat)
        keys = key_points(points) / CELL_PIXELS - 0.5
        for i, (kx, ky) in enumerate([(x, y), *keys]):
            place = (1, 2) if i == 0 else (2 + 2 * i, 3 + 2 * i)
            out[..., place[0]][mine] = (kx - columns)[mine]
            out[..., place[1]][mine] = (ky - rows)[mine]
        out[..., 3][mine] = np.log(box.side / CELL_PIXELS)
    return out
