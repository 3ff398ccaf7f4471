"""Metrics against well-kept libraries and known answers; nets in slots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from mien.errors import InputError, WeightsError
from mien.evaluation.clips import CROP_PIXELS, FaceClip, read_clip
from mien.evaluation.distances import flicker, landmark_distances, psnr, ssim
from mien.evaluation.frechet import Moments, frechet_distance
from mien.evaluation.readers import action_units, arcface_picture, open_readers, similarity
from mien.evaluation.slots import SLOTS, MetricNet, NetFiles
from mien.evaluation.syncnet import lip_sync, mfcc

from ..speech.voices import buzz
from .nets import Brightness, Loudness, Mean, write_all, write_net


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


def test_frechet_distance_is_that_of_torchmetrics() -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")

    class Features(torch.nn.Module):
        num_features = 12

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.double().reshape(len(images), -1)[:, :12] / 255

    rng = np.random.default_rng(1)
    sides = [rng.integers(0, high, (200, 3, 2, 2)).astype(np.uint8) for high in (256, 180)]
    metric = fid.FrechetInceptionDistance(Features(), input_img_size=(3, 2, 2)).set_dtype(
        torch.float64
    )
    moments = [Moments(), Moments()]
    for side, images, real in zip(moments, sides, (True, False), strict=True):
        metric.update(torch.from_numpy(images), real=real)
        side.add(images.reshape(len(images), -1).astype(np.float64) / 255)
    assert frechet_distance(*moments) == pytest.approx(float(metric.compute()), rel=1e-6)


def test_psnr_and_ssim_are_those_of_torchmetrics() -> None:
    image = pytest.importorskip("torchmetrics.functional.image")
    rng = np.random.default_rng(2)
    smooth = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1)))
    one = smooth.astype(np.uint8)
    for spread in (1, 8, 40):
        two = np.clip(smooth + rng.normal(0, spread, smooth.shape), 0, 255).astype(np.uint8)
        a, b = (torch.from_numpy(x).permute(2, 0, 1)[None].double() for x in (one, two))
        wanted = image.peak_signal_noise_ratio(a, b, data_range=255.0)
        assert psnr(one, two) == pytest.approx(float(wanted), abs=1e-4)
        wanted = image.structural_similarity_index_measure(a, b, data_range=255.0)
        assert ssim(one, two) == pytest.approx(float(wanted), abs=1e-4)
    assert (psnr(one, one), ssim(one, one)) == (100.0, pytest.approx(1.0))


def test_landmark_distances() -> None:
    rng = np.random.default_rng(3)
    points = rng.uniform(0, 256, (4, 478, 3)).astype(np.float32)
    same = landmark_distances(points, points + np.float32([3, 4, 9]))
    assert (same.lips, same.face, same.mouth) == (
        pytest.approx(5, abs=1e-3),
        *2 * [pytest.approx(0, abs=1e-3)],
    )
    wider = landmark_distances(points, points * np.float32(1.1))
    assert min(wider.face, wider.mouth) > 1


def test_flicker_is_what_comes_and_goes(landmarks: np.ndarray) -> None:
    def clip(shades: list[int], seen: bool = True) -> FaceClip:
        images = np.stack([np.full((256, 256, 3), shade, np.uint8) for shade in shades])
        return FaceClip(images, np.stack([landmarks] * len(shades)), np.full(len(shades), seen))

    assert flicker(clip([10, 20, 30, 40])) == 0
    assert flicker(clip([10, 20, 10, 20])) == pytest.approx(20)
    assert np.isnan(flicker(clip([10, 20, 10, 20], seen=False)))


def test_mfcc_has_a_hundred_rows_a_second() -> None:
    rows = mfcc(buzz(1.0, 200))
    assert rows.shape == (99, 13)
    assert np.isfinite(rows).all()
    louder = mfcc(2 * buzz(1.0, 200))
    assert np.allclose(louder[20:80, 0] - rows[20:80, 0], np.log(4), atol=0.05)


def test_lip_sync_finds_the_offset(tmp_path: Path) -> None:
    video = write_net(tmp_path / "v.onnx", Brightness(), (1, 3, 5, 16, 16))
    audio = write_net(tmp_path / "a.onnx", Loudness(), (1, 1, 13, 20))
    nets = MetricNet(video, SLOTS["syncnet_video"]), MetricNet(audio, SLOTS["syncnet_audio"])
    rng = np.random.default_rng(0)
    sound = rng.normal(size=64_000) * np.repeat(rng.uniform(0.001, 0.5, 100), 640)
    level = mfcc(sound.astype(np.float32))[:, 0]
    for late in (0, 4):
        steps = [max(0, 4 * (i - late)) for i in range(98)]
        shades = [int(np.clip(15 * (level[k : k + 4].mean() - 12), 0, 255)) for k in steps]
        images = [np.full((16, 16, 3), shade, np.uint8) for shade in shades]
        found = lip_sync(images, sound.astype(np.float32), *nets)
        assert abs(found.offset) == late
        assert found.confidence > 0
    assert np.isnan(lip_sync(images[:2], sound.astype(np.float32), *nets).distance)


def test_slots_say_what_they_want(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = write_net(tmp_path / "net.onnx", Mean((2, 3)), (1, 3, 32, 32))
    monkeypatch.setenv("MIEN_NET_INCEPTION", str(net))
    other = write_net(tmp_path / "other.onnx", Mean((2, 3)), (1, 3, 16, 16))
    assert NetFiles.given().file("inception") == net
    assert NetFiles.given([f"inception={other}"]).file("inception") == other
    monkeypatch.delenv("MIEN_NET_INCEPTION")
    assert not NetFiles.given().files
    for options, classes, says in (
        (["inception=none.onnx"], (), "no file none.onnx. For FID the net inception is needed"),
        ([f"resnet={net}"], (), "inception, i3d, emotion"),
        ([str(net)], (), "--net takes SLOT=FILE"),
        ([f"syncnet_video={net}"], (), "For LSE-D and LSE-C the net syncnet_audio is needed"),
        ([f"emotion={net}"], (), "--classes"),
    ):
        with pytest.raises(InputError, match=says):
            NetFiles.given(options, classes)
    with pytest.raises(WeightsError, match=r"takes \[.*For FVD the net i3d"):
        open_readers(NetFiles.given([f"i3d={net}"]))
    (tmp_path / "bad.onnx").write_bytes(b"no net")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        open_readers(NetFiles.given([f"inception={tmp_path / 'bad.onnx'}"]))


def test_nets_of_any_batch_give_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 256, (48, 48, 3)).astype(np.uint8) for _ in range(5)]
    found = []
    for size in (1, 3):
        path = write_net(tmp_path / f"{size}.onnx", Mean((2, 3)), (size, 3, 32, 32))
        net = MetricNet(path, SLOTS["inception"])
        found.append(net(net.stack(images)))
        assert net.side == 32
        assert len(net.sha256) == 64
    assert found[0].shape == (5, 3)
    assert np.allclose(*found, atol=1e-5)


def test_a_similarity_transform_is_found() -> None:
    rng = np.random.default_rng(6)
    points = rng.uniform(0, 100, (5, 2)).astype(np.float32)
    matrix = np.array([[1.2, -0.5, 7], [0.5, 1.2, -3]])
    targets = (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    assert np.allclose(similarity(points, targets), matrix, atol=1e-4)


def test_readers_of_a_real_clip(short_clip: Path, tmp_path: Path) -> None:
    clip = read_clip(short_clip, seconds=0.8)
    assert clip.images.shape == (20, CROP_PIXELS, CROP_PIXELS, 3)
    assert clip.seen.all()
    eyes = clip.landmarks[:, [33, 263], 1].mean()
    assert 80 < eyes < 130, "EDTalk's training framing: brows at 95, jaw at 224"
    assert len(action_units(clip)) == 20
    aligned = arcface_picture(clip.images[0], clip.landmarks[0])
    assert aligned.shape == (112, 112, 3)
    readers = open_readers(NetFiles.given(write_all(tmp_path), ("happy", "sad", "angry")))
    assert readers.inception is not None
    assert readers.inception(clip).shape == (20, 3)
    assert readers.i3d is not None
    assert readers.i3d(clip).shape == (1, 3)
    assert readers.lpips is not None
    assert readers.lpips(clip.images[:2], clip.images[:2]) == pytest.approx([0, 0])
    assert readers.named["identity"].pixels == 112
