"""The warped mesh, and the warp: piecewise affine, backward, on the part of the image that moves.

The mesh is the face, rings around it whose motion fades out, and fillings of eyes and mouth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.face.topology import (
    EYES,
    INNER_LOWER,
    INNER_UPPER,
    LANDMARK_COUNT,
    OVAL,
    canonical_face,
)
from mien.media.frame import Box, RGBWindow

Points = npt.NDArray[np.float64]
Map = npt.NDArray[np.float32]

RING_SIZE: Final = (1.12, 1.32, 1.62, 2.1)
"""Radius of each ring, in radii of the face oval."""

_RING_MOTION: Final = (0.65, 0.25, 0.0, 0.0)
"""Fraction of the oval's motion that each ring follows."""

_MAX_ASIDE: Final = 0.7
"""How far the middle of an opening may deviate sideways, in heights of the opening."""


_LEAST_MOTION: Final = 0.05
"""Pixels of motion below which a vertex rests and a pixel is not resampled."""

_SUBPIXEL_BITS: Final = 4
_SLIVER: Final = 0.3
"""Twice the area, grid cells, up to which a triangle is not drawn."""


@dataclass(frozen=True, slots=True)
class WarpMesh:
    """Topology of the warped mesh.

    Vertices: 478 landmarks, four rings of 36, a middle row of seven per eye and of nine in the
    mouth.

    Attributes:
        triangles: ``int32 (T, 3)``.
        layer: ``float64 (T,)``: +inf behind the face (rings), -inf in front (fillings), 0 for the
            skin, which is sorted by depth.
        eye_middles: first vertex of each eye's middle row, by side.
        mouth_middles: first vertex of the mouth's middle row.
        size: number of vertices.
    """

    triangles: npt.NDArray[np.int32]
    layer: Points
    eye_middles: dict[str, int]
    mouth_middles: int
    size: int


def _strip(a: list[int], b: list[int]) -> list[tuple[int, int, int]]:
    """Return the triangles between two rows of equal length, without degenerate ones."""
    out = []
    for i in range(len(a) - 1):
        for t in ((a[i], a[i + 1], b[i]), (a[i + 1], b[i + 1], b[i])):
            if len(set(t)) == 3:
                out.append(t)
    return out


@lru_cache(maxsize=1)
def warp_mesh() -> WarpMesh:
    """Build the mesh (once)."""
    rings: list[tuple[int, int, int]] = []
    count = len(OVAL)
    previous = [*OVAL, OVAL[0]]
    for r in range(len(RING_SIZE)):
        start = LANDMARK_COUNT + r * count
        ring = [*range(start, start + count), start]
        rings += _strip(previous, ring)
        previous = ring
    vertex = LANDMARK_COUNT + len(RING_SIZE) * count
    fill: list[tuple[int, int, int]] = []
    eye_middles = {}
    for side, eye in EYES.items():
        eye_middles[side] = vertex
        middle = [eye.corners[0], *range(vertex, vertex + 7), eye.corners[1]]
        vertex += 7
        fill += _strip([eye.corners[0], *eye.upper_lid, eye.corners[1]], middle)
        fill += _strip(middle, [eye.corners[0], *eye.lower_lid, eye.corners[1]])
    mouth_middles = vertex
    middle = [INNER_UPPER[0], *range(vertex, vertex + 9), INNER_UPPER[-1]]
    vertex += 9
    fill += _strip(list(INNER_UPPER), middle) + _strip(middle, list(INNER_LOWER))
    skin = canonical_face().triangles
    layer = np.concatenate(
        [np.full(len(rings), np.inf), np.zeros(len(skin)), np.full(len(fill), -np.inf)]
    )
    triangles = np.concatenate([np.array(rings, np.int32), skin, np.array(fill, np.int32)])
    return WarpMesh(triangles, layer, eye_middles, mouth_middles, vertex)


def extend(landmarks: Points, motion: Points) -> tuple[Points, Points]:
    """Compute the vertices of the whole mesh and their motion.

    Args:
        landmarks: ``(478, 3)`` pixels.
        motion: ``(478, 2)`` pixels, how each landmark moves.

    Returns:
        Vertices ``(V, 2)`` and motions ``(V, 2)``. The middles of the eyes stay (the eyeball does
        not move with the lids). So do those of the mouth, more so away from the corners: teeth
        keep their place and shape while the lips slide over them.
    """
    mesh = warp_mesh()
    oval = list(OVAL)
    points = np.empty((mesh.size, 2))
    moves = np.zeros((mesh.size, 2))
    points[:LANDMARK_COUNT], moves[:LANDMARK_COUNT] = landmarks[:, :2], motion
    center = landmarks[oval, :2].mean(0)
    start = LANDMARK_COUNT
    for size, share in zip(RING_SIZE, _RING_MOTION, strict=True):
        points[start : start + len(oval)] = center + (landmarks[oval, :2] - center) * size
        moves[start : start + len(oval)] = motion[oval] * share
        start += len(oval)
    for side, eye in EYES.items():
        at = mesh.eye_middles[side]
        middle, move = _between(landmarks, motion, eye.upper_lid, eye.lower_lid, np.zeros((7, 2)))
        points[at : at + 7], moves[at : at + 7] = middle, move
    upper, lower = INNER_UPPER[1:-1], INNER_LOWER[1:-1]
    to_corner = np.abs(np.linspace(-1, 1, 11)[1:-1])[:, None] ** 3
    with_lips = (motion[list(upper)] + motion[list(lower)]) / 2 * to_corner
    at = mesh.mouth_middles
    points[at : at + 9], moves[at : at + 9] = _between(landmarks, motion, upper, lower, with_lips)
    return points, moves


def _between(
    landmarks: Points, motion: Points, upper: Sequence[int], lower: Sequence[int], wanted: Points
) -> tuple[Points, Points]:
    """Return the middles of an opening and their motion: ``wanted``, kept between the edges."""
    top, bottom = landmarks[list(upper), :2], landmarks[list(lower), :2]
    middle = (top + bottom) / 2
    new_top = top + motion[list(upper)]
    opening = bottom + motion[list(lower)] - new_top
    length = np.maximum(np.linalg.norm(opening, axis=1, keepdims=True), 1e-3)
    target = middle + wanted - new_top
    along = (target * opening).sum(1, keepdims=True) / length**2
    aside = target - along * opening
    reach = _MAX_ASIDE * length / np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-6)
    aside *= np.minimum(reach, 1)
    return middle, new_top + np.clip(along, 0.1, 0.9) * opening + aside - middle


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the image and the coarser grid on which fields are computed.

    Attributes:
        x, y: top left corner, pixels.
        width, height: pixels.
        step: pixels per grid cell, >= 1.
    """

    x: int
    y: int
    width: int
    height: int
    step: float

    @property
    def grid_size(self) -> tuple[int, int]:
        """Columns and rows of the grid."""
        return max(2, round(self.width / self.step)), max(2, round(self.height / self.step))

    def to_grid(self, points: Points) -> Points:
        """Convert image pixels ``(..., 2)`` to grid cells (centres at whole numbers)."""
        columns, rows = self.grid_size
        scale = np.array([columns / self.width, rows / self.height])
        return (points - [self.x, self.y] + 0.5) * scale - 0.5

    def to_pixels(self, corner: tuple[int, int]) -> tuple[int, int]:
        """Convert a corner of grid cells (column, row) to the image pixel where it lies."""
        columns, rows = self.grid_size
        return (
            self.x + round(corner[0] * self.width / columns),
            self.y + round(corner[1] * self.height / rows),
        )

    @property
    def window(self) -> tuple[slice, slice]:
        """Index of the rectangle in an image."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def enlarge(self, field: Map) -> Map:
        """Resize a grid field ``(rows, columns, ...)`` to one value per pixel."""
        if field.shape[:2] == (self.height, self.width):
            return field
        out: Map = cv2.resize(field, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        return out


def region_of(points: Points, shape: tuple[int, ...], cells: int) -> Region | None:
    """Return the rectangle around ``points`` inside an image of ``shape``; None when outside.

    ``cells``: longest side of the grid.
    """
    low = np.maximum(np.floor(points.min(0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(points.max(0)).astype(int) + 3, [shape[1], shape[0]])
    width, height = (high - low).tolist()
    if width < 4 or height < 4:
        return None
    return Region(int(low[0]), int(low[1]), width, height, max(1.0, max(width, height) / cells))


def moving_box(vertices: Points, moves: Points, shape: tuple[int, ...]) -> Box | None:
    """Return the part of an image that a motion of the mesh changes; None when it lies outside.

    Args:
        vertices: of the whole mesh, ``(V, 2)`` pixels.
        moves: their motion, ``(V, 2)`` pixels.
        shape: of the image.
    """
    triangles = warp_mesh().triangles
    moving = (np.abs(moves).max(1) > _LEAST_MOTION)[triangles].any(1)
    if not moving.any():
        return None
    chosen = np.unique(triangles[moving])
    points = vertices[chosen]
    region = region_of(np.concatenate([points, points + moves[chosen]]), shape, 1)
    if region is None:
        return None
    return Box(region.x, region.y, region.x + region.width, region.y + region.height)


def motion_field(points: Points, moves: Points, depth: Points, region: Region) -> Map:
    """Compute where each grid cell of the new image comes from, relative to itself.

    Args:
        points: ``(V, 2)`` vertices of the warped mesh in the source image, pixels.
        moves: ``(V, 2)`` how they move, pixels.
        depth: ``(V,)``, increasing away from the camera; nearer triangles cover farther ones.
        region: rectangle and grid.

    Returns:
        ``float32 (rows, columns, 2)`` source minus destination, pixels; 0 outside the mesh.
    """
    mesh = warp_mesh()
    triangles = mesh.triangles
    target = region.to_grid(points + moves)[triangles]
    moving = (np.abs(moves).max(1) > _LEAST_MOTION)[triangles].any(1)
    edge1, edge2 = target[:, 1] - target[:, 0], target[:, 2] - target[:, 0]
    area = edge1[:, 0] * edge2[:, 1] - edge1[:, 1] * edge2[:, 0]
    # The affine map of a sliver explodes beyond its edges; its neighbours cover it.
    usable = np.flatnonzero(moving & (np.abs(area) > _SLIVER))
    key = mesh.layer[usable] + depth[triangles[usable]].mean(1)
    order = usable[np.argsort(-key, kind="stable")]
    # offset(x, y) = base + x * slope_x + y * slope_y on each triangle
    offset = -moves[triangles]
    d1, d2 = offset[:, 1] - offset[:, 0], offset[:, 2] - offset[:, 0]
    inverse = 1.0 / np.where(np.abs(area) > _SLIVER, area, np.inf)
    slope_x = (d1 * edge2[:, 1:] - d2 * edge1[:, 1:]) * inverse[:, None]
    slope_y = (d2 * edge1[:, :1] - d1 * edge2[:, :1]) * inverse[:, None]
    base = offset[:, 0] - slope_x * target[:, 0, :1] - slope_y * target[:, 0, 1:]
    plane = np.zeros((len(triangles) + 1, 6), np.float32)
    plane[:-1, 0:2], plane[:-1, 2:4], plane[:-1, 4:6] = slope_x, slope_y, base
    columns, rows = region.grid_size
    owner = np.full((rows, columns), len(triangles), np.int32)
    corners = np.round(target * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    for t in order.tolist():
        cv2.fillConvexPoly(owner, corners[t], t, cv2.LINE_8, _SUBPIXEL_BITS)
    # Both coordinates are fetched as one value, and rows are long: NumPy is fast at either.
    x = np.arange(columns, dtype=np.float32).repeat(2)[None]
    y = np.arange(rows, dtype=np.float32)[:, None]
    field, across, rest = (
        np.ascontiguousarray(plane[:, k : k + 2]).view(np.complex64)[:, 0][owner].view(np.float32)
        for k in (0, 2, 4)
    )
    field *= x
    across *= y
    field += across
    field += rest
    farthest = np.float32(np.abs(moves).max())
    field = np.maximum(np.minimum(field, farthest, out=field), -farthest, out=field)
    out: Map = field.reshape(rows, columns, 2)
    return out


def mesh_field(
    points: Points, moves: Points, mesh: tuple[Points, Points], shape: tuple[int, ...], cells: int
) -> tuple[Region, Map] | None:
    """Compute the motion field of a moved face.

    Args:
        points: landmarks ``(478, 3)``, pixels.
        moves: their motion ``(478, 3)``, pixels.
        mesh: vertices and motion of the whole mesh, ``(V, 2)`` each, pixels.
        shape: of the image.
        cells: longest side of the grid.

    Returns:
        The region that moves and its field; None when it lies outside the image.
    """
    vertices, vertex_moves = mesh
    region = region_of(np.concatenate([vertices, vertices + vertex_moves]), shape, cells)
    if region is None:
        return None
    depth = np.full(len(vertices), float(points[:, 2].mean()))
    depth[:LANDMARK_COUNT] = points[:, 2] + moves[:, 2]
    return region, motion_field(vertices, vertex_moves, depth, region)


def smooth_creases(field: Map, keep: Map) -> Map:
    """Smooth the creases between triangles, except where ``keep`` (0..1) is 1 (lips, lids)."""
    soft = cv2.blur(field, (5, 5))
    out: Map = soft + (field - soft) * cv2.merge([keep, keep])
    return out


def warp(image: RGBWindow, field: Map, region: Region) -> RGBWindow:
    """Resample the pixels of ``region`` by ``field``; return the rectangle alone.

    Pixels that would move by less than a few hundredths of a pixel keep their value.
    """
    out = image[region.window].copy()
    resting = cv2.inRange(field, (-_LEAST_MOTION,) * 2, (_LEAST_MOTION,) * 2)
    x, y, columns, rows = cv2.boundingRect(cv2.bitwise_not(resting))
    if not columns:
        return out
    (left, top), (right, bottom) = (
        region.to_pixels((max(x - 1, 0), max(y - 1, 0))),
        region.to_pixels((x + columns + 1, y + rows + 1)),
    )
    right, bottom = min(right, region.x + region.width), min(bottom, region.y + region.height)
    inner = slice(top - region.y, bottom - region.y), slice(left - region.x, right - region.x)
    reach = math.ceil(float(np.abs(field).max())) + 3  # cubic interpolation takes two more pixels
    x0, y0 = max(left - reach, 0), max(top - reach, 0)
    source = image[y0 : bottom + reach, x0 : right + reach]
    across, down = cv2.split(region.enlarge(field)[inner])
    across += np.arange(left - x0, right - x0, dtype=np.float32)[None, :]
    down += np.arange(top - y0, bottom - y0, dtype=np.float32)[:, None]
    out[inner] = cv2.remap(source, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return out
