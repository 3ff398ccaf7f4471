from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.face import topology
from mien.face.crop import eye_distance
from mien.face.facs import ACTION_UNITS
from mien.face.follow import OneEuro
from mien.face.pose import fit_similarity, head_pose
from mien.face.topology import canonical_face

from ..conftest import canonical_landmarks

ANGLE = st.floats(-0.8, 0.8)


def rotation(x: float, y: float, z: float) -> np.ndarray:
    cx, cy, cz, sx, sy, sz = *np.cos([x, y, z]), *np.sin([x, y, z])
    return (
        np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    )


@settings(deadline=None)
@given(ANGLE, ANGLE, ANGLE, st.floats(5, 500), st.floats(-900, 900), st.floats(-900, 900))
def test_any_pose_is_recovered(
    x: float, y: float, z: float, scale: float, tx: float, ty: float
) -> None:
    points = canonical_face().points
    turn, shift = rotation(x, y, z), np.array([tx, ty, 3.0])
    seen = scale * points @ turn.T + shift
    pose = head_pose(seen)
    assert np.allclose(pose.rotation, turn, atol=1e-6)
    assert np.isclose(pose.scale, scale)
    assert np.allclose(pose.to_head(seen), points, atol=1e-6)
    assert np.allclose(pose.to_image(points), seen, atol=1e-5)


def test_fitting_never_yields_a_reflection() -> None:
    points = np.random.default_rng(0).normal(size=(20, 3))
    assert np.isclose(np.linalg.det(fit_similarity(points, points * [-1, 1, 1]).rotation), 1)


def test_expressions_do_not_move_the_points_of_the_pose() -> None:
    from mien.engines.mesh.rig import fields

    rigid = list(topology.RIGID)
    still = [12, 15, 17, 20, 26]
    for name, field in zip(ACTION_UNITS, fields(), strict=True):
        if name.rstrip("LR") in map(str, still):
            assert np.abs(field[rigid]).max() < 0.02, name


def test_left_mirrors_right() -> None:
    mirror = canonical_face().mirror
    right, left = topology.RIGHT_EYE, topology.LEFT_EYE
    for name in ("upper_lid", "lower_lid", "corners", "brow_upper", "brow_lower", "lower_row"):
        assert {int(mirror[p]) for p in getattr(right, name)} == set(getattr(left, name)), name
    for row in (*topology.UPPER_LIP, *topology.LOWER_LIP):
        assert [int(mirror[p]) for p in row] == list(reversed(row))
    assert (mirror[mirror] == np.arange(478)).all()


def test_a_face_at_rest_stays_at_rest() -> None:
    face = canonical_landmarks()
    smooth = OneEuro()
    for _ in range(20):
        out = smooth(face, 0.04)
    assert np.allclose(out, face, atol=1e-3)


def test_jitter_shrinks_and_motion_is_preserved() -> None:
    rng = np.random.default_rng(0)
    face = canonical_landmarks()
    smooth, raw_error, error = OneEuro(), [], []
    for _ in range(80):
        noisy = face + rng.normal(0, 0.3, face.shape).astype(np.float32)
        out = smooth(noisy, 0.04)
        raw_error.append(np.abs(noisy - face).mean())
        error.append(np.abs(out - face).mean())
    assert np.mean(error[20:]) < 0.75 * np.mean(raw_error[20:])
    for step in range(1, 40):
        moved = face + np.float32(step * 4)
        out = smooth(moved, 0.04)
    assert np.abs(out - moved).mean() < 4.0  # less than one frame behind


def test_a_mouth_that_shuts_within_one_frame_is_shut() -> None:
    face = canonical_landmarks()
    opened = face.copy()
    eyes = eye_distance(face)
    opened[list(topology.LOWER_LIP[3]), 1] += 0.12 * eyes
    smooth = OneEuro()
    for _ in range(10):
        smooth(opened, 0.04)
    lips = smooth(face, 0.04)[list(topology.LOWER_LIP[3]), 1] - face[list(topology.LOWER_LIP[3]), 1]
    assert np.abs(lips).max() < 0.005 * eyes


def test_reset_forgets_the_past() -> None:
    face = canonical_landmarks()
    smooth = OneEuro()
    smooth(face, 0.04)
    smooth.reset()
    assert np.array_equal(smooth(face + 50, 0.04), face + 50)
