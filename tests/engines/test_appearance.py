"""The inside of a mouth, drawn by the net that ships."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from mien.engines.mesh.appearance import (
    HEIGHT,
    PLANES,
    WIDTH,
    Exemplar,
    MouthFrame,
    conditions,
    donors,
    inside,
    region,
    skin_color,
)
from mien.engines.mesh.inside import drawn_mouth
from mien.engines.mesh.mouth import draw_mouth
from mien.face.pose import HeadPose, head_pose

from .test_mesh import closed_mouth, mouth_open

SKIN = np.array([205, 160, 138], np.uint8)


def placed(
    head: np.ndarray, scale: float = 100.0, angle: float = 0.0
) -> tuple[HeadPose, np.ndarray]:
    """Pose and landmarks of a head turned in the plane of a picture of 400 x 400."""
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    points = head @ np.array([[c, -s, 0], [s, c, 0], [0, 0, scale]]).T + [200, 160, 0]
    return head_pose(points), points


@pytest.mark.parametrize(("scale", "angle"), [(100, 0), (60, 0.4), (180, -0.3)])
def test_a_patch_is_upright_centred_and_of_one_size(scale: float, angle: float) -> None:
    pose, points = placed(mouth_open(0.2), scale, angle)
    frame = MouthFrame.of(points, pose)
    upright = MouthFrame.of(*reversed(placed(mouth_open(0.2))))
    assert np.allclose(frame.outline, upright.outline, atol=1e-3)
    assert np.abs(frame.outline.mean(0) - [WIDTH / 2 - 0.5, HEIGHT / 2 - 0.5]).max() < 4
    middle = frame.to_head @ [*frame.outline[20], 1]
    assert np.allclose(middle, pose.to_head(points)[13, :2], atol=0.02)


def test_a_patch_shows_what_the_image_shows_there() -> None:
    pose, points = placed(mouth_open(0.3), 40.0, 0.3)
    image = np.full((400, 400, 3), SKIN)
    at = points[[13, 14], :2].mean(0)
    cv2.circle(image, np.round(at).astype(int).tolist(), 3, (0, 0, 255), -1)
    patch = MouthFrame.of(points, pose).cut(image)
    row, column = np.argwhere(patch[..., 2] > 200).mean(0)
    assert abs(column - (WIDTH / 2 - 0.5)) < 3
    assert abs(row - (HEIGHT / 2 - 0.5)) < 6
    assert np.abs(patch[:8].astype(int) - SKIN).max() < 3


def test_the_net_sees_skin_and_lips_but_nothing_of_the_inside() -> None:
    pose, points = placed(mouth_open(0.25))
    frame = MouthFrame.of(points, pose)
    patch = np.full((HEIGHT, WIDTH, 3), SKIN)
    planes = conditions(patch, frame, None)
    assert planes.shape == (PLANES, HEIGHT, WIDTH)
    hole = inside(frame.outline) > 0.5
    assert hole.sum() > 500
    assert not planes[:3, hole].any()
    assert np.allclose(planes[:3, 0, 0], SKIN / 127.5 - 1, atol=1e-5)
    changed = patch.copy()
    changed[hole] = 0
    assert np.array_equal(conditions(changed, frame, None), planes)
    assert (region(frame.outline)[hole] == 1).all()


def test_an_example_hangs_from_the_upper_lip_in_the_light_of_the_face() -> None:
    _, wide = placed(mouth_open(0.3))
    pose, narrow = placed(mouth_open(0.1))
    giver, taker = MouthFrame.of(wide, pose), MouthFrame.of(narrow, pose)
    patch = np.full((HEIGHT, WIDTH, 3), SKIN)
    example = Exemplar.of(patch, giver.outline)
    same = example.planes(taker.outline, skin_color(patch, taker.outline))
    mask = same[3]
    top = taker.outline[20, 1]
    column = np.flatnonzero(mask[:, WIDTH // 2] > 0.5)
    assert abs(column[0] - top) < 2
    assert np.ptp(column) > 25  # as tall as the giver's, not as the taker's
    middle = int(top) + 8
    assert np.allclose(same[:3, middle, WIDTH // 2], SKIN / 127.5 - 1, atol=0.02)
    darker = example.planes(taker.outline, np.float32(SKIN) / 3)
    assert darker[:3, middle, WIDTH // 2].mean() < same[:3, middle, WIDTH // 2].mean() - 0.3
    gray = example.planes(taker.outline, np.float32([90, 90, 90]))[:3, middle, WIDTH // 2]
    assert np.ptp(gray) < 0.02


def test_a_face_always_gets_the_same_donor_and_donors_differ() -> None:
    bank = donors()
    light, dark = np.float32([225, 190, 170]), np.float32([70, 45, 35])
    assert bank.for_face(0.1, light) is bank.for_face(0.1, light)
    assert bank.for_face(0.0, light) is not bank.for_face(0.0, dark)
    for donor in bank.exemplars:
        within = inside(donor.outline) > 0.5
        assert donor.image[within].mean() > 60
        assert not donor.image[inside(donor.outline, 6) == 0].any()  # nothing but the mouth


def test_wide_mouths_show_more_teeth_and_narrow_ones_more_dark() -> None:
    edge = MouthFrame.of(*reversed(placed(mouth_open(0.2)))).outline
    center = edge.mean(0)
    wide, narrow = ((edge - center) * [k, 1] + center for k in (1.3, 0.8))
    assert donors().style_of(wide)[1] > donors().style_of(narrow)[1]
    assert donors().style_of(wide)[0] < donors().style_of(narrow)[0]


def test_what_opens_is_drawn_and_nothing_else_changes() -> None:
    pose, points = placed(closed_mouth())
    moves = placed(mouth_open(0.25))[1] - points
    source = np.full((400, 400, 3), SKIN)
    image = source.copy()
    draw_mouth(image, source, pose, points, moves)
    changed = (image != source).any(2)
    frame = MouthFrame.of(points + moves, pose)
    back = cv2.invertAffineTransform(frame.to_patch)
    reach = cv2.warpAffine(inside(frame.outline, 8), back, (400, 400))
    assert changed.sum() > 1000
    assert not changed[reach == 0].any()
    tones = image[cv2.warpAffine(inside(frame.outline), back, (400, 400)) > 0.99]
    assert tones.max() > 150  # teeth
    assert tones.min() < 100  # and what lies behind them


def test_a_closed_mouth_and_a_mouth_at_rest_stay_as_they_are() -> None:
    pose, points = placed(closed_mouth())
    source = np.full((400, 400, 3), SKIN)
    for moves in (np.zeros_like(points), np.tile([3.0, 2.0, 0.0], (len(points), 1))):
        image = source.copy()
        draw_mouth(image, source, pose, points, moves)
        assert np.array_equal(image, source)


def test_an_open_mouth_keeps_its_own_pixels_unless_it_speaks() -> None:
    pose, points = placed(mouth_open(0.2))
    moves = placed(mouth_open(0.21))[1] - points
    source = np.full((400, 400, 3), SKIN)
    teeth = points[[13, 14], :2].mean(0).round().astype(int)
    mark = slice(teeth[1] - 2, teeth[1] + 3), slice(teeth[0] - 2, teeth[0] + 3)
    source[mark] = (0, 255, 0)
    kept, spoken = source.copy(), source.copy()
    draw_mouth(kept, source, pose, points, moves)
    draw_mouth(spoken, source, pose, points, moves, keep_own=False)
    assert np.array_equal(kept[mark], source[mark])
    assert not np.array_equal(spoken[mark], source[mark])


def test_gray_faces_get_gray_mouths_and_edges_of_the_image_are_no_obstacle() -> None:
    for shift in (0, 190, -190, 900):
        pose, points = placed(closed_mouth())
        points += [shift, shift, 0]
        pose = head_pose(points)
        moves = placed(mouth_open(0.25))[1] + [shift, shift, 0] - points
        image = np.full((400, 400, 3), 150, np.uint8)
        draw_mouth(image, image.copy(), pose, points, moves)
        assert np.ptp(image.astype(int), axis=2).max() <= 1


def test_a_narrow_mouth_shows_a_part_of_a_wider_one() -> None:
    """The lower lip alone is lowered; a mouth that is wide enough stays as it is."""
    frames = [MouthFrame.of(*reversed(placed(mouth_open(gap)))) for gap in (0.03, 0.3)]
    narrow, wide = frames
    opened = narrow.opened(0.2)
    assert np.array_equal(opened.outline[:41], narrow.outline[:41])
    gap = (opened.outline[61] - opened.outline[20])[1] * 1.1 / WIDTH
    assert gap == pytest.approx(0.2, abs=0.01)
    assert np.array_equal(opened.outline[[0, 40]], narrow.outline[[0, 40]])
    assert np.allclose(wide.opened(0.2).outline, wide.outline)


def test_a_slit_shows_teeth_or_dark_and_not_the_color_of_lips() -> None:
    pose, points = placed(closed_mouth())
    moves = placed(mouth_open(0.05))[1] - points
    image = np.full((400, 400, 3), SKIN)
    draw_mouth(image, image.copy(), pose, points, moves)
    frame = MouthFrame.of(points + moves, pose)
    back = cv2.invertAffineTransform(frame.to_patch)
    shown = image[cv2.warpAffine(inside(frame.outline), back, (400, 400)) > 0.99].astype(int)
    assert np.abs(shown - SKIN).max(1).mean() > 25


def test_a_wide_mouth_shows_teeth_at_the_upper_lip_and_dark_behind_them() -> None:
    patch = np.full((HEIGHT, WIDTH, 3), SKIN)
    frame = MouthFrame.of(*reversed(placed(mouth_open(0.34))))
    skin = skin_color(patch, frame.outline)
    drawn = drawn_mouth(patch, frame, donors().for_face(0.0, skin), skin)
    column = drawn[:, WIDTH // 2 - 6 : WIDTH // 2 + 6].mean((1, 2))
    top, bottom = (round(float(frame.outline[k, 1])) for k in (20, 61))
    upper, lower = column[top + 3 : top + 12], column[bottom - 8 : bottom - 1]
    between = column[top + 12 : bottom - 8].min()
    assert upper.max() > 150
    assert between < 0.6 * upper.max()
    assert lower.max() > between + 25


def test_drawing_changes_steadily_as_a_mouth_opens() -> None:
    """One piece gives way to layers without a jump."""
    patch, shown = np.full((HEIGHT, WIDTH, 3), SKIN), []
    for gap in np.arange(0.12, 0.32, 0.01):
        frame = MouthFrame.of(*reversed(placed(mouth_open(gap))))
        skin = skin_color(patch, frame.outline)
        drawn = drawn_mouth(patch, frame, donors().for_face(0.0, skin), skin)
        shown.append(np.where(inside(frame.outline)[..., None] > 0.5, drawn, SKIN))
    steps = np.array([np.abs(b - a).mean() for a, b in pairwise(shown)])
    assert steps.max() < 4 * np.median(steps)


def test_lips_that_close_keep_nothing_of_the_teeth_that_showed() -> None:
    """The picture is white where the source shows teeth, wider than the outline says."""
    pose, points = placed(mouth_open(0.15))
    moves = placed(closed_mouth())[1] - points
    lips = np.array([150, 80, 80], np.uint8)
    image = np.full((400, 400, 3), lips)
    closed = points + moves
    across = closed[[61, 291], :2].round().astype(int)
    cv2.line(image, across[0].tolist(), across[1].tolist(), (235, 230, 220), 5)
    draw_mouth(image, image.copy(), pose, points, moves)
    middle = closed[[13, 14], :2].mean(0).round().astype(int)
    around = image[middle[1] - 6 : middle[1] + 7, middle[0] - 15 : middle[0] + 16]
    assert around.max() < 185
