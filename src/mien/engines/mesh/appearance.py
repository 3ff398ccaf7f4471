"""The net that draws the inside of a mouth, and what it is given: patches in the mouth's frame.

A patch is upright, 1.1 eye distances wide and centred on the mouth. The net sees the warped skin
and lips with the inside removed, where the patch lies in the head frame, an example of a mouth's
inside, and how dark and how toothy the inside should be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from mien.face.pose import HeadPose
from mien.face.topology import (
    INNER_LOWER,
    INNER_UPPER,
    LOWER_LIP_MIDDLE,
    MOUTH_CORNERS,
    UPPER_LIP_MIDDLE,
    canonical_face,
)
from mien.media.frame import RGBImage
from mien.weights.bundled import open_arrays, open_net

Points = npt.NDArray[np.float64]
Layer = npt.NDArray[np.float32]
Affine = npt.NDArray[np.float64]
_Pixels = TypeVar("_Pixels", RGBImage, Layer)

WIDTH: Final = 128
HEIGHT: Final = 96
PIXELS_PER_EYE_DISTANCE: Final = WIDTH / 1.1
PLANES: Final = 16
DETAIL_PLANES: Final = 9
"""The first planes have detail; the others are smooth, and the net sees them at half the size."""

HOLE: Final = 1.5
"""Pixels by which the removed inside exceeds the outline of the lips."""

_LEAST_SCALE: Final = 20.0
_SIGNED_RANGE: Final = 16.0
HALF: Final = 41
"""Points of one lip in an outline."""

_MIDDLE, _LOWER_MIDDLE = 20, 61
"""Indices of the middles of the lips in an outline."""

_NO_TEETH, _TEETH_RANGE = 0.52, 0.32
"""Gap of a mouth wide open in which teeth hardly count, and over which their share falls to that,
eye distances."""

_DARK_FROM, _DARK_RISE = 0.24, 1.5
"""Gap from which the space behind the teeth shows, and how fast, per eye distance."""

_ROWS, _FEWEST_ROWS = 21, 7
"""Rows of a mouth that are looked at for teeth, and in how many of them these must show."""

_TOOTH_LIGHT, _TOOTH_PALE = 0.6, 0.78
"""Least brightness of a tooth relative to skin, and of its green relative to its red."""

_YAW_RANGE: Final = 0.3
_LIGHT_RANGE: Final = 60.0
"""Differences in yaw (radians) and in brightness of the skin that count equally."""

NOT_GIVEN: Final = (-0.5, -0.5)
"""Style of a mouth of which nothing is known."""

_BLENDED: Final = 1.0
"""Pixels beyond the hole over which the drawn inside gives way to the lips' own texture."""


@dataclass(frozen=True, slots=True)
class MouthFrame:
    """Where the patch of a mouth lies.

    Attributes:
        to_patch: ``(2, 3)``, image pixels to patch pixels.
        outline: ``float32 (82, 2)``: inner edge of the upper, then of the lower lip, patch pixels.
        to_head: ``(2, 3)``, patch pixels to x and y in the head frame, in the plane of the mouth.
        yaw, pitch: of the head, radians.
        scale: image pixels per eye distance.
    """

    to_patch: Affine
    outline: Layer
    to_head: Affine
    yaw: float
    pitch: float
    scale: float

    @classmethod
    def of(cls, points: Points, pose: HeadPose) -> MouthFrame:
        """Place the patch of a face with landmarks ``(478, 3)`` in image pixels."""
        angle = -np.arctan2(pose.rotation[1, 0], pose.rotation[0, 0])
        factor = PIXELS_PER_EYE_DISTANCE / pose.scale
        c, s = np.cos(angle) * factor, np.sin(angle) * factor
        rotation = np.array([[c, -s], [s, c]])
        edges = [UPPER_LIP_MIDDLE, LOWER_LIP_MIDDLE, *MOUTH_CORNERS]
        center = points[edges, :2].mean(0)
        shift = np.array([WIDTH / 2 - 0.5, HEIGHT / 2 - 0.5]) - rotation @ center
        back = np.linalg.inv(rotation)
        depth = float(pose.to_head(points[edges])[:, 2].mean())
        to_plane = np.linalg.inv(pose.scale * pose.rotation[:2, :2])
        origin = pose.translation[:2] + pose.scale * pose.rotation[:2, 2] * depth
        offset = to_plane @ (-back @ shift - origin)
        return cls(
            np.column_stack([rotation, shift]),
            (outline(points)[:, :2] @ rotation.T + shift).astype(np.float32),
            np.column_stack([to_plane @ back, offset]),
            pose.yaw,
            float(np.arctan2(-pose.rotation[1, 2], pose.rotation[2, 2])),
            pose.scale,
        )

    @property
    def gap(self) -> float:
        """Distance between the lips, eye distances."""
        return _gap(self.outline)

    def opened(self, gap: float) -> MouthFrame:
        """Return the frame of a mouth whose lips are at least ``gap`` eye distances apart.

        The lower lip is lowered, evenly along the mouth.
        """
        upper, lower = split_lips(self.outline)
        height = float(np.linalg.norm(lower[_MIDDLE] - upper[_MIDDLE]))
        factor = np.float32(max(1.0, gap * PIXELS_PER_EYE_DISTANCE / max(height, 1.0)))
        return replace(
            self, outline=np.concatenate([upper, (upper + (lower - upper) * factor)[::-1]])
        )

    def cut(self, image: RGBImage) -> RGBImage:
        """Cut the patch out of an image, ``uint8 (96, 128, 3)``."""
        factor = float(np.sqrt(abs(np.linalg.det(self.to_patch[:, :2]))))
        if factor >= 0.7:
            return _moved(image, self.to_patch, cv2.INTER_CUBIC)
        corners = np.array([[0, 0], [WIDTH, 0], [0, HEIGHT], [WIDTH, HEIGHT]]) - 0.5
        back = cv2.invertAffineTransform(self.to_patch)
        around = corners @ back[:, :2].T + back[:, 2]
        pad = 2 / factor
        low = np.maximum(np.floor(around.min(0) - pad), 0).astype(int)
        high = np.ceil(around.max(0) + pad).astype(int)
        part = image[low[1] : high[1], low[0] : high[0]]
        if not part.size:
            return _moved(image, self.to_patch, cv2.INTER_LINEAR)
        part = cv2.GaussianBlur(part, (0, 0), 0.45 / factor)
        matrix = self.to_patch.copy()
        matrix[:, 2] += matrix[:, :2] @ low
        return _moved(part, matrix, cv2.INTER_LINEAR)


def _gap(edge: Layer) -> float:
    return float(np.linalg.norm(edge[_LOWER_MIDDLE] - edge[_MIDDLE])) / PIXELS_PER_EYE_DISTANCE


def _moved(image: _Pixels, matrix: Affine, interpolation: int) -> _Pixels:
    out: _Pixels = cv2.warpAffine(
        image,
        matrix,
        (WIDTH, HEIGHT),
        flags=interpolation,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return out


def split_lips(edge: Layer) -> tuple[Layer, Layer]:
    """Split an outline ``(82, 2)`` into upper and lower lip, ``(41, 2)`` each, left to right."""
    return edge[:HALF], edge[HALF:][::-1]


def outline(points: Points) -> Points:
    """Return the closed curve ``(82, 3)`` around the mouth opening."""
    return np.concatenate(
        [_curve(points[list(INNER_UPPER)]), _curve(points[list(INNER_LOWER)])[::-1]]
    )


def _curve(row: Points, count: int = HALF) -> Points:
    """Return a smooth curve through the points of a lip (Catmull-Rom)."""
    at = np.linspace(0, len(row) - 1, count)
    i = np.clip(at.astype(int), 0, len(row) - 2)
    t = (at - i)[:, None]
    before, after = np.maximum(i - 1, 0), np.minimum(i + 2, len(row) - 1)
    p0, p1, p2, p3 = row[before], row[i], row[i + 1], row[after]
    out: Points = 0.5 * (
        2 * p1
        + (p2 - p0) * t
        + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
        + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    return out


def inside(edge: Layer, grow: float = 0.0) -> Layer:
    """Return the mask ``float32 (96, 128)`` of an outline, grown by ``grow`` pixels; 0..1."""
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    cv2.fillPoly(mask, [np.round(edge * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    if not grow:
        return mask
    away = cv2.distanceTransform((mask < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    return np.clip(grow + 0.5 - away, 0, 1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Exemplar:
    """An example of the inside of a mouth.

    Attributes:
        image: ``float32 (96, 128, 3)``, 0..255.
        outline: ``float32 (82, 2)``, patch pixels.
        skin: mean colour ``float32 (3,)`` of the skin around the mouth.
    """

    image: Layer
    outline: Layer
    skin: Layer

    @classmethod
    def of(cls, patch: npt.NDArray[np.uint8] | Layer, edge: Layer) -> Exemplar:
        """Make an exemplar of a patch with an open mouth."""
        return cls(patch.astype(np.float32), edge, skin_color(patch, edge))

    @property
    def teeth(self) -> tuple[float, float] | None:
        """Where upper teeth begin and end, as shares of the opening; None where few show."""
        upper, lower = split_lips(self.outline)
        middle = slice(HALF // 3, HALF - HALF // 3)
        down = np.linspace(0, 1, _ROWS, dtype=np.float32)[:, None, None]
        at = upper[middle] + (lower - upper)[middle] * down
        seen = cv2.remap(self.image, at[..., 0], at[..., 1], cv2.INTER_LINEAR)
        light = seen.mean(2) > _TOOTH_LIGHT * self.skin.mean()
        rows = np.flatnonzero((light & (seen[..., 1] > _TOOTH_PALE * seen[..., 0])).mean(1) > 0.5)
        if len(rows) < _FEWEST_ROWS:
            return None
        return float(down[rows[0], 0, 0]), float(down[rows[-1], 0, 0])

    def planes(self, edge: Layer, skin: Layer) -> Layer:
        """Return it below the upper lip of ``edge``, in the light of ``skin``, ``(4, 96, 128)``."""
        shift = (edge[_MIDDLE] - self.outline[_MIDDLE]).astype(np.float64)
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
        image = _moved(self.lit(skin), matrix, cv2.INTER_LINEAR)
        mask = inside(self.outline + shift.astype(np.float32), 0.5)
        shown = (image / 127.5 - 1) * mask[..., None]
        return np.concatenate([shown.transpose(2, 0, 1), mask[None]]).astype(np.float32)

    def lit(self, skin: Layer) -> Layer:
        """Return the image in the light of another skin's colour."""
        image = self.image * self._light(skin)
        colorful = np.clip((skin.max() - skin.min()) / 30, 0, 1)
        gray = image.mean(2, keepdims=True)
        out: Layer = np.clip(gray + (image - gray) * colorful, 0, 255)
        return out

    def _light(self, skin: Layer) -> Layer:
        level = (skin.mean() + 10) / (self.skin.mean() + 10)
        tint = ((skin + 5) / (skin.mean() + 5)) / ((self.skin + 5) / (self.skin.mean() + 5))
        out: Layer = (level**0.6 * tint**0.4).astype(np.float32)
        return out


def region(edge: Layer) -> Layer:
    """Return the soft mask ``float32 (96, 128)`` of what is used of a drawn inside."""
    within = (inside(edge) < 0.5).astype(np.uint8)
    away = cv2.distanceTransform(within, cv2.DIST_L2, 5)
    return np.clip((HOLE + _BLENDED + 0.5 - away) / _BLENDED, 0, 1).astype(np.float32)


def skin_color(patch: npt.NDArray[np.uint8] | Layer, edge: Layer) -> Layer:
    """Return the mean colour ``float32 (3,)`` of the skin around a mouth."""
    mask = np.ones((HEIGHT, WIDTH), np.uint8)
    left, right = edge[:, 0].min() - 10, edge[:, 0].max() + 10
    top, bottom = edge[:, 1].min() - 16, edge[:, 1].max() + 18
    mask[max(int(top), 0) : max(int(bottom), 0), max(int(left), 0) : max(int(right), 0)] = 0
    if not mask.any():
        mask[:] = 1
    return np.array(cv2.mean(patch, mask)[:3], np.float32)


_COLUMN, _ROW = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))


def conditions(
    patch: npt.NDArray[np.uint8] | Layer,
    frame: MouthFrame,
    exemplar: Layer | None,
    style: tuple[float, float] = NOT_GIVEN,
) -> Layer:
    """Build the net's input.

    Args:
        patch: the warped image, RGB 0..255 ``(96, 128, 3)``.
        frame: of the mouth.
        exemplar: of :meth:`Exemplar.planes`; None without one.
        style: fractions of the inside that are dark, and teeth, 0..1.

    Returns:
        ``float32 (16, 96, 128)``.
    """
    out = np.zeros((PLANES, HEIGHT, WIDTH), np.float32)
    hole = inside(frame.outline, HOLE)
    out[:3] = ((patch.astype(np.float32) / 127.5 - 1) * (1 - hole[..., None])).transpose(2, 0, 1)
    out[3] = hole
    within = (inside(frame.outline) > 0.5).astype(np.uint8)
    signed = cv2.distanceTransform(within, cv2.DIST_L2, 5)
    signed -= cv2.distanceTransform(1 - within, cv2.DIST_L2, 5)
    out[4] = np.clip(signed / _SIGNED_RANGE, -1.5, 1.5)
    if exemplar is not None:
        out[5:9] = exemplar
    (ax, bx, cx), (ay, by, cy) = frame.to_head.astype(np.float32)
    out[9] = 2 * (ax * _COLUMN + bx * _ROW + cx)
    out[10] = 2 * (ay * _COLUMN + by * _ROW + cy - _mouth_height())
    out[11], out[12] = 2 * frame.yaw, 2 * frame.pitch
    known = np.clip(frame.scale, _LEAST_SCALE, PIXELS_PER_EYE_DISTANCE)
    out[13] = np.log(known / PIXELS_PER_EYE_DISTANCE)
    out[14], out[15] = 2 * style[0], 2 * style[1]
    return out


def _mouth_height() -> float:
    return float(canonical_face().points[[UPPER_LIP_MIDDLE, LOWER_LIP_MIDDLE], 1].mean())


@dataclass(frozen=True, slots=True)
class Donors:
    """Mouths that serve as examples where a person's own inside is not known.

    Attributes:
        exemplars: the mouths.
        yaw: of each, radians.
        style: ``float64 (2, 3)``: fractions of dark and of teeth, linear in 1 and in the gap and
            the width of the mouth, eye distances.
    """

    exemplars: tuple[Exemplar, ...]
    yaw: npt.NDArray[np.float32]
    style: npt.NDArray[np.float64]

    def for_face(self, yaw: float, skin: Layer) -> Exemplar:
        """Return the mouth that suits a face best; always the same for the same face."""
        light = np.array([donor.skin.mean() for donor in self.exemplars])
        unlike = np.abs(self.yaw - yaw) / _YAW_RANGE + np.abs(light - skin.mean()) / _LIGHT_RANGE
        return self.exemplars[int(np.argmin(unlike))]

    def style_of(self, edge: Layer) -> tuple[float, float]:
        """Estimate the dark and the toothy fraction of a mouth from its outline."""
        gap = _gap(edge)
        width = float(np.ptp(edge[:, 0])) / PIXELS_PER_EYE_DISTANCE
        dark, tooth = np.clip(self.style @ [1, gap, width], 0, 1).tolist()
        behind = _DARK_RISE * max(gap - _DARK_FROM, 0)
        return max(dark, behind), min(tooth, max(_NO_TEETH - gap, 0) / _TEETH_RANGE)


@lru_cache(maxsize=1)
def donors() -> Donors:
    """Load the donors that ship with the package.

    Raises:
        WeightsError: when the file is missing or damaged.
    """
    stored = open_arrays("appearance.npz")
    columns = zip(stored["image"], stored["outline"], stored["skin"], strict=True)
    exemplars = tuple(
        Exemplar(image.astype(np.float32), edge, skin) for image, edge, skin in columns
    )
    return Donors(exemplars, stored["yaw"], stored["style"])


def draw_inside(planes: Layer) -> Layer:
    """Run the net.

    Args:
        planes: of :func:`conditions`, ``float32 (16, 96, 128)``.

    Returns:
        RGB ``float32 (96, 128, 3)``, 0..255.
    """
    drawn = open_net("appearance.onnx").run(None, {"planes": planes[None]})[0][0]
    out: Layer = np.clip((drawn.transpose(1, 2, 0) + 1) * 127.5, 0, 255)
    return out
