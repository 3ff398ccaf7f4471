"""The papers' evaluation protocols with tiny metric networks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from mien.cli.app import app
from mien.errors import InputError, MienError, WeightsError
from mien.evaluation.metrics import MetricNet, Moments, frechet_distance, lip_sync, mfcc
from mien.evaluation.pairs import Pair, crema_pairs, mead_pairs, read_pairs, write_pairs
from mien.evaluation.score import Networks, face_crops, render, score
from mien.media.read import VideoReader
from mien.training.onnx_export import write_onnx

from .conftest import MakeClip
from .speech.voices import buzz, write_sound


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_mead_pairs(tmp_path: Path) -> None:
    front = tmp_path / "M003" / "front"
    for number in (1, 2, 30, 31):
        touch(front / "neutral" / "level_1" / f"{number:03d}.mp4")
    for number in (1, 5, 20, 21, 22):
        touch(front / "happy" / "level_3" / f"{number:03d}.mp4")
    pairs = mead_pairs(tmp_path)
    found = {(p.truth.stem, p.source.stem) for p in pairs}
    assert found == {("001", "001"), ("020", "030"), ("021", "031")}
    assert all(p.truth not in p.voices and p.emotion == "happy" for p in pairs)
    assert {p.name for p in pairs} >= {"M003_happy_level_3_001"}
    table = tmp_path / "pairs.csv"
    write_pairs(table, pairs)
    assert read_pairs(table) == pairs
    pairs[0].truth.unlink()
    with pytest.raises(InputError, match="names missing files"):
        read_pairs(table)
    with pytest.raises(InputError, match="no pair"):
        mead_pairs(tmp_path / "none")


def test_crema_pairs(tmp_path: Path) -> None:
    for name in ("1001_TAI_NEU_XX", "1001_TAI_ANG_XX", "1001_DFA_ANG_XX", "1001_IEO_HAP_LO",
                 "1002_IWL_SAD_XX"):  # fmt: skip
        touch(tmp_path / f"{name}.flv")
    (pair,) = crema_pairs(tmp_path)
    assert (pair.source.stem, pair.truth.stem) == ("1001_TAI_NEU_XX", "1001_TAI_ANG_XX")
    assert [path.stem for path in pair.voices] == ["1001_DFA_ANG_XX"]


def test_frechet_distance_of_gaussians() -> None:
    rng = np.random.default_rng(0)
    one, two, three = Moments(), Moments(), Moments()
    values = rng.normal(size=(4000, 6))
    for part in np.split(values, 8):
        one.add(part)
        two.add(part)
        three.add(2 * part + 3)
    assert frechet_distance(one, two) == pytest.approx(0, abs=1e-8)
    mean, cov = values.mean(0), np.cov(values.T)
    wanted = ((mean + 3) ** 2).sum() + np.trace(cov)  # (2 - 1)^2 of every variance
    assert frechet_distance(one, three) == pytest.approx(wanted, rel=1e-6)
    with pytest.raises(InputError, match="two samples"):
        frechet_distance(one, Moments())


def test_mfcc_has_a_hundred_rows_a_second() -> None:
    rows = mfcc(buzz(1.0, 200))
    assert rows.shape == (99, 13)
    assert np.isfinite(rows).all()
    louder = mfcc(2 * buzz(1.0, 200))
    assert np.allclose(louder[20:80, 0] - rows[20:80, 0], np.log(4), atol=0.05)


class _Mean(torch.nn.Module):
    """Mean colour of pictures, or of their parts."""

    def __init__(self, axes: tuple[int, ...], gain: float = 1.0) -> None:
        super().__init__()
        self.axes, self.gain = axes, gain

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.mean(self.axes) * self.gain


def write_net(path: Path, module: torch.nn.Module, shape: tuple[int, ...]) -> Path:
    write_onnx(module.eval(), (torch.zeros(shape),), path, ["values"], ["out"])
    return path


def test_lip_sync_finds_the_offset(tmp_path: Path) -> None:
    class Loudness(torch.nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return (values[:, 0, :1].mean(2) - 12) * 1.5

    class Brightness(torch.nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values.mean((1, 2, 3, 4))[:, None] / 10

    video = MetricNet(write_net(tmp_path / "v.onnx", Brightness(), (1, 3, 5, 16, 16)), "net", 5)
    audio = MetricNet(write_net(tmp_path / "a.onnx", Loudness(), (1, 1, 13, 20)), "net", 4)
    rng = np.random.default_rng(0)
    sound = rng.normal(size=64_000) * np.repeat(rng.uniform(0.001, 0.5, 100), 640)
    level = mfcc(sound.astype(np.float32))[:, 0]
    for late in (0, 4):
        steps = [max(0, 4 * (i - late)) for i in range(98)]
        shades = [int(np.clip(15 * (level[k : k + 4].mean() - 12), 0, 255)) for k in steps]
        images = [np.full((16, 16, 3), shade, np.uint8) for shade in shades]
        found = lip_sync(images, sound.astype(np.float32), video, audio)
        assert abs(found.offset) == late
        assert found.confidence > 0
    assert np.isnan(lip_sync(images[:2], sound.astype(np.float32), video, audio).distance)


@pytest.fixture
def clip(demo_clip: Path, make_clip: MakeClip) -> Path:
    """The first 40 pictures of the demo clip."""
    with VideoReader(demo_clip) as reader:
        images = [frame.image for frame in islice(reader, 40)]
    size = images[0].shape[1::-1]
    return make_clip(size=size, stamps=range(0, 40 * 512, 512), images=images)


def make_pairs(clip: Path, folder: Path) -> list[Pair]:
    """One pair in MEAD's folders: a clip as its own ground truth."""
    root = folder / "mead"
    for emotion in ("neutral", "happy"):
        place = root / "M003" / "front" / emotion / "level_1" / "001.mp4"
        place.parent.mkdir(parents=True)
        shutil.copy(clip, place)
    voice = write_sound(folder / "voice.wav", buzz(2.0, 240))
    return [replace(pair, voices=(voice,), neutral=()) for pair in mead_pairs(root)]


def test_rendering_and_scoring(clip: Path, tmp_path: Path) -> None:
    pairs = make_pairs(clip, tmp_path)
    out = tmp_path / "rendered"
    seconds = render(pairs, out, "mesh")
    assert seconds > 0
    made = out / f"{pairs[0].name}.mp4"
    stamp = made.stat().st_mtime_ns
    assert render(pairs, out, "mesh") == seconds
    assert made.stat().st_mtime_ns == stamp, "finished videos are kept"
    assert len(face_crops(made)) == 40
    nets = Networks(
        classifier=write_net(tmp_path / "c.onnx", _Mean((2, 3)), (1, 3, 32, 32)),
        classes=("happy", "sad", "angry"),
        inception=write_net(tmp_path / "i.onnx", _Mean((2, 3)), (1, 3, 32, 32)),
        video=write_net(tmp_path / "f.onnx", _Mean((2, 3, 4)), (1, 3, 16, 32, 32)),
    )
    found = score(pairs, out, nets)
    assert found.accuracy == 1.0, "skin is reddest, and the first class is happy"
    assert found.fid is not None
    assert 0 < found.fid < 0.1
    assert found.fvd is not None
    assert found.sync_distance is None
    shutil.copy(pairs[0].truth, made)
    same = score(pairs, out, nets)
    assert same.fid == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match="No metric network"):
        score(pairs, out, Networks())
    with pytest.raises(InputError, match="--classes"):
        score(pairs, out, Networks(classifier=nets.classifier))
    with pytest.raises(InputError, match="both nets"):
        score(pairs, out, Networks(sync_video=nets.video))
    with pytest.raises(WeightsError, match="4 axes"):
        score(pairs, out, Networks(inception=nets.video))
    with pytest.raises(InputError, match="no classifier"):
        score(pairs, out, Networks(classifier=tmp_path / "none.onnx", classes=("a",)))
    made.unlink()
    with pytest.raises(InputError, match="lacks 1 of 1"):
        score(pairs, out, nets)


def test_command_line(clip: Path, tmp_path: Path) -> None:
    def evaluate(*arguments: object) -> str:
        result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
        if isinstance(result.exception, MienError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    pairs = make_pairs(clip, tmp_path)
    root, table, videos = tmp_path / "mead", tmp_path / "pairs.csv", tmp_path / "videos"
    assert "1 pairs" in evaluate("pairs", "mead", root, "-o", table)
    assert [(pair.name, pair.truth) for pair in read_pairs(table)] == [
        (pair.name, pair.truth) for pair in pairs
    ]
    with pytest.raises(InputError, match="ACTOR_SENTENCE"):
        evaluate("pairs", "crema-d", root, "-o", table)
    write_pairs(table, pairs)
    assert "1 videos" in evaluate("render", table, "-o", videos, "--engine", "mesh")
    with pytest.raises(InputError, match="--engine edtalk"):
        evaluate("render", table, "-o", videos, "--engine", "mesh", "--dtype", "bf16")
    with pytest.raises(InputError, match="No metric network"):
        evaluate("score", table, videos)
    net = write_net(tmp_path / "c.onnx", _Mean((2, 3)), (1, 3, 32, 32))
    scores = tmp_path / "scores.json"
    output = evaluate(
        "score", table, videos, "--classifier", net, "--classes", "happy, sad,angry", "-o", scores
    )
    assert output.splitlines() == ["videos: 1", "accuracy: 1"]
    assert json.loads(scores.read_text()) == {
        "videos": 1, "accuracy": 1.0, "fid": None, "fvd": None, "sync_distance": None,
        "sync_confidence": None,
    }  # fmt: skip
