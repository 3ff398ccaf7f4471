from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.engines.mesh import MeshEngine, MeshSettings, lips, rig
from mien.engines.mesh.engine import NeutralEstimate, removal
from mien.engines.mesh.folds import count_folds, unfold
from mien.engines.mesh.shading import shade_smile
from mien.engines.mesh.warp import Region, extend, motion_field, warp, warp_mesh
from mien.engines.mesh.wrinkles import draw_wrinkles
from mien.face.facs import ACTION_UNITS, INDEX, RECIPES, expression, read_expression
from mien.face.follow import Face
from mien.face.pose import head_pose
from mien.face.topology import (
    EYES,
    INNER_LOWER,
    INNER_UPPER,
    LOWER_LIP,
    OVAL,
    UPPER_LIP,
    canonical_face,
)

HEAD = canonical_face().points
PLAIN = (HEAD * 120 + [300, 260, 0]).astype(np.float32)


def mouth_open(amount: float) -> np.ndarray:
    """The canonical head with its lips ``amount`` apart."""
    head = HEAD.copy()
    shape = np.sin(np.linspace(0, np.pi, 11))
    for rows, sign in ((UPPER_LIP, -1), (LOWER_LIP, 1)):
        for row in rows:
            head[list(row), 1] += sign * shape * amount / 2
    return head


def closed_mouth() -> np.ndarray:
    head = HEAD.copy()
    middle = (head[list(INNER_UPPER), 1] + head[list(INNER_LOWER), 1]) / 2
    head[list(INNER_UPPER), 1] = head[list(INNER_LOWER), 1] = middle
    return head


def test_every_unit_moves_something_and_no_unit_moves_the_irises() -> None:
    for name in ACTION_UNITS:
        motion = rig.displacement(HEAD, expression({name: 1.0}))
        assert np.abs(motion).max() > 0.02, name
        for eye in EYES.values():
            assert not motion[list(eye.iris)].any(), name


def test_one_side_leaves_the_other_still() -> None:
    for name in ACTION_UNITS:
        if name[-1] not in "LR":
            continue
        motion = np.abs(rig.displacement(HEAD, expression({name: 1.0})))
        other = HEAD[:, 0] < -0.2 if name[-1] == "L" else HEAD[:, 0] > 0.2
        assert motion[other].max() < 0.1 * motion.max(), name


def test_both_sides_mirror_each_other() -> None:
    mirror = canonical_face().mirror
    left = rig.displacement(HEAD, expression({"12L": 1.0}))
    right = rig.displacement(HEAD, expression({"12R": 1.0}))
    assert np.allclose(left[mirror] * [-1, 1, 1], right, atol=2e-3)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([n for n in RECIPES if n != "neutral"]), st.floats(0, 1.4), st.floats(0.02, 0.1)
)
def test_motion_grows_with_intensity(name: str, low: float, step: float) -> None:
    delta = RECIPES[name].expression()
    small = np.linalg.norm(rig.displacement(HEAD, delta * np.float32(low)))
    large = np.linalg.norm(rig.displacement(HEAD, delta * np.float32(low + step)))
    assert large > small


def test_lids_never_cross() -> None:
    for unit, strength in (("7", 1.5), ("43", 1.0), ("43", 1.5)):
        new = HEAD + rig.displacement(HEAD, expression({unit: strength}))
        for eye in EYES.values():
            gap = new[list(eye.lower_lid), 1] - new[list(eye.upper_lid), 1]
            assert gap.min() > -1e-6, unit
    shut = HEAD + rig.displacement(HEAD, expression({"43": 1.0}))
    for eye in EYES.values():
        assert (shut[list(eye.lower_lid), 1] - shut[list(eye.upper_lid), 1]).max() < 1e-6


def test_a_raised_lid_shows_little_white_above_the_iris() -> None:
    new = HEAD + rig.displacement(HEAD, expression({"5": 3.0}))
    for eye in EYES.values():
        iris = new[list(eye.iris[1:]), :2]
        radius = np.linalg.norm(iris - iris.mean(0), axis=1).mean()
        assert iris[:, 1].mean() - new[list(eye.upper_lid), 1].min() < 1.4 * radius


def test_a_closed_eye_stays_closed() -> None:
    shut = HEAD + rig.displacement(HEAD, expression({"43": 1.0}))
    new = shut + rig.displacement(shut, RECIPES["surprised"].expression())
    for eye in EYES.values():
        assert (new[list(eye.lower_lid), 1] - new[list(eye.upper_lid), 1]).max() < 0.01


def spoken(head: np.ndarray, name: str) -> np.ndarray:
    delta = lips.articulate(head, RECIPES[name].expression(speaking=True))
    return lips.keep_articulation(head, rig.displacement(head, delta))


@pytest.mark.parametrize("name", [n for n in RECIPES if n != "neutral"])
def test_speech_survives_every_emotion(name: str) -> None:
    shut = closed_mouth()
    assert lips.opening(shut + spoken(shut, name)) <= lips.opening(shut) + 0.01
    amounts = np.linspace(0, 0.4, 25)
    heads = [mouth_open(a) for a in amounts]
    before = [lips.opening(h) for h in heads]
    after = [lips.opening(h + spoken(h, name)) for h in heads]
    assert np.corrcoef(before, after)[0, 1] > 0.97
    assert min(np.diff(after)) > 0


def test_a_still_opens_its_mouth_only_for_units_that_open_it() -> None:
    shut = closed_mouth()
    for name, opens in (("surprised", True), ("happy", True), ("sad", False), ("angry", True)):
        delta = RECIPES[name].expression()
        motion = lips.settle_still(shut, rig.displacement(shut, delta), delta)
        gap = (shut + motion)[list(INNER_LOWER), 1] - (shut + motion)[list(INNER_UPPER), 1]
        assert gap.min() > -1e-6
        assert (gap.max() > 0.02) == opens, name


def test_removing_a_smile_closes_the_lips() -> None:
    head = mouth_open(0.2)
    delta = expression({"12": -1.0})
    new = head + lips.settle_still(head, rig.displacement(head, delta), delta)
    assert lips.opening(new) < 0.35 * lips.opening(head)


def test_the_field_of_a_shift_is_that_shift(landmarks: np.ndarray) -> None:
    points, moves = extend(landmarks.astype(float), np.zeros((478, 2)))
    moves[:] = (3.0, -2.0)
    region = Region(0, 0, 256, 256, 1.0)
    field = motion_field(points, moves, np.zeros(len(points)), region)
    inside = field[90:150, 100:150]
    assert np.allclose(inside, (-3, 2), atol=1e-3)


def test_no_motion_changes_no_pixel(picture: np.ndarray) -> None:
    region = Region(10, 20, 100, 90, 1.7)
    columns, rows = region.grid_size
    out = warp(picture, np.zeros((rows, columns, 2), np.float32), region)
    assert np.array_equal(out, picture[region.window])


def test_teeth_keep_their_place_under_a_wider_mouth() -> None:
    points = np.concatenate([mouth_open(0.3) * 60 + 128])
    motion = np.zeros((478, 2))
    for rows in (UPPER_LIP, LOWER_LIP):
        for row in rows:
            motion[list(row), 0] = np.linspace(-8, 8, 11)
    _, moves = extend(points, motion)
    at = warp_mesh().mouth_middles
    assert np.abs(moves[at + 3 : at + 6]).max() < 0.8
    assert np.abs(moves[at, 0]) > 2


@pytest.mark.parametrize("still", [False, True])
def test_pixels_away_from_the_face_are_untouched(
    picture: np.ndarray, landmarks: np.ndarray, still: bool
) -> None:
    engine = MeshEngine(MeshSettings(still=still))
    big = np.pad(picture, ((120, 120), (160, 160), (0, 0)), mode="wrap")
    face = Face(1, landmarks + np.float32([160, 120, 0]))
    before = big.copy()
    for name in RECIPES:
        out = engine.render(big, face, RECIPES[name].expression())
        assert np.array_equal(big, before)
        changed = np.argwhere((out != big).any(2))
        if name == "neutral":
            assert out is big
            continue
        center = face.landmarks[:468, :2].mean(0)
        reach = np.ptp(face.landmarks[:468, :2], axis=0).max() * 1.15
        assert np.abs(changed - center[::-1]).max() < reach, name
        assert len(changed) > 1000


def test_weight_scales_the_edit(picture: np.ndarray, landmarks: np.ndarray) -> None:
    engine, delta = MeshEngine(), RECIPES["happy"].expression()
    assert engine.render(picture, Face(1, landmarks, 0.0), delta) is picture
    half = engine.render(picture, Face(1, landmarks, 0.5), delta)
    assert np.array_equal(half, engine.render(picture, Face(1, landmarks), delta / 2))


def test_the_image_changes_more_with_intensity(picture: np.ndarray, landmarks: np.ndarray) -> None:
    engine, sad = MeshEngine(MeshSettings(wrinkles=0)), RECIPES["sad"].expression()
    head = head_pose(landmarks).to_head(landmarks)
    strengths = [np.float32(i) for i in (0.0, 0.3, 0.6, 1.0, 1.5)]
    moved = [float(np.linalg.norm(rig.displacement(head, sad * i))) for i in strengths]
    assert moved[0] == 0
    assert all(a < b for a, b in zip(moved, moved[1:], strict=False))
    images = [engine.render(picture, Face(1, landmarks), sad * i) for i in strengths]
    changed = [int((image != picture).any(2).sum()) for image in images]
    assert changed[0] == 0
    assert all(a < b for a, b in zip(changed, changed[1:], strict=False))


def test_the_wrinkles_setting_changes_the_image(picture: np.ndarray, landmarks: np.ndarray) -> None:
    face, delta = Face(1, landmarks), RECIPES["angry"].expression()
    images = [MeshEngine(MeshSettings(wrinkles=w)).render(picture, face, delta) for w in (0, 1, 2)]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[1], images[2])


def test_the_inside_of_a_mouth_is_painted_only_in_stills(picture: np.ndarray) -> None:
    points = closed_mouth() * 60
    points[:, :2] += np.array([128, 110]) - points[[33, 263], :2].mean(0)
    face = Face(1, points.astype(np.float32))
    delta = RECIPES["surprised"].expression()
    skin = np.full_like(picture, (210, 160, 140))
    still = MeshEngine(MeshSettings(still=True, wrinkles=0)).render(skin, face, delta)
    video = MeshEngine(MeshSettings(still=False, wrinkles=0)).render(skin, face, delta)
    mouth = face.landmarks[[13, 14], :2].mean(0).round().astype(int)
    box = (slice(mouth[1], mouth[1] + 14), slice(mouth[0] - 8, mouth[0] + 8))
    assert still[box].min() < 90
    assert np.array_equal(video[box], skin[box])


def test_a_face_partly_outside_the_image(picture: np.ndarray, landmarks: np.ndarray) -> None:
    for shift in ([-120, 0, 0], [120, 0, 0], [0, 130, 0], [0, -130, 0], [-600, 0, 0]):
        face = Face(1, landmarks + np.float32(shift))
        for still in (False, True):
            engine = MeshEngine(MeshSettings(still=still))
            out = engine.render(picture, face, RECIPES["fear"].expression())
            assert out.shape == picture.shape


def test_expressions_made_by_the_rig_are_read() -> None:
    resting = read_expression(HEAD)
    for unit in ("1", "4", "12", "26"):
        moved = read_expression(HEAD + rig.displacement(HEAD, expression({unit: 0.8})))
        rise = moved - resting
        at = [INDEX[k] for k in (unit, f"{unit}L", f"{unit}R") if k in INDEX]
        assert rise[at].mean() > 0.2, unit


def test_encode_reads_pose_and_expression(picture: np.ndarray, landmarks: np.ndarray) -> None:
    engine = MeshEngine()
    motion = engine.encode(picture, Face(1, landmarks))
    assert motion.expression.shape == (len(ACTION_UNITS),)
    assert motion.pose.shape == (6,)
    assert motion.pose[5] == pytest.approx(60, rel=0.02)


def test_a_smile_is_removed_and_shape_is_not() -> None:
    taken = removal(expression({"12": 0.8})[None])
    assert taken[INDEX["12L"]] >= 1
    assert taken[INDEX["6L"]] > 0.5, "the cheeks fall with the smile"
    assert not removal(expression({"1": 0.4, "4": 0.5, "12": 0.1})[None]).any()
    assert not removal(expression({"26": 0.9, "43": 0.9})[None]).any()


def test_a_brow_that_comes_down_in_a_clip_was_raised() -> None:
    frames = np.repeat(expression({"1": 0.4})[None], 10, 0)
    assert not removal(frames).any(), "it may be this person's shape"
    frames[:2] = 0
    assert removal(frames)[INDEX["1L"]] > 0.25


def test_the_estimate_of_a_live_face_is_bounded(picture: np.ndarray, landmarks: np.ndarray) -> None:
    estimate = NeutralEstimate(capacity=5)
    assert not estimate.own.any()
    motion = MeshEngine().encode(picture, Face(1, landmarks))
    for _ in range(20):
        estimate.observe(motion)
    assert len(estimate) == 5
    assert np.allclose(estimate.own, removal(np.repeat(motion.expression[None], 5, 0)))


def test_a_furrow_is_filled_when_the_frown_goes() -> None:
    """Its darkness goes, the pores beside it stay, and an added frown fills nothing."""
    points = PLAIN[:, :2].astype(float)
    pores = np.random.default_rng(0).normal(0, 6, (400, 400, 1))
    plain = np.clip(np.array([200, 155, 135]) + pores, 0, 255).astype(np.uint8)
    image = plain.copy()
    furrow = np.round([points[[9, 107]].mean(0), points[[8, 55]].mean(0)]).astype(int)
    cv2.line(image, furrow[0].tolist(), furrow[1].tolist(), (165, 122, 104), 2, cv2.LINE_AA)
    region = Region(0, 0, 400, 400, 1)
    dark = np.abs(image.astype(int) - plain).sum(2) > 45
    relaxed = image.copy()
    draw_wrinkles(relaxed, points, expression({"4": -1.0}), 120, region, 1.0)
    before, after = (float((plain.astype(int) - shown)[dark].mean()) for shown in (image, relaxed))
    assert after < 0.5 * before
    rough = relaxed.astype(int)[:, :, 1]
    beside = ~cv2.dilate(dark.astype(np.uint8), np.ones((9, 9))).astype(bool)
    assert rough[beside].std() > 0.9 * plain.astype(int)[:, :, 1][beside].std()


def test_a_smile_shades_its_own_cheek_and_goes_again(landmarks: np.ndarray) -> None:
    points, plain = (
        landmarks[:, :2].astype(float),
        np.full((256, 256, 3), (190, 150, 130), np.uint8),
    )
    shaded = {}
    for name, units in {"both": {"12": 1.0}, "right": {"12R": 1.0}, "less": {"12": -1.0}}.items():
        shaded[name] = plain.copy()
        shade_smile(shaded[name], points, expression(units), 1.0)
    change = {name: image.astype(int) - plain for name, image in shaded.items()}
    fold = (points[205] + points[206]).round().astype(int) // 2
    around = np.s_[fold[1] - 4 : fold[1] + 5, fold[0] - 4 : fold[0] + 5]
    assert change["both"][around].min() < -8, "the fold beside the mouth is dark"
    assert change["less"][around].max() > 8, "and light where a smile goes"
    middle = round(float(points[1, 0]))
    assert not change["right"][:, middle + 20 :].any(), "the person's right is on the left"
    assert np.abs(change["both"]).max() < 60
    outside = cv2.fillPoly(np.ones((256, 256)), [points[list(OVAL)].round().astype(int)], 0.0)
    assert not change["both"][cv2.erode(outside, np.ones((7, 7))) > 0].any()
    gray = np.full((256, 256, 3), 150, np.uint8)
    shade_smile(gray, points, expression({"12": 1.0}), 1.0)
    assert not np.ptp(gray, axis=2).any()
    assert len(np.unique(gray)) > 5


def test_creases_are_drawn_on_skin_and_not_on_hair() -> None:
    region = Region(0, 0, 600, 560, 2.0)
    brows = PLAIN[[8, 9], 1].astype(int)
    images = []
    for hair in (200, 40):
        image = np.full((560, 600, 3), 200, np.uint8)
        image[brows.min() - 20 : brows.max() + 20, 270:330] = hair
        before = image.astype(int)
        draw_wrinkles(image, PLAIN[:, :2].astype(float), expression({"4": 1.5}), 120, region, 1.0)
        images.append(np.abs(image - before)[brows.min() - 20 : brows.max() + 20, 270:330])
    assert images[0].max() > 5
    assert images[1].max() <= 1


def test_nothing_is_drawn_where_a_gap_is_bridged(landmarks: np.ndarray) -> None:
    empty = np.full((256, 256, 3), 128, np.uint8)
    for still in (False, True):
        engine = MeshEngine(MeshSettings(still=still, wrinkles=2))
        for name in RECIPES:
            face = Face(1, landmarks, 0.7, bridged=True)
            assert np.array_equal(engine.render(empty, face, RECIPES[name].expression()), empty)


REFERENCE = Path(__file__).parent.parent / "reference" / "demo_landmarks.npz"


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "neutral"])
@pytest.mark.parametrize("still", [True, False])
def test_no_visible_triangle_folds(name: str, still: bool) -> None:
    faces = dict(np.load(REFERENCE))
    engine = MeshEngine(MeshSettings(still=still))
    before = 0
    for landmarks in (
        *(faces[key] for key in sorted(faces) if faces[key].shape == (478, 3)),
        PLAIN,
    ):
        pose = head_pose(landmarks)
        for strength in (0.5, 1.0, 1.5):
            delta = (strength * RECIPES[name].expression()).astype(np.float32)
            motion = pose.rotate(engine._motion(pose.to_head(landmarks), delta))
            points, moves = extend(landmarks.astype(np.float64), motion[:, :2])
            flat = unfold(points, moves, pose.scale)
            before += count_folds(points, moves)
            assert count_folds(points, flat) == 0
            assert np.abs(flat - moves).max() < 0.2 * pose.scale
    assert before or name in ("surprised", "disgusted")


@pytest.mark.parametrize("name", ["angry", "fear", "disgusted", "neutral"])
def test_blinks_do_not_fold(name: str) -> None:
    for key, landmarks in np.load(REFERENCE).items():
        if landmarks.shape != (478, 3):
            continue
        pose = head_pose(landmarks)
        head = pose.to_head(landmarks)
        for blink in (0.3, 0.6, 1.0):
            delta = RECIPES[name].expression() + expression({"43": blink})
            motion = pose.rotate(rig.displacement(head, delta))
            points, moves = extend(landmarks.astype(np.float64), motion[:, :2])
            assert count_folds(points, unfold(points, moves, pose.scale)) == 0, (key, blink)


def test_a_motion_without_folds_is_left_alone() -> None:
    points, moves = extend(PLAIN.astype(np.float64), np.zeros((478, 2)))
    moves += [3.0, -2.0]
    assert unfold(points, moves, 100.0) is not moves
    assert np.array_equal(unfold(points, moves, 100.0), moves)


def test_a_speaking_portrait_does_not_fold() -> None:
    from mien.engines.mesh.portrait import speech_motion

    pose = head_pose(PLAIN)
    head = pose.to_head(PLAIN)
    rng = np.random.default_rng(0)
    strengths = np.array([0.35, 0.1, 0.15, 0.1, 0.25, 0.05, 0.05])  # of clear speech
    for code in (rng.uniform(-0.2, 1.0, (40, 7)) * strengths).astype(np.float32):
        motion = lips.steady_corners(head, speech_motion(head, code))
        points, moves = extend(PLAIN.astype(np.float64), pose.rotate(motion)[:, :2])
        assert count_folds(points, unfold(points, moves, pose.scale)) == 0
