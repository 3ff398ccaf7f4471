"""Real trainings of the tracker's nets, small enough for a minute."""

from __future__ import annotations

import csv
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mien.cli.app import app
from mien.errors import InputError
from mien.face.detector import Detector
from mien.face.landmarker import PARTS
from mien.face.topology import EYE_POINTS, LIPS
from mien.training.tracker import TrackerConfig, train_tracker
from mien.training.tracker.data import load_data
from mien.training.tracker.detection import DetectorTask
from mien.training.tracker.landmarks import LandmarkTask, wing
from mien.training.tracker.nets import export_net, load_net
from mien.training.trainer import Trainer
from mien.weights.bundled import open_net

from ..conftest import canonical_landmarks

SETTINGS = """
net = "face"
faces = "faces"
videos = "videos"
labels = "labels"
manifest = "manifest.csv"
backgrounds = "backgrounds"
cache = "cache"
scenes = 16
widths = [8, 8, 16, 16, 16]
blocks = [0, 0, 1, 0]
hidden = 32
singles = 8
pairs = 2
empties = 4
steps = 48
measure_every = 16
save_every = 16
learning_rate = 2e-3
"""


def cartoon(rng: np.random.Generator, side: int, size: float) -> tuple[np.ndarray, np.ndarray]:
    """A drawn face and where its landmarks are."""
    points = canonical_landmarks(size, (side / 2 + rng.normal(0, 3), side / 2 + rng.normal(0, 3)))
    image = np.full((side, side, 3), rng.integers(0, 120, 3), np.uint8)
    hull = cv2.convexHull(points[:, :2].astype(np.int32))
    cv2.fillConvexPoly(image, hull, (210, 170, 150))
    for index in (EYE_POINTS["R"][:16], EYE_POINTS["L"][:16], LIPS):
        spot = cv2.convexHull(points[list(index), :2].astype(np.int32))
        cv2.fillConvexPoly(image, spot, (60, 30, 40))
    return image, points


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    rng = np.random.default_rng(0)
    for name in ("faces", "videos", "labels", "backgrounds/a", "backgrounds/b"):
        (folder / name).mkdir(parents=True)
    landmarks = []
    with tarfile.open(folder / "faces" / "crops.tar", "w") as archive:
        for i in range(24):
            image, points = cartoon(rng, 192, 42)
            landmarks.append(points)
            data = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
            member = tarfile.TarInfo(f"{i:06d}.jpg")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    np.savez(
        folder / "faces" / "labels.npz",
        landmarks=np.array(landmarks, np.float16),
        split=np.array(["train"] * 18 + ["val"] * 6),
    )
    with (folder / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["clip", "kind", "split"])
        rows.writerows([["one", "real", "train"], ["two", "generated", "val"]])
    for clip in ("one", "two"):
        write_clip(folder, clip, rng)
    for i in range(6):
        image = rng.integers(0, 255, (12, 16, 3)).astype(np.uint8)
        image = cv2.resize(image, (160, 120), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / "backgrounds" / "ab"[i % 2] / f"{i}.jpg"), image)
    (folder / "toy.toml").write_text(SETTINGS)
    return folder / "toy.toml"


def write_clip(folder: Path, name: str, rng: np.random.Generator) -> None:
    landmarks = []
    with av.open(str(folder / "videos" / f"{name}.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 224
        stream.pix_fmt = "yuv420p"
        for _ in range(8):
            image, points = cartoon(rng, 224, 40)
            landmarks.append(points)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    np.savez(
        folder / "labels" / f"{name}.npz",
        landmarks=np.array(landmarks, np.float16),
        missing=np.zeros(8, bool),
    )


@pytest.mark.parametrize("net", ["face", "mouth", "eye"])
def test_targets_are_where_things_are_in_the_pictures(toy: Path, net: str) -> None:
    """A spot painted at a landmark is found where the target says, turned, mirrored or not."""
    config = replace(TrackerConfig.load(toy), net=net, loose=0.5)
    data = load_data(config, config.cache)
    part = PARTS[net]
    place = part.fine[3]
    singles = data.singles
    images = np.zeros_like(singles.images)
    for image, points in zip(images, singles.points, strict=True):
        for index in {EYE_POINTS[s][place] for s in "RL"} if net == "eye" else {part.points[place]}:
            x, y = points[index, :2]
            cv2.circle(image, (int(x), int(y)), 4, (255, 255, 255), -1)
    painted = replace(data, singles=replace(singles, images=images), pairs=None)
    task = LandmarkTask(config, painted)
    hits = []
    for step in range(6):
        batch = {name: values.numpy() for name, values in task.batch(step).items()}
        for image, target in zip(batch["images"], batch["targets"], strict=False):
            x, y = ((target[place, :2] + 0.5) * part.pixels).astype(int)
            if 2 <= x < part.pixels - 2 and 2 <= y < part.pixels - 2:
                near = image[y - 1 : y + 2, x - 1 : x + 2].astype(float)
                hits.append(near.mean() > image.astype(float).mean() + 15)
    # A mirrored picture shows the other side's spot: half of face and mouth, where not central.
    assert np.mean(hits) > (0.8 if net == "eye" else 0.4)


def test_a_scene_has_its_faces_where_the_map_says(toy: Path) -> None:
    config = replace(TrackerConfig.load(toy), net="detector", singles=24)
    task = DetectorTask(config, load_data(config, config.cache))
    batch = {name: values.numpy() for name, values in task.batch(0).items()}
    heat = batch["targets"][..., 0]
    assert (heat == 1).sum() >= 12
    skin = np.array([210, 170, 150])
    spots = []
    for image, target in zip(batch["images"], batch["targets"], strict=True):
        for row, column in np.argwhere(target[..., 0] == 1):
            values = target[row, column]
            assert 9 * 0.8 < np.exp(values[3]) * 8 < 256
            x, y = (np.array([column + 0.5, row + 0.5]) + values[8:10]) * 8  # the nose
            if 0 <= x < 256 and 0 <= y < 256:
                pixel = image[int(y), int(x)].astype(float)
                spots.append(np.corrcoef(pixel, skin)[0, 1] if pixel.std() > 1 else 0.0)
    assert np.median(spots) > 0.5


def test_the_wing_is_steep_for_small_errors() -> None:
    error = torch.tensor([0.0, 0.004, 0.04, 0.1])
    loss = wing(error)
    assert loss[0] == 0
    assert float(loss[2]) == pytest.approx(0.04, rel=1e-4)
    assert float(loss[3]) == pytest.approx(0.1)
    assert float(loss[1]) > 2 * float(error[1])


@pytest.mark.slow
@pytest.mark.parametrize("net", ["face", "mouth", "eye", "detector"])
def test_training_lowers_errors_and_the_onnx_file_says_the_same(
    toy: Path, tmp_path: Path, net: str
) -> None:
    lines: list[str] = []
    config = TrackerConfig.load(toy)
    if net in ("mouth", "eye"):
        config = replace(config, net=net, widths=config.widths[1:], blocks=config.blocks[1:])
    config = replace(config, net=net, loose=0.0)
    if net == "detector":  # its pictures are large
        config = replace(config, steps=24, measure_every=8)
    train_tracker(config, Trainer(tmp_path / "run", log=lines.append))
    name = "middle" if net == "detector" else "| mean"
    first, _, last = (float(line.split(f"{name} ")[1].split(",")[0]) for line in lines)
    assert last < first
    trained = load_net(tmp_path / "run" / "net.pt")
    export_net(trained, tmp_path / "assets")
    side = PARTS[net].pixels if net in PARTS else 96
    images = np.random.default_rng(0).integers(0, 255, (2, side, side, 3)).astype(np.uint8)
    session = open_net(f"tracker_{net}.onnx", folder=tmp_path / "assets")
    found = session.run(None, {"images": images})
    with torch.no_grad():
        want = trained(torch.from_numpy(images))
    for a, b in zip(found, want if net == "face" else [want[0] if net in PARTS else want],
                    strict=True):  # fmt: skip
        assert a == pytest.approx(b.numpy(), abs=0.02)
    if net == "detector":
        Detector(tmp_path / "assets")(images[0], 96)


@pytest.mark.slow
def test_resuming_goes_on_as_if_never_interrupted(toy: Path, tmp_path: Path) -> None:
    config = replace(TrackerConfig.load(toy), steps=6, save_every=3, measure_every=6)
    whole: list[str] = []
    train_tracker(config, Trainer(tmp_path / "whole", log=whole.append))

    class StopError(Exception):
        pass

    def stop(done: int, _: int) -> None:
        if done == 4:
            raise StopError

    with pytest.raises(StopError):
        train_tracker(config, Trainer(tmp_path / "half", progress=stop))
    train_tracker(config, Trainer(tmp_path / "half", resume=True))
    nets = [load_net(tmp_path / name / "net.pt").state_dict() for name in ("whole", "half")]
    assert all(torch.equal(nets[0][key], nets[1][key]) for key in nets[0])
    with pytest.raises(InputError, match="other settings"):
        train_tracker(replace(config, seed=1), Trainer(tmp_path / "half", resume=True))
    further = replace(config, start=tmp_path / "whole" / "net.pt", steps=1)
    train_tracker(further, Trainer(tmp_path / "further"))
    with pytest.raises(InputError, match="other sizes"):
        train_tracker(replace(further, hidden=16), Trainer(tmp_path / "other"))
    with pytest.raises(InputError, match="no checkpoint"):
        Trainer(tmp_path / "none", resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("nett = 1", "unknown entry 'nett'"),
        ("widths = [8, 8]", "one entry fewer"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, change: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    base = 'net = "face"\nfaces = "f"\nbackgrounds = "b"\n'
    path.write_text(base + change)
    with pytest.raises(InputError, match=message):
        TrackerConfig.load(path)


def test_settings_that_are_missing_or_wrong(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    with pytest.raises(InputError, match="cannot be opened"):
        TrackerConfig.load(path)
    path.write_text('net = "nose"\nfaces = "f"\nbackgrounds = "b"\ncache = "c"\n')
    with pytest.raises(InputError, match="'nose'; valid: detector, face, mouth, eye"):
        TrackerConfig.load(path)
    path.write_text('net = "face"\nfaces = "f"\nbackgrounds = "b"\ncache = "c"\nvideos = "v"\n')
    with pytest.raises(InputError, match="together"):
        TrackerConfig.load(path)
    config = TrackerConfig(net="face", faces=tmp_path, backgrounds=tmp_path)
    with pytest.raises(InputError, match=r"lacks labels\.npz"):
        load_data(config, tmp_path / "cache")
    with pytest.raises(InputError, match=r"missing: faces \(.*none\)"):
        load_data(replace(config, faces=tmp_path / "none"), tmp_path / "cache")


@pytest.mark.parametrize("net", ["face", "detector"])
def test_the_command_trains_and_protects_what_it_trained(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], net: str
) -> None:
    command = ["train", "tracker", "--config", str(toy), "-o", str(tmp_path), "--set", "steps=1"]
    command += ["--set", f"net={net}", "--set", "singles=2"]
    app(command, standalone_mode=False)
    captured = capsys.readouterr()
    assert ("found large:" if net == "detector" else "clips/mean:") in captured.out
    assert "step 1: " in captured.err
    assert load_net(tmp_path / "net.pt").spec.net == net
    with pytest.raises(InputError, match="--resume"):
        app(command, standalone_mode=False)
    app([*command, "--resume"], standalone_mode=False)
    assert "step 1: " not in capsys.readouterr().err, "nothing is left to train"
    app([*command, "--overwrite"], standalone_mode=False)
    with pytest.raises(InputError, match=r"missing: faces .*backgrounds .*videos .*--data"):
        app([*command, "--overwrite", "--data", str(tmp_path / "none")], standalone_mode=False)
    assert (tmp_path / "checkpoint.pt").exists(), "a mistake costs no finished run"
