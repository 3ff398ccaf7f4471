"""Faces that follow another person's expression over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mien
from mien.engines.mesh import driver as driving
from mien.engines.mesh import lips, rig
from mien.engines.mesh.driver import Driver, read_driver
from mien.errors import FaceNotFoundError, InputError
from mien.face.facs import ACTION_UNITS, INDEX, expression
from mien.face.follow import Face
from mien.face.pose import head_pose
from mien.face.topology import canonical_face
from mien.face.tracker import FaceTracker
from mien.media.read import VideoReader

from .conftest import MakeClip
from .speech.voices import buzz, write_sound

TIMES = np.arange(100) / 25


def driver_of(units: list[dict[str, float]], yaw: np.ndarray | None = None) -> Driver:
    """A synthetic person who shows these units, frame by frame."""
    head, faces = canonical_face().points, []
    for i, shown in enumerate(units):
        angle = 0.0 if yaw is None else float(yaw[i])
        c, s = np.cos(angle), np.sin(angle)
        points = (head + rig.displacement(head, expression(shown))) * 60
        points = points @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]).T + [128, 110, 0]
        faces.append(Face(1, points.astype(np.float32)))
    return driving._driver(TIMES[: len(units)], [driving._read(face) for face in faces])


def test_brows_and_smiles_are_taken_over_without_what_is_always_there() -> None:
    rising = np.clip((TIMES - 1.5) / 0.5, 0, 1)
    always = {"1": 0.3, "2": 0.3}
    assert driver_of([always] * 100).expressions.max() < 1e-3, "its own look does not leak"
    brows = driver_of([dict.fromkeys(always, 0.3 + x) for x in rising])
    smile = driver_of([{"12": x} for x in rising])
    for driver, unit in ((brows, "1L"), (brows, "2R"), (smile, "12L"), (smile, "6R")):
        shown = driver.expressions[:, INDEX[unit]]
        assert shown[:30].max() < 0.2
        assert shown[60:].min() > 0.45
        assert np.corrcoef(shown, rising)[0, 1] > 0.95
    speech = [INDEX[unit] for unit in ("25", "26", "18", "16L", "10R")]
    assert not brows.expressions[:, speech].any()


def test_words_are_no_smile() -> None:
    spoken = driver_of([{"12": 0.5 * (i % 6 < 2), "26": 0.5} for i in range(100)])
    assert spoken.expressions[:, INDEX["12L"]].max() < 0.25


def test_blinks_and_turns_of_the_head() -> None:
    yaw = 0.2 * np.sin(2 * np.pi * TIMES / 2)
    shut = [{"43": 1.0} if 40 <= i < 46 else {} for i in range(100)]
    driver = driver_of(shut, yaw)
    assert driver.at(1.7).blink > 0.9
    assert driver.at(0.5).blink < 0.1
    assert driver.at(0.5).turn[0] > 0.1
    assert driver.at(1.5).turn[0] < -0.1
    assert np.abs(driver.turns[:, 1:]).max() < 0.05
    assert np.abs(driver_of(shut, 10 * yaw).turns).max() <= 0.3, "limited"
    behind = driver.at(driver.seconds + 1)
    assert behind.weight == 0
    assert not behind.expression.any()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Let every film show a person whose brows go up in the middle of the first second."""
    up = np.clip(1 - np.abs(TIMES - 0.5) / 0.3, 0, 1)
    raised = np.zeros((len(TIMES), len(ACTION_UNITS)))
    for unit in ("1L", "1R", "2L", "2R"):
        raised[:, INDEX[unit]] = 1.2 * up
    turns = np.zeros((len(TIMES), 3))
    turns[:, 0] = 0.2 * up
    ones = np.ones(len(TIMES))
    made = Driver(TIMES, raised, turns, 0 * ones, ones)
    monkeypatch.setattr("mien.pipelines.following.read_driver", lambda *_: made)
    return made


def brows_and_gaps(path: Path) -> tuple[np.ndarray, np.ndarray]:
    tracker, heads = FaceTracker(), []
    with VideoReader(path) as reader:
        for frame in reader:
            points = tracker(frame.picture)[0]
            heads.append(head_pose(points).to_head(points))
    tracker.close()
    brow = [-head[[105, 334], 1].mean() for head in heads]
    return np.array(brow), np.array([lips.opening(head) for head in heads])


def test_a_film_follows_and_goes_on_speaking(
    driver: Driver, short_clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"
    report = mien.edit(short_clip, out, follow=short_clip)
    (before, spoke), (after, speaks) = brows_and_gaps(short_clip), brows_and_gaps(out)
    raised = after - before
    wanted = driver.expressions[:25, INDEX["1L"]]
    assert np.corrcoef(raised, wanted)[0, 1] > 0.8
    assert raised[12] > raised[1] + 0.03
    assert np.abs(speaks - spoke).mean() < 0.02, "lips are the film's own"
    assert report.follow == str(short_clip)
    assert report.emotion == {"labels": {}, "action_units": {}, "looks": [], "intensity": 1.0}


def test_the_head_of_a_portrait_follows(driver: Driver, demo_face: Path, tmp_path: Path) -> None:
    voice = write_sound(tmp_path / "voice.wav", buzz(1.0, 200))
    settings = mien.TalkSettings(side=192, liveliness=0)
    pictures = []
    for time in (0.1, 0.5):
        out = tmp_path / f"{time}.png"
        mien.talk(demo_face, voice, out, follow=demo_face.with_name("clip.mp4"),
                  settings=settings, preview=time)  # fmt: skip
        pictures.append(out)
    tracker = FaceTracker(still=True)
    yaws = []
    for path in pictures:
        from mien.media.still import read_still

        yaws.append(head_pose(tracker(read_still(path))[0]).yaw)
    tracker.close()
    assert abs(yaws[1] - yaws[0]) > 0.05


def test_films_that_cannot_be_followed(
    make_clip: MakeClip, demo_face: Path, short_clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(FaceNotFoundError, match="is to be followed"):
        mien.edit(short_clip, out, follow=make_clip())
    for arguments, word in (
        ({"follow": demo_face}, "takes a film.*--like"),
        ({"follow": tmp_path / "none.mp4"}, "no file"),
        ({"follow": short_clip, "engine": "edtalk"}, "engine mesh"),
        ({"follow": 3}, "follow must be the path"),
    ):
        with pytest.raises(InputError, match=word):
            mien.edit(short_clip, out, **arguments)
    with pytest.raises(InputError, match="for films"):
        mien.edit(demo_face, tmp_path / "out.png", follow=short_clip)
    assert not list(tmp_path.glob("out*"))


def test_a_real_film_can_be_read(short_clip: Path) -> None:
    seen: list[int] = []
    found = read_driver(short_clip, seconds=0.5, on_frame=lambda: seen.append(1))
    assert len(found.times) == len(seen) == 13
    assert found.weights[5:].min() == 1
    assert np.isfinite(found.expressions).all()
