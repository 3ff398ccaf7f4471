"""Expressions of faces: the bundled net, ``mien feel`` of pictures and silent films, training."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

import mien
from mien.errors import FaceNotFoundError, InputError
from mien.face.expression import EXPRESSIONS, ExpressionReader, Reading
from mien.face.tracker import FaceTracker
from mien.media.still import read_still, write_still

from .. import command
from ..conftest import DEMO, MakeClip


def test_a_reading_weighs_the_ratings_of_the_literature() -> None:
    sure = Reading.of(np.eye(8)[EXPRESSIONS.index("sad")])
    assert (sure.emotion, sure.confidence) == ("sad", 1)
    assert (sure.valence, sure.arousal) == (-0.63, -0.27)
    even = Reading.of(np.full(8, 0.125))
    assert (even.valence, even.arousal) == pytest.approx((-0.215, 0.33125))


def test_the_net_reads_a_neutral_face_and_its_smile(tmp_path: Path) -> None:
    tracker, reader = FaceTracker(max_faces=1, still=True), ExpressionReader()
    neutral = read_still(DEMO / "woman2.jpg")
    mien.edit(DEMO / "woman2.jpg", tmp_path / "happy.png", "happy")
    happy = read_still(tmp_path / "happy.png")
    one, two = (reader.read(image, tracker(image)[0]) for image in (neutral, happy))
    assert one.emotion == "neutral"
    assert two.emotion == "happy"
    assert two.valence > one.valence + 0.3
    assert sum(two.probabilities.values()) == pytest.approx(1, abs=1e-4)
    with pytest.raises(InputError, match=r"\(478, 3\)"):
        reader.read(happy, np.zeros((68, 2), np.float32))


def test_where_and_how_large_a_face_is_hardly_counts() -> None:
    tracker, reader = FaceTracker(max_faces=1, still=True), ExpressionReader()
    image = read_still(DEMO / "man.jpg")
    points = tracker(image)[0]
    turn = cv2.getRotationMatrix2D((256, 256), 20, 0.5)
    turned = cv2.warpAffine(image, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    moved = points * np.float32(0.5)
    moved[:, :2] = points[:, :2] @ turn[:, :2].T + turn[:, 2]
    odds = reader.probabilities([image, turned], [points, moved])
    assert np.abs(odds[0] - odds[1]).max() < 0.15


def test_feel_lists_the_people_of_a_picture_from_left_to_right(tmp_path: Path) -> None:
    both = np.hstack([read_still(DEMO / "man.jpg"), read_still(DEMO / "woman.jpg")])
    write_still(tmp_path / "both.png", both)
    done = command.mien("feel", tmp_path / "both.png", "--json", cache=Path("none"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["seconds"] == 0
    left, right = found["faces"]
    assert left["box"][2] < 512 < right["box"][0]
    for face in (left, right):
        assert set(face["emotion"]) == set(EXPRESSIONS)
        assert face["confidence"] == max(face["emotion"].values())
        assert face["curve"] == []
    shown = command.mien("feel", tmp_path / "both.png", cache=Path("none"))
    assert "face 2" in shown.stdout
    assert "valence" in shown.stdout


def test_feel_reads_a_silent_film_second_by_second(make_clip: MakeClip) -> None:
    face = cv2.resize(read_still(DEMO / "woman.jpg"), (192, 192), interpolation=cv2.INTER_AREA)
    stamps = tuple(range(0, 40 * 512, 512))
    film = make_clip("film.mp4", size=(192, 192), stamps=stamps, images=[face] * 40)
    (feeling,) = mien.feel(film)
    assert isinstance(feeling, mien.FaceFeeling)
    (person,) = feeling.faces
    assert [second.time for second in person.curve] == [0.5, 1.5]
    assert feeling.seconds == pytest.approx(1.6, abs=0.21)
    assert json.loads(json.dumps(feeling.to_dict()))["file"] == str(film)


def test_feel_of_pictures_refuses_what_belongs_to_voices(tmp_path: Path) -> None:
    write_still(tmp_path / "nobody.png", np.full((100, 100, 3), 80, np.uint8))
    with pytest.raises(FaceNotFoundError, match=r"nobody\.png"):
        next(mien.feel(tmp_path / "nobody.png"))
    face = DEMO / "woman.jpg"
    with pytest.raises(InputError, match="neutral voice"):
        mien.feel(face, neutral=face)
    plot = command.mien("feel", face, "--plot", tmp_path / "p.png", cache=Path("none"))
    assert plot.returncode == 2
    assert "no sound" in plot.stderr


def folder_of_faces(folder: Path, count: int) -> None:
    """Write toy faces: the mouth of a happy one is bright, and its mesh is wide."""
    from mien.face.topology import canonical_face

    (folder / "faces").mkdir()
    (folder / "highres").mkdir()
    rng = np.random.default_rng(0)
    points = canonical_face().points * 50 + [96, 96, 0]
    landmarks, emotions = [], []
    with tarfile.open(folder / "faces" / "crops.tar", "w") as archive:
        for i in range(count):
            happy = i % 2
            face = points + rng.normal(0, 0.3, points.shape)
            face[[61, 291], 0] += [-8 * happy, 8 * happy]
            image = np.full((192, 192, 3), 100, np.uint8)
            cv2.circle(image, (96, 140), 20, (220, 220, 220) if happy else (30, 30, 30), -1)
            data = cv2.imencode(".jpg", image)[1].tobytes()
            entry = tarfile.TarInfo(f"{i:05d}.jpg")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
            landmarks.append(face)
            emotions.append(("neutral", "happy")[happy] if i % 3 else "")
    np.savez(
        folder / "faces" / "labels.npz",
        landmarks=np.array(landmarks, np.float16),
        blendshapes=np.tile(np.arange(count)[:, None] % 2, (1, 52)).astype(np.float16),
        emotion=np.array(emotions),
        source=np.array(
            [f"set/W009_{i}.jpg" if i < 6 else f"set/p{i}x_1.jpg" for i in range(count)]
        ),
    )
    with (folder / "highres" / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "source", "person", "expression"]])


def test_training_reads_toy_faces(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from mien.training.expression import ExpressionConfig, train_expression
    from mien.training.expression.data import load_faces, person_of
    from mien.training.expression.net import export_expression, load_net
    from mien.training.expression.task import calibration_error, shown
    from mien.training.trainer import Trainer

    folder_of_faces(tmp_path, 96)
    config = ExpressionConfig(
        faces=tmp_path / "faces", portraits=tmp_path / "highres", excluded=("W009",), width=8,
        batch=16, steps=40, measure_every=40, held_out=0.5, device="cpu",
    )  # fmt: skip
    scores = train_expression(config, Trainer(tmp_path / "run"))
    assert scores["accuracy"] > 0.9
    assert scores["recall happy"] > 0.8
    faces = load_faces(config, tmp_path / "run" / "cache")
    assert len(faces.labels) == 90
    assert not any(person.startswith("W") for person in faces.people)
    assert person_of("muxspace/Jackie_Chan_0004.jpg") == person_of("muxspace/Jackie_Chan_12.jpg")
    net = load_net(tmp_path / "run" / "expression.pt")
    assert float(net.temperature) == pytest.approx(scores["temperature"])
    export_expression(net, tmp_path)
    views, shapes = shown(faces.images[:3]), faces.shapes[:3].astype(np.float32)
    with torch.no_grad():
        wanted = net(torch.from_numpy(views), torch.from_numpy(shapes)).numpy()
    given = ExpressionReader(tmp_path)._net.run(None, {"faces": views, "shapes": shapes})[0]
    assert np.abs(given - wanted).max() < 0.01
    odds = np.array([[0.8, 0.2]] * 10)
    assert calibration_error(odds, np.array([0] * 8 + [1] * 2)) == pytest.approx(0)
    assert calibration_error(odds, np.array([0] * 5 + [1] * 5)) == pytest.approx(0.3)
