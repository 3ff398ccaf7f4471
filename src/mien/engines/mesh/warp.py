"""Warp a picture by a triangle mesh: piecewise affine, backward, on the part that moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.engines.mesh.layout import Layout
from mien.media.frame import RGBImage

Points = npt.NDArray[np.float64]
Map = npt.NDArray[np.float32]

_SUBPIXEL_BITS: Final = 4
_SLIVER: Final = 0.3
"""Twice the area, grid cells, below which a triangle is not drawn."""


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the picture and the coarser grid that fields are computed on.

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
        """Picture pixels ``(..., 2)`` to grid cells (centres at whole numbers)."""
        columns, rows = self.grid_size
        scale = np.array([columns / self.width, rows / self.height])
        return (points - [self.x, self.y] + 0.5) * scale - 0.5

    def to_pixels(self, corner: tuple[int, int]) -> tuple[int, int]:
        """Corner of grid cells (column, row) to the picture pixel where it lies."""
        columns, rows = self.grid_size
        return (
            self.x + round(corner[0] * self.width / columns),
            self.y + round(corner[1] * self.height / rows),
        )

    @property
    def window(self) -> tuple[slice, slice]:
        """Index of the rectangle in a picture."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def enlarge(self, field: Map) -> Map:
        """Grid field ``(rows, columns, ...)`` to one value per pixel."""
        if field.shape[:2] == (self.height, self.width):
            return field
        out: Map = cv2.resize(field, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        return out


def region_of(points: Points, shape: tuple[int, ...], cells: int) -> Region | None:
    """Rectangle around ``points`` cut to a picture of ``shape``; None when it lies outside.

    ``cells``: longest side of the grid.
    """
    low = np.maximum(np.floor(points.min(0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(points.max(0)).astype(int) + 3, [shape[1], shape[0]])
    width, height = (high - low).tolist()
    if width < 4 or height < 4:
        return None
    return Region(int(low[0]), int(low[1]), width, height, max(1.0, max(width, height) / cells))


def motion_field(mesh: Layout, points: Points, moves: Points, depth: Points, region: Region) -> Map:
    """Where each grid cell of the new picture comes from, relative to itself.

    Args:
        mesh: topology.
        points: ``(V, 2)`` vertices in the source picture, pixels.
        moves: ``(V, 2)`` how they move, pixels.
        depth: ``(V,)`` larger is farther; farther triangles are covered by nearer ones.
        region: rectangle and grid.

    Returns:
        ``float32 (rows, columns, 2)`` source minus destination, pixels; 0 outside the mesh.
    """
    triangles = mesh.triangles
    target = region.to_grid(points + moves)[triangles]
    moving = np.abs(moves).max(1)[triangles].max(1) > 0.01
    edge1, edge2 = target[:, 1] - target[:, 0], target[:, 2] - target[:, 0]
    area = edge1[:, 0] * edge2[:, 1] - edge1[:, 1] * edge2[:, 0]
    # A sliver's affine map explodes beyond its edges; its neighbours cover it.
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
    cell = plane.take(owner, axis=0)
    x = np.arange(columns, dtype=np.float32)[None, :, None]
    y = np.arange(rows, dtype=np.float32)[:, None, None]
    field: Map = cell[..., 0:2] * x + cell[..., 2:4] * y + cell[..., 4:6]
    farthest = np.float32(np.abs(moves).max())
    return np.maximum(np.minimum(field, farthest, out=field), -farthest, out=field)


def smooth_kinks(field: Map, keep: Map) -> Map:
    """Round off the creases between triangles, except where ``keep`` (0..1) is 1 (lips, lids)."""
    soft = cv2.blur(field, (5, 5))
    out: Map = soft + (field - soft) * keep[..., None]
    return out


def warp(image: RGBImage, field: Map, region: Region) -> RGBImage:
    """Pull the pixels of ``region`` through ``field``; returns the rectangle alone."""
    offset = region.enlarge(field)
    x = np.arange(region.x, region.x + region.width, dtype=np.float32)[None, :]
    y = np.arange(region.y, region.y + region.height, dtype=np.float32)[:, None]
    out: RGBImage = cv2.remap(
        image,
        offset[..., 0] + x,
        offset[..., 1] + y,
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return out
