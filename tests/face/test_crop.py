from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.face.crop import Crop, eye_crop, face_crop, mouth_crop, roll_angle
from mien.face.landmarker import PARTS
from mien.face.topology import EYE_POINTS, LIPS, canonical_face

from ..conftest import canonical_landmarks

CROPS = st.builds(
    Crop, st.floats(20, 100), st.floats(20, 100), st.floats(8, 90), st.floats(-3, 3), st.booleans()
)


@given(CROPS)
def test_image_and_crop_coordinates_are_inverse(crop: Crop) -> None:
    points = np.random.default_rng(0).normal(60, 30, (9, 3)).astype(np.float32)
    assert crop.to_image(crop.to_crop(points)) == pytest.approx(points, abs=1e-3)


@settings(deadline=None)
@given(CROPS, st.floats(-0.35, 0.35), st.floats(-0.35, 0.35))
def test_a_spot_is_drawn_at_its_crop_coordinates(crop: Crop, u: float, v: float) -> None:
    """A spot at (u, v) of the crop is drawn there, for any rotation, size and mirroring."""
    x, y = crop.to_image(np.array([u, v])).tolist()
    down, across = np.mgrid[:128, :128] + 0.5
    spot = 255 * np.exp(-((across - x) ** 2 + (down - y) ** 2) / 3)
    image = np.repeat(spot[..., None], 3, 2).astype(np.uint8)
    cut = crop.cut(image, 64)[..., 0].astype(float)
    inside = (4 < x < 124) and (4 < y < 124)
    if not inside or cut.sum() == 0:
        return
    rows, columns = np.mgrid[:64, :64] + 0.5
    found = np.array([(columns * cut).sum(), (rows * cut).sum()]) / cut.sum() / 64 - 0.5
    if max(abs(u), abs(v)) + 4 / crop.side < 0.5:
        assert found == pytest.approx((u, v), abs=0.02)


@pytest.mark.parametrize("side", [150, 700, 1800])
def test_large_crops_are_downscaled_without_aliasing_or_shift(side: int) -> None:
    image = np.zeros((2600, 2600, 3), np.uint8)
    image[::2] = 200  # stripes of one pixel: a downscaled image shows their mean
    image[1100:1500, 1100:1500] = 255
    cut = Crop(1300, 1300, side, 0.2).cut(image, 64).astype(float)
    if side > 500:
        corner = cut[:6, :6]
        assert corner.mean() == pytest.approx(100, abs=6)
        assert corner.std() < 25
        bright = cut[..., 0] > 180
        rows, columns = np.nonzero(bright)
        assert (rows.mean(), columns.mean()) == pytest.approx((31.5, 31.5), abs=0.6)
    assert cut[32, 32, 0] == pytest.approx(255, abs=1)


@given(st.floats(-1.4, 1.4), st.floats(20, 90))
def test_the_crop_of_a_face_rotates_and_scales_with_it(angle: float, size: float) -> None:
    face = canonical_landmarks(size, (300, 300))
    upright = face_crop(face)
    assert roll_angle(face) == pytest.approx(0, abs=0.05)
    c, s = np.cos(angle), np.sin(angle)
    turned = face.copy()
    turned[:, :2] = (face[:, :2] - 300) @ np.array([[c, s], [-s, c]]) + 300
    crop = face_crop(turned)
    assert crop.angle - upright.angle == pytest.approx(angle, abs=1e-3)
    assert crop.side == pytest.approx(upright.side, rel=1e-3)
    assert crop.to_crop(turned) == pytest.approx(upright.to_crop(face), abs=1e-3)


def test_part_crops_contain_their_points() -> None:
    face = canonical_landmarks(60, (200, 200))
    whole = face_crop(face)
    lips = mouth_crop(face, whole).to_crop(face[list(LIPS)])
    assert np.abs(lips[:, :2]).max() < 0.45
    eyes = [eye_crop(face, whole, side).to_crop(face[list(EYE_POINTS[side])]) for side in "RL"]
    assert all(np.abs(eye[:, :2]).max() < 0.5 for eye in eyes)
    # The left eye's crop is mirrored, so that one net serves both.
    assert eyes[0] == pytest.approx(eyes[1], abs=0.02)


def test_points_of_both_eyes_mirror_each_other() -> None:
    mirror = canonical_face().mirror
    assert [int(mirror[p]) for p in EYE_POINTS["R"]] == list(EYE_POINTS["L"])
    assert {int(mirror[p]) for p in LIPS} == set(LIPS)


def test_gaps_are_vertical_openings() -> None:
    face = canonical_face().points
    for part in PARTS.values():
        points = face[list(part.points)]
        for a, b in part.gaps:
            assert abs(points[a, 0] - points[b, 0]) < 0.05
            assert points[a, 1] <= points[b, 1] + 0.02


@given(CROPS)
def test_a_crop_depends_only_on_pixels_near_it(crop: Crop) -> None:
    """The crop is the same in an image padded on all sides."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (128, 128, 3)).astype(np.uint8)
    padded = np.pad(image, ((40, 60), (70, 30), (0, 0)))
    moved = Crop(crop.x + 70, crop.y + 40, crop.side, crop.angle, crop.mirrored)
    near = crop.cut(image, 32).astype(int)
    assert np.abs(moved.cut(padded, 32).astype(int) - near).max() <= 12


def test_an_image_wider_than_the_warp_can_address() -> None:
    image = np.zeros((8, 40_000, 3), np.uint8)
    image[:, 35_000:35_008] = 250
    assert Crop(35_004, 4, 6).cut(image, 16).min() == 250
    assert Crop(-500, -500, 20).cut(image, 16).max() == 0
