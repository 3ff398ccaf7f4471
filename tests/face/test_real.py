"""Tracking on real images and clips (skipped where these are not available)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.face.crop import face_square, mesh_distance
from mien.face.follow import TrackedFrame, follow
from mien.face.tracker import FaceTracker
from mien.media.read import VideoReader
from mien.media.still import read_still

VIDEOS = (
    "expressive_512_30fps.mp4",
    "grid_360x288.mpg",
    "hdtf_512_25fps.mp4",
    "hdtf_radio_256_25fps.mp4",
    "mead_w009_neutral_256_25fps.mp4",
    "odd_480x908_2997fps.mp4",
    "rotated_flag_256.mp4",
    "small_face_720x1080_25fps.mp4",
    "speech_450_25fps.mp4",
    "turning_224_25fps.mp4",
    "variable_rate_256.mp4",
    "wide_1280x720_30fps.mp4",
)


@pytest.fixture(scope="module")
def precise() -> Iterator[FaceTracker]:
    with closing(FaceTracker(still=True)) as tracker:
        yield tracker


def test_every_portrait_shows_a_face(shared: Path, precise: FaceTracker) -> None:
    for path in sorted((shared / "media" / "portraits").iterdir()):
        image = read_still(path)
        found = precise(image)
        assert found, path.name
        assert found[0].shape == (478, 3)
        assert found[0].dtype == np.float32
        assert face_square(found[0]).side > 0.2 * min(image.shape[:2]), path.name


def test_two_faces_are_two_and_no_face_is_none(shared: Path, precise: FaceTracker) -> None:
    two = precise(read_still(shared / "media" / "hard" / "two_faces.png"))
    assert len(two) == 2
    assert face_square(two[0]).side >= face_square(two[1]).side
    assert precise(read_still(shared / "media" / "hard" / "no_face.png")) == []


@pytest.mark.parametrize("name", VIDEOS)
def test_tracking_is_as_exact_as_detection(shared: Path, precise: FaceTracker, name: str) -> None:
    """The mesh stays on the face, even where it is small and moves fast."""
    missing, errors = 0, []
    with (
        VideoReader(shared / "media" / "videos" / name) as reader,
        closing(FaceTracker()) as tracker,
    ):
        for i, frame in enumerate(islice(reader, 110)):
            found = tracker(frame.image)
            missing += not found
            if i % 12 == 0 and found and (alone := precise(frame.image)):
                errors.append(mesh_distance(alone[0], found[0]))
    assert missing <= 1
    assert len(errors) >= 5
    assert max(errors) < 0.12
    assert np.median(errors) < 0.06


def spans(tracked: list[TrackedFrame], *, bridged: bool) -> list[tuple[float, float]]:
    """Times of the first and last frame of every span without a (seen) face."""
    out: list[list[float]] = []
    before = False
    for item in tracked:
        gone = not any(bridged or not face.bridged for face in item.faces)
        time = float(item.frame.time)
        if gone and before:
            out[-1][1] = time
        elif gone:
            out.append([time, time])
        before = gone
    return [(a, b) for a, b in out]


def test_short_gaps_are_bridged_and_long_ones_are_not(shared: Path) -> None:
    with (
        VideoReader(shared / "media" / "videos" / "face_gone_twice_256.mp4") as reader,
        closing(FaceTracker()) as tracker,
    ):
        tracked = list(follow(reader, tracker))
    unseen = spans(tracked, bridged=False)
    assert len(unseen) == 2
    for (start, end), length in zip(unseen, (0.3, 1.2), strict=True):
        assert end - start == pytest.approx(length, abs=0.06)
    assert spans(tracked, bridged=True) == unseen[1:]
    assert {face.id for item in tracked for face in item.faces} == {1}
    weights = [face.weight for item in tracked for face in item.faces]
    assert weights[0] == weights[-1] == 1


def test_the_cost_does_not_grow_with_the_frame(shared: Path, precise: FaceTracker) -> None:
    """An 8K frame of the same scene gives the same mesh; only a crop of it is processed."""
    image = read_still(shared / "media" / "portraits" / "hallo_4.jpg")
    large = np.zeros((4320, 7680, 3), np.uint8)
    large[1000 : 1000 + image.shape[0], 5000 : 5000 + image.shape[1]] = image
    with closing(FaceTracker()) as tracker:
        for _ in range(3):
            found = tracker(large)
    alone = precise(image)[0] + np.float32([5000, 1000, 0])
    assert len(found) == 1
    assert mesh_distance(alone, found[0]) < 0.08


@pytest.mark.parametrize("height", [48, 72, 120])
def test_small_faces_in_large_frames(shared: Path, precise: FaceTracker, height: int) -> None:
    image = read_still(shared / "media" / "portraits" / "hallo_6.jpg")
    at_full_size = precise(image)[0]
    scale = height / face_square(at_full_size).side
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frame = np.full((1080, 1920, 3), 90, np.uint8)
    frame[700 : 700 + small.shape[0], 1300 : 1300 + small.shape[1]] = small
    found = precise(frame)
    assert len(found) == 1
    want = (at_full_size * scale + np.array([1300, 700, 0])).astype(np.float32)
    assert mesh_distance(want, found[0]) < 0.1


def test_no_face_is_found_in_texture() -> None:
    rng = np.random.default_rng(0)
    with closing(FaceTracker(still=True)) as tracker:
        for cells in (4, 8, 16, 16, 32, 32, 64):
            noise = rng.integers(0, 255, (cells, cells, 3)).astype(np.uint8)
            image = cv2.resize(noise, (512, 512), interpolation=cv2.INTER_CUBIC)
            assert tracker(image) == []


def test_reset_forgets_the_previous_frames(demo_face: Path) -> None:
    image = read_still(demo_face)
    with closing(FaceTracker()) as tracker:
        first = tracker(image)[0]
        moved = np.roll(image, 60, axis=1)
        tracker(moved)
        tracker.reset()
        assert np.abs(tracker(image)[0] - first).max() < 0.5


def test_the_demo_face_is_found_whatever_the_memory_layout(demo_face: Path) -> None:
    image = read_still(demo_face)
    with closing(FaceTracker(still=True)) as tracker:
        want = tracker(image)
        assert len(want) == 1
        assert np.allclose(tracker(np.asfortranarray(image))[0], want[0], atol=0.01)
    tracker.close()  # again: harmless
