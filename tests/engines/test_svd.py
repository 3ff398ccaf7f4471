"""Parts of the SVD engine: framing, windows, exact savings, DeepCache, cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from mien.engines.svd.attention import Conditioning, Stream, grid_of
from mien.engines.svd.cost import Cost, Work, estimate_cost, estimate_seconds, fit_memory
from mien.engines.svd.engine import SvdEngine
from mien.engines.svd.networks import FORMATS, SvdNetworks, load_networks
from mien.engines.svd.pipeline import DiceTalkPipeline
from mien.engines.svd.preprocess import (
    audio_windows,
    crop_box,
    frame_count,
    hidden_states,
    mask_box,
    prepare_portrait,
    working_size,
)
from mien.engines.svd.rife import FlowNet, double_frame_rate
from mien.engines.svd.sampler import SCALING_FACTOR, ClipInputs, sample
from mien.engines.svd.settings import (
    SPEED_PRESETS,
    Guidance,
    Sampling,
    SvdSettings,
    Windows,
    even_pad,
)
from mien.engines.svd.unet import SVD_XT, DeepCache, build_unet
from mien.errors import InputError, MienError, WeightsError
from mien.weights.manifest import AUDIO_ENCODER, IMAGE_ENCODER, VAE
from mien.weights.store import Store

from ..svd import PRIOR, UNET_SIZES, PlainAdapterAttention, tiny_svd_store

REFERENCE = Path(__file__).parent.parent / "reference"
FEW = Windows(5, 2, 5)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tiny_svd_store(tmp_path_factory.mktemp("svd"))


@pytest.fixture
def networks(store: Store) -> SvdNetworks:
    found = load_networks(store)
    found.place(torch.device("cpu"), torch.float32)
    return found


@pytest.fixture
def given_inputs() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (80, 64, 3), np.uint8)
    torch.manual_seed(1)
    return {
        "portrait": prepare_portrait(image, (16, 20, 30, 34), shorter_side=64),
        "voice": torch.randn(7, 10, 5, 64),
        "prior": torch.randn(PRIOR),
        "sampling": Sampling(3, windows=FEW),
    }


def test_framing_equals_the_published_one() -> None:
    for case in json.loads((REFERENCE / "dice_preprocess.json").read_text("utf-8")):
        width, height = case["image_wh"]
        if "box_xywh" in case:
            x, y, w, h = box = case["box_xywh"]
            corners = (x, y, x + w, y + h)
            assert list(working_size(width, height)) == case["resized_wh"]
            found = mask_box(box, width, height, case["area"])
            assert list(found) == case["mask_box_before_resize_xyxy"]
        else:
            corners = tuple(case["box_xyxy"])
        for grow, wanted in case["crop_boxes_by_expand_ratio"].items():
            assert list(crop_box(corners, width, height, float(grow))) == wanted


def test_windows_equal_the_published_ones() -> None:
    cases = json.loads((REFERENCE / "dice_windows.json").read_text("utf-8"))
    cut = Windows()
    for frames, case in ((int(n), c) for n, c in cases.items() if n.isdigit()):
        assert cut.total(frames) == case["F"]
        for step, starts in enumerate(case["starts"]):
            assert cut.starts(frames, step) == starts
        for step in (0, 3):
            counts = np.bincount(cut.indices(frames, step).ravel(), minlength=case["F"])
            assert counts.tolist() == case[f"counts_step{step}"]
    for length, case in cases["audio_windows"].items():
        if int(length) < 2:
            continue
        numbered = torch.arange(1.0, 2 * int(length) + 1)[:, None, None]
        found = audio_windows(numbered)[..., 0, 0].long() - 1
        assert len(found) == case["frames"]
        assert found[: len(case["windows"])].tolist() == case["windows"]


@given(st.integers(1, 300), st.integers(2, 40), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_every_frame_is_in_a_window(frames: int, length: int, step: int) -> None:
    for pad in (length, even_pad(frames, length)):
        cut = Windows(length, 3, pad)
        found = cut.indices(frames, step)
        assert set(found.ravel().tolist()) == set(range(cut.total(frames)))
    assert cut.total(frames) % length == 0
    assert len(np.unique(found)) == found.size


def test_pieces_of_a_long_voice_join() -> None:
    def encode(samples: np.ndarray) -> torch.Tensor:
        steps = -(-len(samples) // 320)
        assert len(samples) <= 30 * 16000
        return torch.from_numpy(samples[::320][:steps].copy())[:, None, None].expand(-1, 5, 3)

    for seconds in (0.5, 29.99, 30.0, 31.0, 95.3):
        count = round(seconds * 16000)
        samples = np.arange(count, dtype=np.float32)
        found = hidden_states(samples, encode)
        assert found[:, 0, 0].tolist() == samples[::320][: 2 * (count // 640)].tolist()
        per_frame = audio_windows(found, frame_count(count))
        assert len(per_frame) == frame_count(count)
        assert frame_count(count) / 12.5 >= seconds - 1e-9, "all of the sound has frames"


def test_the_mask_fits_every_grid() -> None:
    for height, width in ((512, 512), (512, 704), (576, 1024), (1216, 512)):
        for level in (8, 16, 32, 64):
            rows, columns = height // level, width // level
            assert grid_of(rows * columns, height, width) == (rows, columns)


def calls(unet: Any, conditioning: Conditioning, mask: torch.Tensor) -> list[torch.Tensor]:
    """Return outputs for two windows of one clip and for a window of another clip."""
    generator = torch.Generator().manual_seed(0)
    out = []
    for clip in range(2):
        audio, emotion = (torch.randn(n, 4, 64, generator=generator) for n in (8, 2))
        for first in (0, 3) if clip == 0 else (1,):
            rows = torch.stack([torch.full((5,), 7)] * 2 + [torch.arange(first, first + 5) % 7])
            emotion_rows = torch.tensor([[1] * 5, [1] * 5, [0] * 5])
            streams = (Stream(audio, rows, 0.9), Stream(emotion, emotion_rows))
            if not out or clip == 1:
                conditioning.start(streams, mask, torch.ones(1, 32, 8, 8))
            conditioning.streams = streams
            x = torch.randn(3, 5, 8, 8, 8, generator=generator)
            ids = torch.tensor([[12.5, 8, 16]] * 3)
            embedding = torch.randn(3, 1, 64, generator=generator)
            with torch.no_grad():
                out.append(unet(x, torch.tensor(0.5), embedding, ids).sample)
    return out


def test_savings_do_not_change_the_result() -> None:
    """Keys once per clip, pixels folded, one token without softmax, masks once per grid."""
    torch.manual_seed(0)
    unet, conditioning = build_unet(UNET_SIZES)
    plain_unet, plain_conditioning = build_unet(UNET_SIZES, PlainAdapterAttention)
    plain_unet.load_state_dict(unet.state_dict())
    mask = torch.rand(1, 1, 64, 64)
    plain_conditioning.caching = False
    wanted = calls(plain_unet.eval(), plain_conditioning, mask)
    for caching in (True, False):
        conditioning.caching = caching
        found = calls(unet.eval(), conditioning, mask)
        assert all((a - b).abs().max() < 1e-5 for a, b in zip(found, wanted, strict=True))
    assert (wanted[0] - wanted[1]).abs().max() > 1e-3


def test_deep_cache_is_exact_for_unchanged_inputs(networks: SvdNetworks) -> None:
    cache = DeepCache(networks.unet, 2)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, 8, 8, 8, generator=generator)
    rows = torch.zeros(3, 5, dtype=torch.int64)
    table = torch.randn(2, 4, 64, generator=generator)
    networks.conditioning.start((Stream(table, rows), Stream(table, rows)), None, None)
    given = (torch.tensor(0.5), torch.zeros(3, 1, 64), torch.ones(3, 3))
    window = {"branches": [0, 1, 2], "frames": torch.arange(5)}
    with torch.no_grad():
        whole = cache.predict(x, *given, step=0, **window)
        again = cache.predict(x, *given, step=1, **window)
        other = cache.predict(x + 0.1, *given, step=1, **window)
        assert (whole - again).abs().max() < 1e-5
        assert (whole - other).abs().max() > 1e-3
        assert (whole - networks.unet(x, *given).sample).abs().max() < 1e-6


def test_pipeline_is_repeatable_and_its_savings_exact(
    networks: SvdNetworks, given_inputs: dict[str, Any]
) -> None:
    pipeline = DiceTalkPipeline(networks)
    seen: list[int] = []

    def note(step: int, time: torch.Tensor, state: dict[str, torch.Tensor]) -> None:
        assert state["latents"].shape == (12, 4, 8, 8)
        seen.append(step)

    def run(**more: Any) -> Any:
        generator = torch.Generator().manual_seed(more.pop("seed", 5))
        return pipeline(**{**given_inputs, "generator": generator, "decode_chunk_size": 4, **more})

    first = run(callback_on_step_end=note)
    assert seen == [0, 1, 2]
    assert first.frames.shape == (7, 3, 64, 64)
    assert 0 <= float(first.frames.min()) <= float(first.frames.max()) <= 1
    assert torch.equal(first.latents, run().latents)
    assert not torch.equal(first.latents, run(seed=6).latents)
    one = run(sampling=replace(given_inputs["sampling"], branches_at_once=1))
    assert (one.latents - first.latents).abs().max() < 1e-3
    stopped = run(callback_on_step_end=lambda step, time, state: {"latents": state["latents"] * 0})
    assert float(stopped.latents.abs().max()) == 0
    for change in (
        {"retrieval": True},
        {"prior": given_inputs["prior"] * 2},
        {"voice": given_inputs["voice"] * 2},
        {"scales": (1.0, 0.0)},
        {"sampling": replace(given_inputs["sampling"], guidance=Guidance(3, 1, 1))},
        {"sampling": replace(given_inputs["sampling"], guidance=Guidance(3, 6, 2))},
        {"sampling": replace(given_inputs["sampling"], guidance=Guidance(start=0.3, end=0.6))},
    ):
        assert (run(**change).latents - first.latents).abs().max() > 1e-3, change


def test_weights_of_voice_and_emotion(networks: SvdNetworks, given_inputs: dict[str, Any]) -> None:
    """Equal weights need three branches; nearly equal ones, in four, give nearly the same."""
    pipeline = DiceTalkPipeline(networks)
    calls: list[int] = []

    def run(audio: float, emotion: float, **more: Any) -> torch.Tensor:
        calls.clear()
        guidance = Guidance(audio=audio, emotion=emotion)
        sampling = Sampling(1, guidance, Windows(5, 2, 0))
        given = {**given_inputs, "sampling": sampling, **more}
        generator = torch.Generator().manual_seed(5)
        out = pipeline(
            **given, generator=generator, callback_on_call_end=lambda step, n: calls.append(n)
        )
        return out.latents

    equal = run(6, 6)
    assert calls == [3, 3], "two windows"
    near = run(6, 6.0001)
    assert calls == [3, 1, 3, 1], "a fourth branch needs no more memory"
    assert (near - equal).abs().max() < 1e-2
    # Without weight of its own, the emotion does not matter; likewise the voice.
    assert (run(6, 0) - run(6, 0, prior=given_inputs["prior"] * 2)).abs().max() < 1e-3
    assert (run(0, 6) - run(6, 6)).abs().max() > 1e-2
    assert (run(6, 0) - equal).abs().max() > 1e-2


class Spread(torch.nn.Module):
    """Predicts v where clean latents are spread normally, so that the best sampling is known."""

    deviation = 2.0

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor, time: torch.Tensor, *_: Any, **__: Any) -> Any:
        sigma = (4 * time).exp()
        noisy = x[:, :, :4] * (sigma**2 + 1).sqrt()
        clean = noisy * self.deviation**2 / (self.deviation**2 + sigma**2)
        return ((noisy / (sigma**2 + 1) - clean) * (sigma**2 + 1).sqrt() / sigma,)


def test_steps_that_look_back_are_more_exact() -> None:
    noise = torch.randn(5, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    rows = torch.zeros(5, dtype=torch.int64)
    table = torch.zeros(1, 1, 1)
    inputs = ClipInputs(torch.zeros(1, 4, 2, 2), torch.zeros(1, 1, 1), table, table, rows, rows,
                        None, None)  # fmt: skip
    wanted = noise * 700 * Spread.deviation / (Spread.deviation**2 + 700**2) ** 0.5
    with torch.inference_mode():
        first, second = (
            sample(
                Spread(),
                Conditioning(),
                inputs,
                noise,
                Sampling(40, windows=Windows(5, 2, 0), order=k),
            )
            for k in (1, 2)
        )
    errors = [float((found - wanted).abs().mean()) for found in (first, second)]
    assert errors[1] < 0.3 * errors[0] < 0.1


def test_the_turbo_preset_computes_guidance_once(
    networks: SvdNetworks, given_inputs: dict[str, Any]
) -> None:
    turbo, exact = SPEED_PRESETS["turbo"], SPEED_PRESETS["exact"]
    calls: list[tuple[int, int]] = []
    out = DiceTalkPipeline(networks)(
        **{**given_inputs, "sampling": replace(turbo, windows=Windows(5, 2, 3))},
        callback_on_call_end=lambda step, n: calls.append((step, n)),
    )
    assert calls == [(0, 3)] * 2 + [(step, 1) for step in range(1, 9) for _ in range(2)]
    assert torch.isfinite(out.latents).all()
    # TFLOP of a branch of the published UNet, and of its finest level: benchmarks/svd.py.
    work = Work(31.83, 11.51, 0, 0)
    assert work.total(turbo, 100) <= 0.12 * work.total(exact, 100)


def test_kept_guidance_is_what_was_computed(
    networks: SvdNetworks, given_inputs: dict[str, Any]
) -> None:
    """Where nothing moves from step to step, a kept difference equals a computed one."""
    pipeline = DiceTalkPipeline(networks)

    class Same:
        """A scheduler with nearly the same noise in both steps."""

        sigmas, timesteps = torch.tensor([3.0, 2.9999, 2.0]), torch.full((2,), 0.27)

        def set_timesteps(self, steps: int) -> None:
            assert steps == 2

    pipeline.scheduler = Same()

    def run(guidance: Guidance) -> torch.Tensor:
        windows = Windows(5, 0, 3)
        given = {**given_inputs, "sampling": Sampling(2, guidance, windows)}
        return pipeline(**given, generator=torch.Generator().manual_seed(5)).latents

    every = run(Guidance())
    assert (run(Guidance(every=2)) - every).abs().max() < 1e-2
    assert (run(Guidance(end=0.5)) - every).abs().max() > 0.1


def test_shared_results_equal_those_per_frame(
    networks: SvdNetworks, given_inputs: dict[str, Any]
) -> None:
    """Emotion tokens per distinct prior, the pose guider on one frame, audio in one batch."""
    pipeline = DiceTalkPipeline(networks)
    portrait, voice = given_inputs["portrait"], given_inputs["voice"]
    priors = torch.randn(3, PRIOR)
    order = [0, 0, 1, 2, 1, 0, 2]
    inputs = pipeline.encode(portrait, voice, priors[order])
    assert len(inputs.emotion) == 4
    with torch.no_grad():
        for i, which in enumerate(order):
            alone = networks.emotion_bank(priors[which][None, None]).tokens[0, 0]
            assert (inputs.emotion[inputs.emotion_rows[i]] - alone).abs().max() < 1e-5
            tokens = networks.audio_projection(voice[i].flatten()[None])[0]
            assert (inputs.audio[inputs.audio_rows[i]] - tokens).abs().max() < 1e-4
        nothing = networks.emotion_bank(torch.zeros(1, 1, PRIOR)).tokens[0, 0]
        assert (inputs.emotion[-1] - nothing).abs().max() < 1e-5
        every = networks.pose_guider(torch.from_numpy(portrait.mask)[None].repeat(3, 1, 1, 1))
        assert (every - inputs.pose).abs().max() < 1e-5
        dropped = pipeline.emotion_tokens(priors[:1], retrieval=True)
        mute = torch.ones(1, dtype=torch.bool)
        wanted = networks.emotion_bank(priors[:1], retrieval=True, dropped=mute).tokens
        assert (dropped[-1] - wanted[0]).abs().max() < 1e-5


def test_fewer_frames_at_once_give_the_same_picture(networks: SvdNetworks) -> None:
    """Ten frames are decoded together however many are in memory at once; pads are left out."""
    networks.place(torch.device("cpu"), torch.float64)
    pipeline = DiceTalkPipeline(networks)
    latents = torch.randn(13, 4, 2, 4, generator=torch.Generator().manual_seed(0)).double()
    whole = list(pipeline.decode(latents, 12))
    assert [len(piece) for piece in whole] == [10, 2]
    with torch.no_grad():
        last = networks.vae.decode(latents[10:] / SCALING_FACTOR, num_frames=3).sample[:2]
        alone = networks.vae.decode(latents[:4] / SCALING_FACTOR, num_frames=4).sample
    assert (whole[1] - (last / 2 + 0.5).clamp(0, 1)).abs().max() < 1e-6
    for at_once in (4, 2, 1):
        pieces = pipeline.decode(latents, 12, at_once)
        assert all((a - b).abs().max() < 1e-6 for a, b in zip(pieces, whole, strict=True))
    assert (whole[0][:4] - (alone / 2 + 0.5).clamp(0, 1)).abs().max() > 1e-3


def test_mismatched_inputs_are_refused(networks: SvdNetworks, given_inputs: dict[str, Any]) -> None:
    pipeline = DiceTalkPipeline(networks)
    for change, message in (
        ({"voice": torch.zeros(0, 10, 5, 64)}, "empty"),
        ({"voice": torch.zeros(7, 9, 5, 64)}, r"\(N, 10, 5, 64\)"),
        ({"prior": torch.zeros(3, PRIOR)}, "prior"),
        ({"noise": torch.zeros(3, 4, 8, 8)}, r"noise must be \(12, 4, 8, 8\)"),
        ({"decode_chunk_size": 0}, "decoded"),
    ):
        with pytest.raises(InputError, match=message):
            pipeline(**{**given_inputs, **change})
    odd = prepare_portrait(np.zeros((64, 64, 3), np.uint8), (8, 8, 20, 20), shorter_side=64)
    odd = replace(odd, reference=odd.reference[:, :60], mask=odd.mask[:, :60])
    with pytest.raises(InputError, match="multiples of 16; got 64 x 60"):
        pipeline(**{**given_inputs, "portrait": odd})


def test_interpolated_frames() -> None:
    torch.manual_seed(0)
    net = FlowNet().eval()
    frames = torch.rand(3, 3, 32, 48)
    with torch.no_grad():
        made = double_frame_rate(net, frames)
        assert made.shape == (5, 3, 32, 48)
        assert torch.equal(made[::2], frames)
        alone = net(frames[1:2], frames[2:3]).middle
        assert (made[3:4] - alone).abs().max() < 1e-5
        assert torch.equal(double_frame_rate(net, frames[:1]), frames[:1])


def test_invalid_settings_are_refused() -> None:
    for wrong, message in (
        ({"preset": "best"}, "exact, fewer, fast, turbo"),
        ({"num_inference_steps": 0}, "steps must be 1"),
        ({"shorter_side": 10}, "side must be 64"),
        ({"branches_at_once": 2}, "3 at once"),
        ({"max_memory_gb": 0.0}, "memory"),
        ({"emotion_guidance": -1.0}, "emotion guidance"),
        ({"shorter_side": 100}, "multiple of 64; got 100. The nearest are 64 and 128"),
        ({"crop": -0.5}, "grown by 0 to 5"),
        ({"decode_chunk_size": 11}, "1 to 10"),
    ):
        with pytest.raises(InputError, match=message):
            SvdSettings(**wrong).check()
    SvdSettings(preset="fast").check()


def test_costs_grow_and_memory_options_save(networks: SvdNetworks) -> None:
    cpu = torch.device("cpu")

    def of(frames: int = 50, side: int = 512, **more: Any) -> Cost:
        made = SvdSettings(**more)
        return estimate_cost(networks, made, side, side, frames, torch.float32)

    whole = of()
    assert of(100).operations > whole.operations
    assert of(side=256).operations < whole.operations
    assert of(preset="fast").operations < of(preset="fewer").operations < whole.operations
    assert of(emotion_guidance=5.0).operations > whole.operations, "a fourth branch"
    for option in (
        {"branches_at_once": 1, "decode_chunk_size": 2},
        {"offload": True},
        {"decode_chunk_size": 1},
    ):
        assert of(**option).memory <= whole.memory
    roomy = SvdSettings(max_memory_gb=whole.memory / 1e9 * 1.01)
    assert fit_memory(networks, roomy, 512, 512, 50, cpu, torch.float32) == (roomy, ())
    tight = SvdSettings(max_memory_gb=whole.memory / 1e9 * 0.9)
    fitting, options = fit_memory(networks, tight, 512, 512, 50, cpu, torch.float32)
    assert options
    assert fitting != tight
    with pytest.raises(InputError, match="smaller side"):
        fit_memory(networks, SvdSettings(max_memory_gb=1e-6), 512, 512, 50, cpu, torch.float32)
    assert (
        estimate_seconds(1e12, cpu, torch.float32) > estimate_seconds(1e10, cpu, torch.float32) > 0
    )


def test_running_out_of_memory_and_time_is_explained(
    networks: SvdNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = SvdEngine(
        networks, SvdSettings(shorter_side=64, num_inference_steps=1, allow_slow=True, device="cpu")
    )
    image, samples = np.zeros((64, 64, 3), np.uint8), np.zeros(8000, np.float32)
    plan = engine.plan(image, samples)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")

    monkeypatch.setattr(networks.unet, "forward", fail)
    priors = np.zeros((plan.generated_frames, PRIOR), np.float32)
    with pytest.raises(MienError, match="--max-memory"):
        list(engine.frames(image, (10, 10, 30, 30), samples, priors, plan))
    hurried = SvdEngine(
        networks, SvdSettings(shorter_side=1024, num_inference_steps=200, device="cpu")
    )
    with pytest.raises(InputError, match="pass --yes"):
        hurried.plan(image, np.zeros(16_000 * 600, np.float32))


def test_the_published_sizes_are_whole() -> None:
    """1,524,623,082 weights of the stock UNet and 102,236,160 of the adapters; the 128 keys."""
    with torch.device("meta"):
        unet, _ = build_unet(SVD_XT)
    shapes = {name: list(value.shape) for name, value in unet.state_dict().items()}
    listed = json.loads((REFERENCE / "dice_unet_custom.json").read_text("utf-8"))
    wanted = {name: entry["shape"] for name, entry in listed.items() if name != "_note"}
    assert len(wanted) == 128
    assert {name: shapes[name] for name in wanted} == wanted
    count = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    adapters = sum(count[name] for name in wanted)
    assert (sum(count.values()) - adapters, adapters) == (1_524_623_082, 102_236_160)


def test_published_configurations_have_the_published_numbers_of_weights() -> None:
    for name, wanted in (
        (VAE, 97_742_847),
        (IMAGE_ENCODER, 632_076_800),
        (AUDIO_ENCODER, 8_208_384),
    ):
        shapes = FORMATS[name].expect({}, {}).shapes
        assert sum(int(np.prod(shape)) for shape in shapes.values()) == wanted, name
    with pytest.raises(WeightsError, match="unknown sizes: depth"):
        FORMATS[VAE].expect({"depth": 3}, {})
