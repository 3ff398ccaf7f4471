"""The EDTalk engine with tiny nets: what holds at every size."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from mien.engines.edtalk.audio2lip import mel_spectrogram, mel_windows
from mien.engines.edtalk.checkpoints import fold
from mien.engines.edtalk.engine import EDTalkEngine, Restorer
from mien.engines.edtalk.framing import face_mask, match_colour, paste, training_crop
from mien.engines.edtalk.layers import warp
from mien.engines.edtalk.settings import EDTalkConfig, EDTalkSettings
from mien.engines.published_checkpoints import convert_file
from mien.errors import InputError, MienError, WeightsError
from mien.face.crop import Crop
from mien.face.pose import Motion
from mien.face.tracker import FaceTracker
from mien.media.frame import as_picture
from mien.media.still import read_still
from mien.speech.emotion2vec import embed
from mien.training.onnx_export import write_onnx
from mien.utils.device import torch_device, working_dtype
from mien.weights.convert import configured
from mien.weights.manifest import GENERATOR, entry
from mien.weights.store import Store

from ..published import SPEC, generator_weights, tiny_emotion2vec, write_generator


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted weights of the tiny generator."""
    folder = tmp_path_factory.mktemp("edtalk")
    store = Store(folder / "cache")
    convert_file(entry(GENERATOR), write_generator(folder / "EDTalk.pt"), store)
    return store.locate(GENERATOR)


@pytest.fixture
def engine(weights: Path) -> EDTalkEngine:
    return EDTalkEngine.load(weights, EDTalkSettings("cpu"))


def crops(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (count, 8, 8, 3), np.uint8)
    side = SPEC.pixels // 8
    return np.repeat(np.repeat(coarse, side, 1), side, 2)


def motions(count: int) -> list[Motion]:
    rng = np.random.default_rng(1)
    sizes = (SPEC.lip, SPEC.pose, SPEC.expression)
    return [
        Motion(*(rng.normal(size=size).astype(np.float32) for size in sizes)) for _ in range(count)
    ]


def test_sizes_travel_with_the_weights(engine: EDTalkEngine) -> None:
    assert engine.config == SPEC
    with pytest.raises(WeightsError, match="unknown sizes: colour"):
        configured(EDTalkConfig, {"widths": [1], "colour": 3})


def test_equals_the_direct_formulation() -> None:
    import sys

    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    import edtalk_baseline as baseline

    spec = EDTalkConfig(widths=(4, 8, 8, 8, 8, 8, 8), style=48, affine=8)
    weights = {k: v.double() for k, v in generator_weights(spec).items()}
    net = fold(weights, spec, torch.float64)
    generator = torch.Generator().manual_seed(0)
    source, pose = (
        torch.rand(1, 3, 256, 256, generator=generator, dtype=torch.float64) * 2 - 1
        for _ in range(2)
    )
    lip = torch.randn(1, 20, generator=generator, dtype=torch.float64)
    expression = torch.randn(1, 10, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        motion = net.motion(pose)
        ours = net.draw(net.source(source), motion._replace(lip=lip, expression=expression))
        theirs = baseline.draw(weights, source, lip, pose, expression)
    assert (ours - theirs).abs().max() < 1e-8
    assert ours.std() > 0.1


def test_batches_give_the_same_as_single_pictures(engine: EDTalkEngine) -> None:
    source = engine.source(crops(1)[0])
    engine.batch = 1
    single = engine.draw(source, motions(3))
    read = engine.motion(crops(3))
    engine.batch = 3
    for one, other in zip(single, engine.draw(source, motions(3)), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
        assert one.shape == (SPEC.pixels, SPEC.pixels, 3)
    for a, b in zip(read, engine.motion(crops(3)), strict=True):
        assert np.allclose(a.expression, b.expression, atol=1e-4)
    assert len({picture.tobytes() for picture in single}) == 3


def test_drawing_again_gives_the_same_bits(engine: EDTalkEngine, weights: Path) -> None:
    again = EDTalkEngine.load(weights, EDTalkSettings("cpu"))
    one, two = (e.draw(e.source(crops(1)[0]), motions(1))[0] for e in (engine, again))
    assert np.array_equal(one, two)


def test_every_part_of_the_motion_has_an_effect(engine: EDTalkEngine) -> None:
    source, base = engine.source(crops(1)[0]), motions(1)[0]
    before = engine.draw(source, [base])[0].astype(int)
    for part in ("lip", "pose", "expression"):
        values = {name: getattr(base, name) for name in ("lip", "pose", "expression")}
        values[part] = values[part] + 1
        assert np.abs(engine.draw(source, [Motion(**values)])[0] - before).max() > 2


def test_bfloat16_stays_near(engine: EDTalkEngine, weights: Path) -> None:
    light = EDTalkEngine.load(weights, EDTalkSettings("cpu", "bf16"))
    one, two = (e.draw(e.source(crops(1)[0]), motions(1))[0] for e in (engine, light))
    gap = np.abs(one.astype(int) - two)
    assert 0 < gap.mean() < 4


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "cl"))), reason="torch.compile needs a compiler"
)
def test_compiled_nets_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config as inductor

    monkeypatch.setattr(inductor, "compile_threads", 1)  # no pool of processes
    config = EDTalkConfig(widths=(4, 8), style=48, lip=6, pose=4, expression=10, affine=8)
    weights = generator_weights(config)
    engines = [
        EDTalkEngine(fold(weights, config, torch.float32), EDTalkSettings("cpu", compile=compiled))
        for compiled in (False, True)
    ]
    crop = crops(1)[0][: config.pixels, : config.pixels]
    (one,), (other,) = (engine.motion(crop[None]) for engine in engines)
    assert np.allclose(one.expression, other.expression, atol=1e-4)
    (one,), (other,) = (engine.draw(engine.source(crop), motions(1)) for engine in engines)
    assert one.std() > 1
    assert np.abs(one.astype(int) - other).max() <= 1
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 2, "nothing was compiled"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_moves_to_another_device(engine: EDTalkEngine, weights: Path) -> None:
    other = EDTalkEngine.load(weights, EDTalkSettings("cuda", "fp32"))
    one, two = (e.draw(e.source(crops(1)[0]), motions(1))[0] for e in (engine, other))
    assert np.abs(one.astype(int) - two).max() <= 3


def test_refuses_devices_that_do_not_exist() -> None:
    assert torch_device("cpu").type == "cpu"
    for name in ("gpu", "cuda:x", "cpu:1", ""):
        with pytest.raises(InputError, match="no device"):
            torch_device(name)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="sees none"):
            torch_device("cuda")
    with pytest.raises(InputError, match="precision"):
        working_dtype("int4", torch.device("cpu"))
    with pytest.raises(InputError, match="GPUs"):
        working_dtype("fp16", torch.device("cpu"))


def test_smaller_batches_when_memory_is_short(
    engine: EDTalkEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, most = engine._net.motion, [2]

    def short(pictures: torch.Tensor) -> object:
        if len(pictures) > most[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(pictures)

    monkeypatch.setattr(engine._net, "motion", short)
    engine.batch = 8
    assert len(engine.motion(crops(5))) == 5
    assert engine.batch == 2
    most[0] = 0
    with pytest.raises(MienError, match="not enough memory"):
        engine.motion(crops(1))


def test_other_errors_are_not_taken_for_lack_of_memory(
    engine: EDTalkEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(pictures: torch.Tensor) -> object:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(engine._net, "motion", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        engine.motion(crops(1))


def test_warping_equals_grid_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 5, 9, 7, generator=generator, dtype=torch.float64)
    points = torch.rand(2, 9, 7, 2, generator=generator, dtype=torch.float64) * 2.6 - 1.3
    mask = torch.rand(2, 1, 9, 7, generator=generator, dtype=torch.float64)
    wanted = torch.nn.functional.grid_sample(maps, points, align_corners=False) * mask
    assert torch.allclose(warp(maps, points, mask), wanted, atol=1e-12)


def test_mel_of_odd_lengths() -> None:
    assert mel_windows(np.zeros(100, np.float32)).shape == (0, 1, 80, 16)
    assert mel_windows(np.zeros(640, np.float32)).shape == (1, 1, 80, 16)
    assert mel_spectrogram(np.zeros(0, np.float32)).shape == (80, 0)
    assert (mel_spectrogram(np.zeros(1600, np.float32)) == -4).all()


def test_sound_of_any_length_has_an_embedding() -> None:
    net = tiny_emotion2vec()
    rng = np.random.default_rng(0)
    for samples in (0, 10, 399, 400, 16_000):
        vector = embed(net, rng.normal(size=samples).astype(np.float32))
        assert vector.shape == (64,)
        assert np.isfinite(vector).all()


def test_long_sound_is_embedded_in_pieces() -> None:
    net = tiny_emotion2vec()
    second = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    long = embed(net, np.tile(second, 35))
    halves = [embed(net, np.tile(second, 35)[i : i + 280_000]) for i in (0, 280_000)]
    assert np.allclose(long, np.mean(halves, 0), atol=1e-5)


def test_the_crop_is_the_training_framing(demo_face: Path) -> None:
    image = read_still(demo_face)
    landmarks = FaceTracker(still=True)(image)[0]
    crop = training_crop(landmarks)
    inside = (crop.to_crop(landmarks[:468, :2]) + 0.5) * 256
    chin, forehead = inside[152, 1], inside[10, 1]
    assert 214 < chin < 234
    assert forehead < 95
    assert abs((inside[127, 0] + inside[356, 0]) / 2 - 127.5) < 8


def test_pasting_back_what_was_cut_changes_little(demo_face: Path) -> None:
    image = read_still(demo_face)
    landmarks = FaceTracker(still=True)(image)[0]
    crop = training_crop(landmarks)
    mask = face_mask(landmarks, crop, 256)
    assert mask.min() == 0
    assert mask.max() == pytest.approx(1, abs=1e-3)
    assert not mask[:2].any()
    assert not mask[:, -2:].any()
    picture, cut = as_picture(image), crop.cut(image, 256)

    def pasted(where: Crop, weight: float) -> np.ndarray:
        out = paste(picture, cut, where, mask, weight)
        return out.read(out.box)

    pixels = picture.read(picture.box)
    assert np.abs(pasted(crop, 1.0).astype(int) - pixels).mean() < 2
    assert np.array_equal(pasted(crop, 0.0), pixels)
    assert np.array_equal(pasted(Crop(-500, -500, 100), 1.0), pixels)


def test_colour_is_matched_to_the_frame() -> None:
    original = crops(1)[0]
    drawn = np.clip(original * 0.9 + 12, 0, 255).astype(np.uint8)
    mask = np.ones(original.shape[:2], np.float32)
    matched = match_colour(drawn, original, mask)
    assert np.abs(matched.astype(int) - original).mean() < 2


def test_a_restorer_sharpens_what_was_drawn(tmp_path: Path) -> None:
    class Negative(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.interpolate(-images, scale_factor=2.0)

    side = SPEC.pixels
    path = tmp_path / "restore.onnx"
    write_onnx(Negative(), (torch.zeros(1, 3, side, side),), path, ["images"], ["out"])
    picture = crops(1)[0]
    restored = Restorer(path)(picture)
    assert restored.shape == (2 * side, 2 * side, 3)
    assert np.abs(restored[::2, ::2].astype(int) - (255 - picture)).max() <= 1
    with pytest.raises(InputError, match="no restorer"):
        Restorer(tmp_path / "none.onnx")
