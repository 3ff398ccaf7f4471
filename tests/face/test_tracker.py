"""The tracker's nets on the bundled demo faces: compared with the teacher, and in motion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.errors import WeightsError
from mien.face.crop import eye_distance, face_square, mesh_distance
from mien.face.detector import Detector
from mien.face.landmarker import Landmarker
from mien.face.topology import IRISES, LIDS, LIPS
from mien.face.tracker import FaceTracker
from mien.media.still import read_still

from ..conftest import DEMO

REFERENCE = Path(__file__).parent.parent / "reference" / "demo_landmarks.npz"


@pytest.fixture(scope="module")
def precise() -> Iterator[FaceTracker]:
    with closing(FaceTracker(still=True)) as tracker:
        yield tracker


@pytest.fixture(scope="module")
def teacher() -> dict[str, np.ndarray]:
    """Landmarks by MediaPipe's FaceLandmarker."""
    with np.load(REFERENCE) as stored:
        return dict(stored)


def placed(
    image: np.ndarray, scale: float, angle: float, x: float, y: float, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image rotated about its centre, which moves to (x, y), and the matrix."""
    height, width = image.shape[:2]
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[c, -s, x], [s, c, y]])
    matrix[:, 2] -= matrix[:, :2] @ (width / 2, height / 2)
    small = image
    if scale < 0.6:
        small = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)
    frame = cv2.warpAffine(small, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return frame, matrix


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    out = points.copy()
    out[:, :2] = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return out


@pytest.mark.parametrize("name", ["man", "woman"])
def test_landmarks_match_the_teacher(
    precise: FaceTracker, teacher: dict[str, np.ndarray], name: str
) -> None:
    want = teacher[name]
    found = precise(read_still(DEMO / f"{name}.jpg"))
    assert len(found) == 1
    assert found[0].shape == (478, 3)
    assert found[0].dtype == np.float32
    error = np.linalg.norm((found[0] - want)[:, :2], axis=1) / eye_distance(want)
    assert error.mean() < 0.03
    assert error[[*LIPS, *LIDS]].mean() < 0.03
    assert error[list(IRISES)].mean() < 0.03
    depth = np.corrcoef(found[0][:, 2], want[:, 2])[0, 1]
    assert depth > 0.95


@pytest.mark.parametrize("angle", [-1.6, -0.7, -0.3, 0.3, 0.7, 1.5, 3.1])
def test_rotated_faces_are_found(
    precise: FaceTracker, teacher: dict[str, np.ndarray], angle: float
) -> None:
    image = read_still(DEMO / "woman.jpg")
    side = image.shape[0]
    frame, matrix = placed(image, 0.8, angle, side / 2, side / 2, (side, side))
    found = precise(frame)
    assert len(found) == 1
    assert mesh_distance(moved(teacher["woman"], matrix), found[0]) < 0.05


@pytest.mark.parametrize("size", [26, 60, 160, 700])
def test_faces_of_any_size_are_found(
    precise: FaceTracker, teacher: dict[str, np.ndarray], size: int
) -> None:
    image = read_still(DEMO / "man.jpg")
    scale = size / face_square(teacher["man"]).side
    frame, matrix = placed(image, scale, 0.0, 700, 420, (1280, 800))
    found = precise(frame)
    assert len(found) == 1
    assert mesh_distance(moved(teacher["man"], matrix), found[0]) < (0.1 if size < 40 else 0.06)


def test_a_moving_face_is_tracked(teacher: dict[str, np.ndarray]) -> None:
    image = read_still(DEMO / "woman.jpg")
    errors = []
    with closing(FaceTracker()) as tracker:
        for i in range(60):
            t = i / 60 * 2 * np.pi
            frame, matrix = placed(
                image, 0.5 + 0.15 * np.sin(t), 0.6 * np.sin(t), 320 + 120 * np.sin(2 * t),
                240 + 60 * np.cos(t), (640, 480),
            )  # fmt: skip
            found = tracker(frame)
            assert len(found) == 1, i
            errors.append(mesh_distance(moved(teacher["woman"], matrix), found[0]))
    assert np.mean(errors) < 0.04
    assert max(errors) < 0.08


def test_a_face_at_rest_does_not_jitter(teacher: dict[str, np.ndarray]) -> None:
    """Noise moves landmarks by less than half a percent of the eye distance."""
    image = read_still(DEMO / "man.jpg")
    rng = np.random.default_rng(0)
    tracks = []
    with closing(FaceTracker()) as tracker:
        for _ in range(40):
            noisy = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
            tracks.append(tracker(noisy)[0])
    spread = np.array(tracks)[5:, :, :2].std(0).mean() / eye_distance(teacher["man"])
    assert spread < 0.005


def test_a_face_that_disappears_is_lost_and_found_again() -> None:
    image = read_still(DEMO / "man.jpg")
    empty = np.full_like(image, 90)
    with closing(FaceTracker()) as tracker:
        seen = [len(tracker(frame)) for frame in [image] * 3 + [empty] * 3 + [image] * 3]
    assert seen == [1, 1, 1, 0, 0, 0, 1, 1, 1]


def test_two_people_are_two(precise: FaceTracker) -> None:
    both = np.hstack([read_still(DEMO / "man.jpg"), read_still(DEMO / "woman.jpg")])
    found = precise(both)
    assert len(found) == 2
    assert face_square(found[0]).side >= face_square(found[1]).side
    with closing(FaceTracker(max_faces=1)) as tracker:
        assert len(tracker(both)) == 1
    with closing(FaceTracker()) as tracker:
        for _ in range(4):
            assert len(tracker(both)) == 2


def test_no_face_is_found_in_scrambled_and_blank_images(precise: FaceTracker) -> None:
    image = read_still(DEMO / "woman.jpg")
    rng = np.random.default_rng(0)
    side = image.shape[0] // 32
    tiles = [
        image[y * side : (y + 1) * side, x * side : (x + 1) * side]
        for y in range(32)
        for x in range(32)
    ]
    order = rng.permutation(len(tiles))
    rows = [np.hstack([tiles[k] for k in order[i : i + 32]]) for i in range(0, 1024, 32)]
    assert precise(np.vstack(rows)) == []
    assert precise(np.full((64, 64, 3), 128, np.uint8)) == []
    assert precise(np.zeros((1, 7, 3), np.uint8)) == []


@pytest.mark.parametrize("kind", [Detector, Landmarker, FaceTracker])
def test_missing_and_damaged_nets_are_reported(tmp_path: Path, kind: type) -> None:
    with pytest.raises(WeightsError, match="is missing"):
        kind(folder=tmp_path)
    for net in ("detector", "face", "mouth", "eye"):
        (tmp_path / f"tracker_{net}.onnx").write_bytes(b"no net")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        kind(folder=tmp_path)
