from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.face.box import Square, cut_out, eye_distance, face_square, mesh_distance, plausible
from mien.face.search import search, tiles

from ..conftest import canonical_landmarks


class Bright:
    """A detector that sees whole bright squares if they fill a tenth of what it is shown."""

    def __init__(self) -> None:
        self.pictures = 0

    def __call__(self, picture: np.ndarray) -> list[Square]:
        self.pictures += 1
        height, width = picture.shape[:2]
        mask = (picture[..., 1] > 128).astype(np.uint8)
        _, _, stats, centers = cv2.connectedComponentsWithStats(mask)
        out = []
        for (x, y, w, h, _), (cx, cy) in zip(stats[1:], centers[1:], strict=True):
            whole = x > 0 and y > 0 and x + w < width and y + h < height
            if whole and max(w, h) >= max(height, width) / 10:
                out.append(Square(cx + 0.5, cy + 0.5, float(max(w, h))))
        return out


def scene(width: int, height: int, *squares: tuple[int, int, int]) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    for x, y, side in squares:
        image[y : y + side, x : x + side] = 255
    return image


@settings(deadline=None, max_examples=60)
@given(st.integers(16, 2500), st.integers(16, 2500))
def test_tiles_cover_the_picture_and_stay_inside(width: int, height: int) -> None:
    by_side: dict[int, list[tuple[int, int]]] = {}
    for x, y, w, h in tiles(width, height):
        assert w == h
        assert 0 <= x <= width - w
        assert 0 <= y <= height - h
        by_side.setdefault(w, []).append((x, y))
    for side, corners in by_side.items():
        xs, ys = sorted({x for x, _ in corners}), sorted({y for _, y in corners})
        for starts, length in ((xs, width), (ys, height)):
            assert starts[0] == 0
            assert starts[-1] == length - side
            # A face up to a third of the tile is whole in one of them.
            assert all(b - a <= side * 0.67 + 1 for a, b in zip(starts, starts[1:], strict=False))


@settings(deadline=None, max_examples=40)
@given(st.integers(45, 200), st.floats(0, 1), st.floats(0, 1))
def test_a_small_face_in_a_large_picture_is_found(side: int, u: float, v: float) -> None:
    x, y = 4 + int(u * (1592 - side)), 4 + int(v * (892 - side))
    found = search(scene(1600, 900, (x, y, side)), Bright(), thorough=True)
    assert found
    nearest = min(found, key=lambda s: np.hypot(s.x - x - side / 2, s.y - y - side / 2))
    assert np.hypot(nearest.x - x - side / 2, nearest.y - y - side / 2) < 0.2 * side
    assert nearest.side == pytest.approx(side, rel=0.2)


def test_a_quick_search_looks_once() -> None:
    detect = Bright()
    assert search(scene(1600, 900, (40, 40, 50)), detect, thorough=False) == []
    assert detect.pictures == 1


def test_one_face_in_many_tiles_is_one_face() -> None:
    assert len(search(scene(1200, 800, (500, 300, 200)), Bright(), thorough=True)) == 1


def test_largest_first() -> None:
    found = search(scene(1600, 800, (100, 100, 90), (1300, 500, 160)), Bright(), thorough=True)
    sides = [s.side for s in found]
    assert sides == sorted(sides, reverse=True)
    assert any(s.x > 1200 for s in found)
    assert any(s.x < 300 for s in found)


@given(st.integers(-60, 120), st.integers(-60, 120), st.integers(1, 80))
def test_cut_out_is_the_picture_in_black_surroundings(x: int, y: int, side: int) -> None:
    image = np.random.default_rng(0).integers(1, 255, (70, 90, 3)).astype(np.uint8)
    padded = np.pad(image, ((100, 200), (100, 200), (0, 0)))
    want = padded[y + 100 : y + 100 + side, x + 100 : x + 100 + side]
    assert np.array_equal(cut_out(image, x, y, side), want)


def test_what_can_be_a_face() -> None:
    face = canonical_landmarks(40, (128, 110))
    assert plausible(face, 256, 256)
    assert not plausible(canonical_landmarks(4, (128, 110)), 256, 256), "too small"
    assert not plausible(canonical_landmarks(40, (-60, 110)), 256, 256), "outside"
    folded = face.copy()
    folded[:, 0] = 128 + (folded[:, 0] - 128) * 0.1
    assert not plausible(folded, 256, 256), "folded"
    broken = face.copy()
    broken[7, 1] = np.nan
    assert not plausible(broken, 256, 256), "not finite"


def test_measures_of_a_face() -> None:
    face = canonical_landmarks(40, (128, 110))
    assert eye_distance(face) == pytest.approx(40, rel=0.01)
    assert mesh_distance(face, face + np.float32([4, 0, 0])) == pytest.approx(0.1, rel=0.01)
    square = face_square(face)
    shifted = face_square(face + np.float32([10, 5, 0]))
    assert (shifted.x - square.x, shifted.y - square.y) == pytest.approx((10, 5), abs=1e-3)
    assert shifted.side == pytest.approx(square.side, rel=1e-4)
