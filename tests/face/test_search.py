from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.face.crop import Square, eye_distance, face_square, is_plausible, mesh_distance
from mien.face.detector import CELL_PIXELS, Detection, decode, search, search_rotated
from mien.media.frame import Image, as_picture

from ..conftest import canonical_landmarks


class Bright:
    """A detector of bright squares of nine pixels and more."""

    def __init__(self) -> None:
        self.sides: list[int] = []

    def __call__(self, image: Image, longest: int) -> list[Detection]:
        self.sides.append(longest)
        picture = as_picture(image)
        small = picture.small(longest)
        scale = max(small.shape) / max(picture.width, picture.height)
        mask = (small[..., 1] > 128).astype(np.uint8)
        _, _, stats, centers = cv2.connectedComponentsWithStats(mask)
        return [
            Detection(
                Square(cx + 0.5, cy + 0.5, float(max(w, h))), np.zeros((5, 2), np.float32), 0.9
            ).scaled(1 / scale)
            for (_, _, w, h, _), (cx, cy) in zip(stats[1:], centers[1:], strict=True)
            if min(w, h) >= 9
        ]


def scene(width: int, height: int, *squares: tuple[int, int, int]) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    for x, y, side in squares:
        image[y : y + side, x : x + side] = 255
    return image


@settings(deadline=None, max_examples=30)
@given(st.integers(24, 200), st.floats(0, 1), st.floats(0, 1))
def test_a_small_face_in_a_large_picture_is_found(side: int, u: float, v: float) -> None:
    x, y = int(u * (1920 - side)), int(v * (1080 - side))
    found = search(scene(1920, 1080, (x, y, side)), Bright(), thorough=True)
    assert len(found) == 1
    square = found[0].square
    assert np.hypot(square.x - x - side / 2, square.y - y - side / 2) < 0.2 * side
    assert square.side == pytest.approx(side, rel=0.2)


def test_a_quick_search_uses_one_scale() -> None:
    detect = Bright()
    assert search(scene(1600, 900, (40, 40, 30)), detect, thorough=False) == []
    assert len(detect.sides) == 1


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_rotated_image_is_searched_upright(turns: int) -> None:
    class Upright:
        """Detects bright squares only in the upright image, which a marked pixel identifies."""

        def __call__(self, picture: np.ndarray, longest: int) -> list[Detection]:
            return [one for one in Bright()(picture, longest) if picture[2, 2, 2] == 0]

    upright = scene(400, 300, (250, 100, 40))
    upright[2, 2] = 0
    upright[-3, 2, 2] = upright[2, -3, 2] = upright[-3, -3, 2] = 1
    found = search_rotated(np.ascontiguousarray(np.rot90(upright, -turns)), Upright())
    x, y = {1: (300 - 120, 270), 2: (400 - 270, 300 - 120), 3: (120, 400 - 270)}[turns]
    assert [(one.square.x, one.square.y) for one in found] == [pytest.approx((x, y), abs=1)]


def test_very_large_images_are_searched_at_more_scales() -> None:
    detect = Bright()
    assert len(search(scene(3840, 2160, (700, 300, 26)), detect, thorough=True)) == 1
    assert max(detect.sides) == 1920
    detect = Bright()
    search(scene(200, 150), detect, thorough=True)
    assert max(detect.sides) == 320


def test_largest_first() -> None:
    found = search(scene(1600, 800, (100, 100, 90), (1300, 500, 160)), Bright(), thorough=True)
    assert [round(one.square.side, -1) for one in found] == [160, 90]


@given(st.floats(10, 240), st.floats(20, 230), st.floats(20, 230), st.floats(-1, 1))
def test_a_face_in_the_output_maps_is_decoded(
    side: float, x: float, y: float, angle: float
) -> None:
    c, s = np.cos(angle), np.sin(angle)
    keys = np.array([(-0.2, -0.2), (0.2, -0.2), (0, 0), (-0.15, 0.25), (0.15, 0.25)])
    keys = keys @ np.array([[c, s], [-s, c]]) * side + (x, y)
    maps = np.full((14, 32, 32), -6, np.float32)
    column, row = int(x / CELL_PIXELS), int(y / CELL_PIXELS)
    here = np.array([column + 0.5, row + 0.5])
    maps[0, row, column] = 3
    maps[1:3, row, column] = np.array([x, y]) / CELL_PIXELS - here
    maps[3, row, column] = np.log(side / CELL_PIXELS)
    maps[4:, row, column] = (keys / CELL_PIXELS - here).ravel()
    found = decode(maps, 0.5)
    assert len(found) == 1
    square = found[0].square
    assert (square.x, square.y, square.side) == pytest.approx((x, y, side), rel=1e-3, abs=1e-2)
    assert found[0].keypoints == pytest.approx(keys, abs=0.05)
    assert found[0].angle == pytest.approx(angle, abs=0.02)
    assert found[0].score == pytest.approx(1 / (1 + np.exp(-3)), rel=1e-3)


def test_neighbouring_cells_with_the_same_face_are_merged() -> None:
    maps = np.full((14, 16, 16), -6, np.float32)
    maps[1:] = 0
    maps[3] = np.log(6)
    maps[0, 5, 5], maps[0, 5, 7], maps[0, 12, 12] = 3, 2, 1
    assert [round(one.square.x / CELL_PIXELS - 0.5) for one in decode(maps, 0.5)] == [5, 12]
    assert decode(np.full((14, 4, 4), -6, np.float32), 0.5) == []


def test_plausible_and_implausible_landmarks() -> None:
    face = canonical_landmarks(40, (128, 110))
    assert is_plausible(face, 256, 256)
    assert not is_plausible(canonical_landmarks(4, (128, 110)), 256, 256), "too small"
    assert not is_plausible(canonical_landmarks(40, (-60, 110)), 256, 256), "outside"
    folded = face.copy()
    folded[:, 0] = 128 + (folded[:, 0] - 128) * 0.1
    assert not is_plausible(folded, 256, 256), "folded"
    broken = face.copy()
    broken[7, 1] = np.nan
    assert not is_plausible(broken, 256, 256), "not finite"


def test_measures_of_landmarks() -> None:
    face = canonical_landmarks(40, (128, 110))
    assert eye_distance(face) == pytest.approx(40, rel=0.01)
    assert mesh_distance(face, face + np.float32([4, 0, 0])) == pytest.approx(0.1, rel=0.01)
    square = face_square(face)
    shifted = face_square(face + np.float32([10, 5, 0]))
    assert (shifted.x - square.x, shifted.y - square.y) == pytest.approx((10, 5), abs=1e-3)
    assert shifted.side == pytest.approx(square.side, rel=1e-4)
