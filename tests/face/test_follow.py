from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mien.errors import InputError
from mien.face.follow import Face, FaceFollower, TrackedFrame, follow
from mien.face.select import FaceChoice, FaceSelector
from mien.media.frame import ArrayPicture, Frame

from ..conftest import canonical_landmarks


class Script:
    """A tracker that returns faces at given positions, one list per frame."""

    def __init__(self, positions: list[list[tuple[float, float]]]) -> None:
        self._positions = iter(positions)
        self.resets = 0

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        return [canonical_landmarks(20, p) for p in next(self._positions)]

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None: ...


GREY = np.full((64, 64, 3), 100, np.uint8)


def run(
    positions: list[list[tuple[float, float]]], images: dict[int, np.ndarray] | None = None
) -> list[TrackedFrame]:
    images = images or {}
    frames = [
        Frame(ArrayPicture(images.get(i, GREY)), Fraction(i, 25), i) for i in range(len(positions))
    ]
    return list(follow(iter(frames), Script(positions)))


A, B = (30.0, 30.0), (150.0, 30.0)


def test_every_frame_is_yielded_in_order() -> None:
    out = run([[A]] * 40)
    assert [t.frame.index for t in out] == list(range(40))
    assert all(t.faces[0].weight == 1 and not t.faces[0].bridged for t in out)


def test_two_people_keep_their_ids_in_any_order() -> None:
    out = run([[A, B] if i % 2 else [B, A] for i in range(30)])
    for tracked in out[1:]:
        for face in tracked.faces:
            before = next(f for f in out[0].faces if f.id == face.id)
            assert np.abs(before.landmarks - face.landmarks).max() < 1


def test_a_short_gap_is_bridged_with_a_dip() -> None:
    out = run([[A]] * 20 + [[]] * 8 + [[(36.0, 30.0)]] * 20)
    gap = out[20:28]
    assert all(len(t.faces) == 1 and t.faces[0].bridged for t in gap)
    weights = [t.faces[0].weight for t in out]
    assert min(weights) < 0.5
    assert max(abs(a - b) for a, b in zip(weights, weights[1:], strict=False)) <= 0.25
    assert weights[10] == weights[-1] == 1
    x = [float(t.faces[0].landmarks[1, 0]) for t in gap]
    assert x == sorted(x)
    assert {t.faces[0].id for t in out} == {1}


def test_an_edit_fades_around_a_long_gap() -> None:
    out = run([[A]] * 20 + [[]] * 30 + [[A]] * 20)
    assert all(not t.faces for t in out[20:50])
    before = [t.faces[0].weight for t in out[:20]]
    after = [t.faces[0].weight for t in out[50:]]
    assert before[0] == 1
    assert before[-1] == 0
    assert before == sorted(before, reverse=True)
    assert after[0] == 0
    assert after[-1] == 1
    assert after == sorted(after)
    assert out[0].faces[0].id == out[-1].faces[0].id


def test_the_end_of_the_clip_is_no_gap() -> None:
    assert run([[A]] * 30)[-1].faces[0].weight == 1


def test_a_cut_restarts_without_fading() -> None:
    other = np.full((64, 64, 3), 200, np.uint8)
    out = run([[A]] * 10 + [[(40.0, 40.0)]] * 10, dict.fromkeys(range(10, 20), other))
    assert [t.cut for t in out].count(True) == 1
    assert out[10].cut
    assert all(t.faces[0].weight == 1 for t in out)
    target = canonical_landmarks(20, (40.0, 40.0))
    assert np.abs(out[10].faces[0].landmarks - target).max() < 1e-3


def test_a_few_black_frames_are_no_cut() -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    out = run([[A]] * 10 + [[]] * 5 + [[A]] * 10, dict.fromkeys(range(10, 15), black))
    assert not any(t.cut for t in out)
    assert all(t.faces[0].id == 1 for t in out)


def test_a_person_who_appears_later_fades_in() -> None:
    out = run([[A]] * 10 + [[A, B]] * 20)
    late = [next(f for f in t.faces if f.id == 2).weight for t in out[10:]]
    assert late[0] == 0
    assert late[-1] == 1


def test_live_following_needs_no_look_ahead() -> None:
    follower = FaceFollower(Script([[A], [A], []]))
    assert follower.update(GREY, Fraction(0))[0].weight == 1
    assert len(follower.update(GREY, Fraction(1, 25))) == 1
    assert follower.update(GREY, Fraction(2, 25)) == ()


def test_look_ahead_is_bounded() -> None:
    pulled = 0

    def frames() -> object:
        nonlocal pulled
        for i in range(200):
            pulled += 1
            yield Frame(ArrayPicture(GREY), Fraction(i, 25), i)

    stream = follow(frames(), Script([[A]] * 200))  # type: ignore[arg-type]
    for emitted, _ in enumerate(stream, 1):
        assert pulled - emitted <= 19


def faces(*places: tuple[float, float, float]) -> tuple[Face, ...]:
    return tuple(Face(i, canonical_landmarks(s, (x, y))) for i, (x, y, s) in enumerate(places, 1))


def test_the_largest_face_stays_selected() -> None:
    selector = FaceSelector(FaceChoice.parse("largest"))
    assert selector.pick(faces((30, 30, 20), (90, 30, 21)))[0].id == 2
    assert selector.pick(faces((30, 30, 40), (90, 30, 21)))[0].id == 2
    assert selector.pick(faces((30, 30, 40))) == ()
    assert selector.pick(faces((30, 30, 40)), cut=True)[0].id == 1


def test_numbers_count_from_the_left() -> None:
    people = faces((90, 30, 20), (30, 30, 20))
    assert FaceSelector(FaceChoice.parse("1")).pick(people)[0].id == 2
    assert FaceSelector(FaceChoice.parse("2")).pick(people)[0].id == 1
    assert FaceSelector(FaceChoice.parse("3")).pick(people) == ()
    assert len(FaceSelector(FaceChoice.parse("all")).pick(people)) == 2


@pytest.mark.parametrize("text", ["0", "-1", "biggest", "", "none.jpg", "1.5"])
def test_invalid_choices_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        FaceChoice.parse(text)
