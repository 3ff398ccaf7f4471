"""A real training of the appearance net, small enough for seconds."""

from __future__ import annotations

import csv
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mien.engines.mesh.appearance import HOLE, PLANES, inside
from mien.errors import InputError
from mien.face.topology import INNER_LOWER, INNER_UPPER
from mien.training.appearance import AppearanceConfig, train_appearance
from mien.training.appearance.data import Drawer, Mouths, load_mouths
from mien.training.appearance.net import AppearanceNet, NetSpec, export_net
from mien.training.appearance.task import region
from mien.training.trainer import Trainer, read_net
from mien.weights.bundled import open_net

from ..conftest import DEMO
from .test_mesh import mouth_open

SKIN, DARK, TEETH = (205, 160, 138), (50, 15, 15), (240, 235, 230)


def cartoon(opening: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """A drawn face with teeth in an open mouth, 192 x 192, and its landmarks."""
    points = mouth_open(opening) * 50
    points[:, :2] += [96 + shift, 80]
    image = np.full((192, 192, 3), SKIN, np.uint8)
    ring = points[[*INNER_UPPER, *INNER_LOWER[::-1]], :2]
    cv2.fillPoly(image, [np.round(ring).astype(np.int32)], DARK)
    top = points[13, :2].round().astype(int)
    cv2.rectangle(image, (top[0] - 6, top[1] + 1), (top[0] + 6, top[1] + 4), TEETH, -1)
    return image, points


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> AppearanceConfig:
    folder = tmp_path_factory.mktemp("mouths")
    (folder / "faces").mkdir()
    (folder / "sharp").mkdir()
    landmarks, sources, splits = [], [], []
    with tarfile.open(folder / "faces" / "crops.tar", "w") as archive:
        for i in range(16):
            image, points = cartoon((0.0, 0.25, 0.3, 0.35)[i % 4], i % 3)
            landmarks.append(points)
            sources.append("video/one.mp4#0" if i < 12 else "video/two.mp4#0")
            splits.append("train" if i < 12 else "val")
            data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
            member = tarfile.TarInfo(f"{i:06d}.png")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    np.savez(
        folder / "faces" / "labels.npz",
        landmarks=np.array(landmarks, np.float16),
        source=np.array(sources),
        split=np.array(splits),
    )
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["clip", "kind"], ["one", "real"], ["two", "real"]])
    cv2.imwrite(str(folder / "sharp" / "a.jpg"), cv2.imread(str(DEMO / "woman.jpg")))
    with (folder / "sharp" / "manifest.csv").open("w", newline="") as file:
        rows = [["file", "source", "person"], ["a.jpg", "london", "london_1"]]
        csv.writer(file).writerows(rows)
    return AppearanceConfig(
        portraits=folder / "sharp",
        faces=folder / "faces",
        manifest=folder / "clips.csv",
        widths=(8, 8, 8),
        steps=24,
        measure_every=8,
        batch=4,
        adversarial_from=0.5,
    )


@pytest.fixture(scope="module")
def mouths(toy: AppearanceConfig, tmp_path_factory: pytest.TempPathFactory) -> Mouths:
    return load_mouths(toy, tmp_path_factory.mktemp("cache"))


def test_only_open_mouths_are_learned_and_people_are_held_out(mouths: Mouths) -> None:
    assert len(mouths.target) == 12  # the closed mouths are no targets
    assert set(mouths.person[mouths.held_out]) == {"two"}
    assert set(mouths.person[~mouths.held_out]) == {"one"}
    # Besides itself, closed and opened again, each is drawn from the closed mouths of the clip.
    assert np.diff(mouths.first).min() >= 2


def test_what_the_mesh_draws_has_the_lips_but_not_the_inside(mouths: Mouths) -> None:
    for i, target in enumerate(mouths.target):
        within = inside(mouths.outline[i]) > 0.5
        around = inside(mouths.outline[i], 4) == 0
        for drawn in mouths.warped[mouths.first[i] : mouths.first[i + 1]]:
            off = np.abs(drawn.astype(int) - target).mean(2)
            assert off[around].mean() < 3
            assert off[within].mean() > 10


def test_examples_never_show_what_is_to_be_drawn(mouths: Mouths) -> None:
    drawer = Drawer(mouths)
    rng = np.random.default_rng(0)
    for _ in range(20):
        sample = drawer.draw(rng)
        assert sample.planes.shape == (PLANES, *sample.target.shape[:2])
        hole = sample.planes[3] == 1
        assert hole.sum() > 100
        assert not sample.planes[:3, hole].any()
    plain = drawer.example(0, rng, augment=False)
    assert np.array_equal(plain.target, mouths.target[0])
    assert not np.array_equal(drawer.example(0, rng).target, mouths.target[0])  # augmented


def test_the_region_reaches_a_little_beyond_the_hole(mouths: Mouths) -> None:
    sample = Drawer(mouths).example(0, np.random.default_rng(0), augment=False)
    soft = region(torch.from_numpy(sample.planes[None]))[0, 0].numpy()
    edge = mouths.outline[0]
    assert (soft[inside(edge, HOLE) > 0.9] > 0.9).all()
    assert not soft[inside(edge, HOLE + 5) == 0].any()


def test_training_lowers_the_error_and_the_onnx_file_draws_the_same(
    toy: AppearanceConfig, tmp_path: Path
) -> None:
    lines: list[str] = []
    train_appearance(
        replace(toy, cache=tmp_path / "cache"), Trainer(tmp_path / "run", log=lines.append)
    )
    first, _, last = (float(line.split("| real ")[1].split(",")[0]) for line in lines)
    assert last < first
    assert "judge" not in lines[0]
    assert "judge" in lines[-1]
    assert cv2.imread(str(tmp_path / "run" / "sheet.png")) is not None
    net = read_net(tmp_path / "run" / "net.pt", lambda spec: AppearanceNet(NetSpec(**spec)))
    export_net(net, tmp_path)
    planes = np.random.default_rng(0).normal(0, 0.5, (2, PLANES, 96, 128)).astype(np.float32)
    drawn = open_net("appearance.onnx", folder=tmp_path).run(None, {"planes": planes})[0]
    with torch.no_grad():
        assert drawn == pytest.approx(net(torch.from_numpy(planes)).numpy(), abs=0.02)


def test_missing_pictures_are_named(toy: AppearanceConfig, tmp_path: Path) -> None:
    folder = tmp_path / "sharp"
    folder.mkdir()
    (folder / "manifest.csv").write_text("file,source,person\ngone.jpg,london,x\n")
    with pytest.raises(InputError, match=r"gone\.jpg"):
        load_mouths(replace(toy, portraits=folder), tmp_path / "cache")
