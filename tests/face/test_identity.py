"""People keep their identity, on clips made of the package's two demo faces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

import mien
from mien.errors import FaceNotFoundError
from mien.face.crop import face_square
from mien.face.follow import TrackedFrame, follow
from mien.face.people import People
from mien.face.recognition import Appearance, appearance, mean_appearance
from mien.face.select import FaceChoice, FaceSelector
from mien.face.tracker import FaceTracker
from mien.media.frame import ArrayPicture, Frame
from mien.media.read import VideoReader
from mien.media.still import read_still

from ..conftest import DEMO, MakeClip, canonical_landmarks

SIDE, HEIGHT, WIDTH = 120, 130, 400
INSET = {"man": 16, "woman": 0}
"""Pixels cut off around each picture: the man is nearer, so that his face is the largest."""
PANELS = {
    name: cv2.resize(
        read_still(DEMO / f"{name}.jpg")[cut : 512 - cut, cut : 512 - cut],
        (SIDE, SIDE),
        interpolation=cv2.INTER_AREA,
    )
    for name, cut in INSET.items()
}

Places = dict[str, float]
"""Left edge of everybody's panel; who comes later covers who comes earlier."""


def draw(places: Places, background: int = 128) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH, 3), background, np.uint8)
    for name, left in places.items():
        move = np.float32([[1, 0, left], [0, 1, 5]])
        panel = cv2.warpAffine(PANELS[name], move, (WIDTH, HEIGHT))
        shown = cv2.warpAffine(np.ones((SIDE, SIDE), np.uint8), move, (WIDTH, HEIGHT))
        image[shown > 0] = panel[shown > 0]
    return image


def tracked(images: Sequence[np.ndarray], rate: int = 25) -> list[TrackedFrame]:
    frames = [Frame(ArrayPicture(x), Fraction(i, rate), i) for i, x in enumerate(images)]
    with closing(FaceTracker()) as tracker:
        return list(follow(frames, tracker))


def edited(
    frames: Sequence[TrackedFrame], choice: str | Path, look: Appearance | None = None
) -> list[list[float]]:
    """The places of the faces that are edited visibly, in every frame."""
    selector = FaceSelector(FaceChoice.parse(str(choice)), look)
    return [
        [face_square(f.landmarks).x for f in selector.pick(t.faces, t.cut) if f.weight > 0]
        for t in frames
    ]


def shown(places: list[list[float]], scenes: Sequence[Places], name: str) -> list[bool]:
    """Whether the edit is on this person; it must never be anywhere else."""
    for found, scene in zip(places, scenes, strict=True):
        for x in found:
            assert name in scene, f"{x} is nobody's"
            assert x == pytest.approx(scene[name] + SIDE / 2, abs=12)
    return [bool(found) for found in places]


def look_of(name: str) -> Appearance:
    image = read_still(DEMO / f"{name}.jpg")
    with closing(FaceTracker(still=True)) as tracker:
        return appearance(image, tracker(image)[0])


@dataclass(frozen=True)
class Clip:
    scenes: list[Places]
    frames: list[TrackedFrame]


@pytest.fixture(scope="module")
def crossing() -> Clip:
    """The man walks to the right behind the woman, who walks to the left."""
    ways = [*range(54), *[53] * 12]
    scenes = [{"man": 10 + 5 * i, "woman": 270 - 5 * i} for i in ways]
    return Clip(scenes, tracked([draw(places) for places in scenes]))


def test_who_is_covered_is_edited_again_after_the_crossing(crossing: Clip) -> None:
    on = shown(edited(crossing.frames, "1"), crossing.scenes, "man")
    assert all(on[:12])
    assert all(on[-6:])
    assert not any(on[22:32])


def test_who_walks_in_front_is_edited_all_the_time(crossing: Clip) -> None:
    assert all(shown(edited(crossing.frames, "2"), crossing.scenes, "woman"))


def test_everybody_keeps_the_same_id_through_a_crossing(crossing: Clip) -> None:
    assert {face.id for item in crossing.frames for face in item.faces} == {1, 2}


def test_an_edit_ends_softly_before_another_face_covers_it(crossing: Clip) -> None:
    weights = [f.weight for item in crossing.frames for f in item.faces if f.id == 1]
    assert weights[0] == weights[-1] == 1
    assert min(weights) == 0
    assert max(abs(a - b) for a, b in zip(weights, weights[1:], strict=False)) < 0.25


def test_a_picture_selects_its_person_in_a_crossing(crossing: Clip) -> None:
    for name in ("man", "woman"):
        places = edited(crossing.frames, DEMO / f"{name}.jpg", look_of(name))
        on = shown(places, crossing.scenes, name)
        assert on[0]
        assert on[-1]


def test_a_face_that_another_one_covers_in_place_returns() -> None:
    """The woman passes in front of the man, who does not move."""
    scenes = [{"man": 140.0, "woman": -100 + 8.0 * i} for i in range(66)]
    frames = tracked([draw(places) for places in scenes])
    on = shown(edited(frames, "1"), scenes, "man")
    assert all(on[:8])
    assert all(on[-6:])
    assert not all(on)


def test_who_leaves_and_comes_back_elsewhere_is_the_same_person() -> None:
    out = [{"man": 200 + 20.0 * i, "woman": 20.0} for i in range(10)]
    away = [{"woman": 20.0}] * 34
    back = [{"man": max(200.0, 380 - 20.0 * i), "woman": 20.0} for i in range(36)]
    scenes = [*out, *away, *back]
    frames = tracked([draw(places) for places in scenes], rate=10)
    on = shown(edited(frames, "2"), scenes, "man")
    assert on[0]
    assert not any(on[11:45])
    assert on[-1]


@pytest.mark.parametrize("choice", ["1", "largest"])
def test_somebody_else_in_the_same_place_is_not_edited(choice: str) -> None:
    leaves = [{"man": 250.0 + 10 * max(0, i - 10)} for i in range(26)]
    enters = [{"woman": max(250.0, 400.0 - 10 * i)} for i in range(30)]
    scenes: list[Places] = [*leaves, *enters]
    frames = tracked([draw(places, 215) for places in scenes])
    on = shown(edited(frames, choice), scenes, "man")
    assert all(on[:12])
    assert not any(on[26:])


@pytest.mark.parametrize("choice", ["1", "largest"])
def test_a_sudden_exchange_without_a_cut_hands_nothing_over(choice: str) -> None:
    """The look-ahead takes back even the frames in which the tracker had not noticed."""
    scenes: list[Places] = [{"man": 140.0}] * 30 + [{"woman": 140.0}] * 30
    images = [np.tile(draw(places), (3, 2, 1)) for places in scenes]
    for image in images:
        image[HEIGHT:] = image[:, WIDTH:] = 128
    frames = tracked(images)
    on = shown(edited(frames, choice), scenes, "man")
    assert all(on[:20])
    assert not any(on[30:])


@pytest.fixture(scope="module")
def cut() -> Clip:
    """The man, the woman in another scene, the man again."""
    scenes: list[Places] = [{"man": 40.0}] * 15 + [{"woman": 240.0}] * 15 + [{"man": 60.0}] * 15
    images = [draw(s, 200 if "woman" in s else 60) for s in scenes]
    return Clip(scenes, tracked(images))


def test_a_number_edits_only_that_person_after_cuts(cut: Clip) -> None:
    assert [item.cut for item in cut.frames].count(True) == 2
    on = shown(edited(cut.frames, "1"), cut.scenes, "man")
    assert on == [True] * 15 + [False] * 15 + [True] * 15


def test_largest_edits_somebody_in_every_scene(cut: Clip) -> None:
    places = edited(cut.frames, "largest")
    assert all(len(found) == 1 for found in places)


def test_largest_returns_to_the_person_chosen_first() -> None:
    scenes: list[Places] = [{"man": 40.0}] * 8 + [{"woman": 200.0}] * 8
    scenes += [{"man": 20.0, "woman": 220.0}] * 8
    images = [draw(s, b) for s, b in zip(scenes, [60] * 8 + [200] * 8 + [20] * 8, strict=True)]
    places = edited(tracked(images), "largest")
    shown(places[16:], scenes[16:], "man")
    assert all(places)


def test_appearance_survives_size_light_and_a_mirror() -> None:
    man = read_still(DEMO / "man.jpg")
    with closing(FaceTracker(still=True)) as tracker:

        def look(image: np.ndarray) -> Appearance:
            return appearance(image, tracker(image)[0])

        known, other = look(man), look(read_still(DEMO / "woman.jpg"))
        ramp = np.linspace(0.5, 1.2, man.shape[1])[None, :, None]
        variants = {
            "small": cv2.resize(man, (96, 96), interpolation=cv2.INTER_AREA),
            "side light": np.clip(man * ramp, 0, 255).astype(np.uint8),
            "mirrored": np.ascontiguousarray(man[:, ::-1]),
        }
        likeness = {name: float(known @ look(image)) for name, image in variants.items()}
    assert np.linalg.norm(known) == pytest.approx(1, abs=1e-5)
    assert min(likeness.values()) > 0.8, likeness
    assert known @ other < 0.3


def test_the_mean_of_appearances_is_one() -> None:
    a, b = np.eye(128, dtype=np.float32)[:2]
    mean = mean_appearance([a, b])
    assert mean @ mean == pytest.approx(1)
    assert mean @ a == pytest.approx(0.5**0.5)


class Room:
    """Scripted faces: every person has an own appearance, or the one given."""

    def __init__(self) -> None:
        self.people = People()
        self.looks = 0
        self._frame = 0
        self._grey = np.full((32, 32), 100, np.int16)

    def __call__(self, *faces: tuple[float, int | Appearance]) -> list[int | None]:
        """Show faces of size 40 at the given places; their ids."""
        landmarks = [canonical_landmarks(20, (x, 50.0)) for x, _ in faces]
        who = {id(points): look for points, (_, look) in zip(landmarks, faces, strict=True)}

        def look(points: np.ndarray) -> Appearance:
            self.looks += 1
            found = who[id(points)]
            return np.eye(128, dtype=np.float32)[found] if isinstance(found, int) else found

        seen = self.people.see(landmarks, look, self._frame / 25, self._grey)
        self.last = seen
        self._frame += 1
        return [None if person is None else person.id for person in seen.people]


def between(a: int, b: int, share: float) -> Appearance:
    out = np.zeros(128, np.float32)
    out[a], out[b] = 1 - share, share
    return out / np.linalg.norm(out)


def test_people_far_apart_are_checked_twice_a_second() -> None:
    room = Room()
    for _ in range(100):
        assert room((50, 0), (300, 1)) == [1, 2]
    assert room.looks <= 2 * (8 + 5)


def test_faces_that_change_places_at_once_keep_their_ids() -> None:
    room = Room()
    for _ in range(10):
        room((100, 0), (145, 1))
    assert room((100, 1), (145, 0)) == [2, 1]


def test_a_face_between_two_people_is_nobodys() -> None:
    room = Room()
    for _ in range(10):
        room((100, 0), (145, 1))
    strange = np.eye(128, dtype=np.float32)[5]
    assert room((122, strange)) == [None]
    assert room.last.covered == {1, 2}
    assert room((100, 0), (145, 1)) == [1, 2]


def test_one_odd_look_changes_nothing() -> None:
    room = Room()
    for i in range(60):
        assert room((100, 7 if i in (20, 33, 46) else 0)) == [1]
        assert not room.last.revoked


def test_somebody_else_in_a_persons_place_gets_a_new_id() -> None:
    room = Room()
    for _ in range(30):
        room((100, 0))
    ids = [room((100, 1)) for _ in range(30)]
    assert ids[-1] == [2]
    assert ids.count([1]) <= 15
    assert [room((100, 0)) for _ in range(20)][-1] == [1]


def test_a_changed_look_is_followed() -> None:
    """Somebody who turns away slowly stays the same person."""
    room = Room()
    for i in range(200):
        assert room((100, between(0, 1, i / 200))) == [1]


def test_the_person_of_a_picture_who_is_absent_is_an_error(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    images = [draw({"man": 100.0})[:, :320]] * 6
    clip = make_clip(
        "man.mp4", size=(320, HEIGHT), stamps=[512 * i for i in range(6)], images=images
    )
    out = tmp_path / "out.mp4"
    with pytest.raises(FaceNotFoundError, match=r"woman\.jpg was not found"):
        mien.edit(clip, out, "happy", face=str(DEMO / "woman.jpg"))
    assert not out.exists()
    with pytest.raises(FaceNotFoundError, match=r"woman\.jpg was not found"):
        mien.edit(DEMO / "man.jpg", tmp_path / "out.png", "happy", face=str(DEMO / "woman.jpg"))
    assert mien.edit(clip, out, "happy", face=str(DEMO / "man.jpg")).faces == 1


def test_only_the_chosen_persons_pixels_change(shared: Path, tmp_path: Path) -> None:
    """A man walks behind a woman and comes out at the other side."""
    clip = shared / "media" / "trouble" / "people_cross.mp4"
    if not clip.is_file():
        pytest.skip("the clip is not here")

    def images(path: Path) -> Iterator[np.ndarray]:
        with VideoReader(path) as reader:
            for frame in reader:
                yield frame.image

    out = tmp_path / "out.mkv"
    mien.edit(clip, out, "happy", face="1", encoding=mien.EncodingSettings(lossless=True))
    before, after = list(images(clip)), list(images(out))

    def changed(frame: int, left: int, right: int) -> bool:
        return bool((after[frame][:, left:right] != before[frame][:, left:right]).any())

    assert changed(0, 20, 220)
    assert changed(74, 420, 620)
    assert not changed(0, 420, 620)
    assert not changed(74, 20, 220)
    assert not any(changed(frame, 0, 640) for frame in range(32, 49))
