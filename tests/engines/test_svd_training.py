"""Both stages of DICE-Talk's training, on a tiny configuration and clips made on the spot."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from torch.distributed import HashStore
from torch.nn.utils import parameters_to_vector

import mien as package
from mien.datasets.shards import ShardWriter, whole
from mien.datasets.svd_clips import ARRAYS, CLASSES, CachedClip, find_clips
from mien.dicetalk.embedder import EmotionEmbedder
from mien.engines.published_checkpoints import convert_file
from mien.engines.svd.networks import load_networks
from mien.errors import InputError
from mien.training.emotion_prior.embedder import EmbedderConfig, train_embedder
from mien.training.svd import diffusion
from mien.training.svd.backend import AccelerateBackend
from mien.training.svd.clips import ClipPool
from mien.training.svd.conditions import Draw, draw_conditions
from mien.training.svd.data import DiffusionConfig, Window, WindowSampler
from mien.training.svd.diffusion import LOSSES, DiffusionTask, initial_nets, train_diffusion
from mien.training.svd.sharding import ShardedBackend
from mien.training.trainer import Trainer
from mien.weights.manifest import ADAPTERS, AUDIO, BANK, EMOTION2VEC, GUIDER, entry
from mien.weights.store import CACHE_VARIABLE, Store

from ..command import mien
from ..conftest import DEMO
from ..published import write_emotion2vec
from ..speech.voices import buzz, write_sound
from ..svd import PRIOR, tiny_svd_store

EMOTION_LEVELS = (("neutral", 1), ("happy", 3), ("angry", 2))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("svd")
    made = tiny_svd_store(folder)
    convert_file(entry(EMOTION2VEC), write_emotion2vec(folder / "model.pt"), made)
    return made


def cached(folder: Path, people: int = 3) -> Path:
    """Clips whose emotion is in voice, face and latents; faces of people differ in an offset."""
    rng = np.random.default_rng(0)
    own = rng.normal(size=(people + 1, 6))
    patterns = rng.normal(size=(3, 6))

    def write(corpus: str, clip: str, person: int, emotion: int) -> None:
        face = patterns[emotion] + 0.3 * own[person] + 0.1 * rng.normal(size=(9, 6))
        voice = np.repeat(patterns[emotion][None], 12, 0) + 0.2 * rng.normal(size=(12, 6))
        latents = 0.8 * np.sin(np.arange(4 * 64) * (1 + emotion)).reshape(4, 8, 8)
        latents = latents + 0.05 * rng.normal(size=(9, 4, 8, 8))
        mask = np.zeros((64, 64), np.uint8)
        mask[16:48, 16:48] = 255
        arrays = {
            "latents": latents.astype(np.float16), "reference_frames": np.array([0, 8]),
            "mask": mask, "clip_tokens": rng.normal(size=(2, 64)).astype(np.float16),
            "whisper": rng.normal(size=(36, 5, 64)).astype(np.float16),
            "face": face.astype(np.float32), "voice": voice.astype(np.float32),
        }  # fmt: skip
        with closing(ShardWriter(folder / corpus)) as writer:
            writer.add(clip, whole(arrays))

    for person in range(people):
        for emotion, (name, level) in enumerate(EMOTION_LEVELS):
            for take in range(2):
                place = f"M00{person}/video/front/{name}/level_{level}/00{take}"
                write("mead", place, person, emotion)
    write("hdtf", "RD_Radio1_000", people, 1)
    return folder


def copy_clip(one: CachedClip, folder: Path, name: str, **changed: np.ndarray) -> None:
    with closing(ShardWriter(folder)) as writer:
        writer.add(name, whole({name: one.read(name) for name in ARRAYS} | changed))


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return cached(tmp_path / "clips")


def stage_one(clips: Path, **more: object) -> EmbedderConfig:
    settings = {"width": PRIOR, "heads": 2, "frames": 8, "batch": 24, "steps": 160, "dropout": 0.0,
                "measure_every": 80, "learning_rate": 3e-3, "device": "cpu", "test": ("M002",),
                **more}  # fmt: skip
    return EmbedderConfig(features=clips / "mead", **settings)  # type: ignore[arg-type]


def priors_of(folder: Path) -> Path:
    """Random priors of the emotions in :func:`cached`."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("neutral", "happy", "angry"):
        np.save(folder / f"{name}.npy", rng.normal(size=PRIOR).astype(np.float32))
    return folder


@pytest.fixture
def priors(tmp_path: Path) -> Path:
    return priors_of(tmp_path / "priors")


def stage_two(clips: Path, priors: Path, **more: object) -> DiffusionConfig:
    settings = {"frames": 4, "batch": 2, "steps": 20, "measure_every": 10, "measured": 6,
                "learning_rate": 3e-3, "warm_up": 1, "average": 0.5, "device": "cpu",
                "discrimination": 0.3, "sample_steps": 0, "test": ("M002",), **more}  # fmt: skip
    return DiffusionConfig(labelled=clips / "mead", priors=priors, **settings)  # type: ignore[arg-type]


class Stop(Exception):  # noqa: N818
    pass


def stopping(at: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == at:
            raise Stop

    return progress


def same(one: Path, other: Path) -> bool:
    from safetensors.torch import load_file

    a, b = load_file(one), load_file(other)
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_folders_give_person_emotion_and_level(clips: Path, tmp_path: Path) -> None:
    found = find_clips(clips / "mead")
    assert {(one.person, one.emotion, one.level) for one in found} == {
        (f"M00{i}", name, level) for i in range(3) for name, level in EMOTION_LEVELS
    }
    assert {one.label for one in found} == {0, 1 + 3 * 4 + 2, 2}
    assert CLASSES == 22
    assert [one.label for one in find_clips(clips / "hdtf")] == [-1]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="cached clip"):
        find_clips(tmp_path / "empty")


def test_stage_one_keeps_the_emotion_and_resumes_exactly(clips: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    config = stage_one(clips)
    scores = train_embedder(config, Trainer(tmp_path / "whole", log=lines.append))
    assert scores["class, people held out"] > 0.9
    first, last = (float(line.split("emotion ")[1].split(",")[0]) for line in (lines[0], lines[-1]))
    assert last < first
    with pytest.raises(Stop):
        train_embedder(config, Trainer(tmp_path / "parts", progress=stopping(130)))
    train_embedder(config, Trainer(tmp_path / "parts", resume=True))
    assert same(*(tmp_path / name / "embedder.safetensors" for name in ("whole", "parts")))
    made = {path.stem for path in (tmp_path / "whole" / "priors").iterdir()}
    assert made == {"neutral", "happy", "angry"}
    with pytest.raises(InputError, match="two emotions and two people"):
        train_embedder(replace(config, test=("M001", "M002")), Trainer(tmp_path / "x"))


def test_an_anchor_holds_the_embedder_near_published_priors(clips: Path, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    from mien.datasets.mead import EMOTIONS

    rng = np.random.default_rng(1)
    known = {name: rng.normal(size=PRIOR).astype(np.float32) for name in EMOTIONS}
    path = tmp_path / "priors.safetensors"
    save_file(known, path, metadata={"mien": json.dumps({"config": {"prior": PRIOR}})})
    for anchors, near in ((None, False), (path, True)):
        out = tmp_path / f"run{near}"
        train_embedder(stage_one(clips, anchors=anchors, steps=150, anchor=5.0), Trainer(out))
        mean = np.load(out / "priors" / "happy.npy")
        gap = float(np.abs(mean - known["happy"]).mean())
        assert (gap < 0.5) == near, gap


def test_stage_two_lowers_every_loss_and_resumes_exactly(
    store: Store, clips: Path, priors: Path, tmp_path: Path
) -> None:
    config = stage_two(clips, priors)
    lines: list[str] = []
    after = train_diffusion(
        config, Trainer(tmp_path / "whole", log=lines.append), initial_nets(config, store)
    )
    pairs = (part.split() for part in lines[0].removeprefix("before: ").split(", "))
    before = {name: float(value) for name, value in pairs}
    for name in LOSSES:
        assert after[name] < before[name], (name, before, after)
    with pytest.raises(Stop):
        train_diffusion(
            config, Trainer(tmp_path / "parts", progress=stopping(13)), initial_nets(config, store)
        )
    train_diffusion(config, Trainer(tmp_path / "parts", resume=True), initial_nets(config, store))
    for file in ("adapters", "audio", "bank", "guider"):
        assert same(*(tmp_path / run / f"{file}.safetensors" for run in ("whole", "parts"))), file
    for name, file in ((ADAPTERS, "adapters"), (AUDIO, "audio"), (BANK, "bank"),
                       (GUIDER, "guider")):  # fmt: skip
        mine = Store(tmp_path / "mine")
        convert_file(entry(name), tmp_path / "whole" / f"{file}.safetensors", mine)


def test_emotions_of_people_held_out_are_recognised(
    store: Store, clips: Path, priors: Path, tmp_path: Path
) -> None:
    """By the discriminator, where little noise hides them; a third would be chance."""
    config = stage_two(
        clips, priors, frames=2, batch=4, steps=40, measure_every=40, measured=12,
        rates={"bank": 2.0}, sigma_mean=-1.5, sigma_spread=0.5, discrimination=1.0,
    )  # fmt: skip
    scores = train_diffusion(config, Trainer(tmp_path / "run"), initial_nets(config, store))
    assert scores["recognised"] > 0.8


def test_trained_weights_run_in_the_engine(
    store: Store, clips: Path, priors: Path, tmp_path: Path
) -> None:
    """The files of a run replace the published ones, and the engine makes a clip with them."""
    from mien.engines.svd.pipeline import DiceTalkPipeline

    config = stage_two(clips, priors, steps=1, temporal=True, checkpointing=True, sample_steps=1,
                       fused=True, rates={"bank": 0.0, "guider": 2.0})  # fmt: skip
    start = initial_nets(config, store)
    bank = {name: value.clone() for name, value in start.emotion_bank.state_dict().items()}
    train_diffusion(config, Trainer(tmp_path / "run"), start)
    after = start.emotion_bank.state_dict()
    assert all(torch.equal(bank[name], after[name]) for name in bank), "a part with a rate of 0"
    strip = cv2.imread(str(tmp_path / "run" / "samples" / "emotions-00000001.png"))
    assert strip.shape == (4 * 160, 5 * 160, 3), "a row recorded, and one for each of three priors"
    assert len({row.tobytes() for row in np.split(strip, 4)}) == 4
    mine = Store(tmp_path / "store")
    shutil.copytree(store.folder, mine.folder)
    for name, file in ((ADAPTERS, "adapters"), (AUDIO, "audio"), (BANK, "bank"),
                       (GUIDER, "guider")):  # fmt: skip
        convert_file(entry(name), tmp_path / "run" / f"{file}.safetensors", mine)
    from safetensors.torch import load_file

    trained = load_file(tmp_path / "run" / "adapters.safetensors")
    assert any("temporal_transformer_blocks" in name and "attn1" in name for name in trained)
    nets = load_networks(mine, interpolate=False)
    nets.place(torch.device("cpu"), torch.float32)
    name = next(name for name in trained if name.endswith("attn1.to_q.weight"))
    assert torch.equal(nets.unet.state_dict()[name], trained[name])
    assert DiceTalkPipeline(nets).emotion_tokens(torch.zeros(1, PRIOR)).shape == (2, 32, 64)


def test_blocks_are_computed_again_instead_of_kept(store: Store, clips: Path, priors: Path) -> None:
    """The same gradients from a fraction of what diffusers' checkpointing keeps."""
    config, window = some_window(clips, priors)

    def kept(kind: str) -> tuple[int, dict[str, torch.Tensor]]:
        nets = initial_nets(config, store)
        if kind == "diffusers":
            nets.unet.enable_gradient_checkpointing()
        task = DiffusionTask(replace(config, checkpointing=kind == "mien"), nets)
        task.backend = task.make_backend()
        net = task.build()
        weights = {p.untyped_storage().data_ptr() for p in net.parameters()}
        sizes: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        draw = draw_conditions(config, window, np.random.default_rng(0), retrieval=True)
        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            losses = net(window, draw)
        total = sum(sizes.values())
        losses["diffusion"].backward()
        gradients = {name: p.grad for name, p in net.learned().items() if p.grad is not None}
        return total, gradients

    (everything, a), (published, _), (mine, b) = map(kept, ("none", "diffusers", "mien"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert mine < 0.6 * published < 0.6 * everything, (everything, published, mine)


def test_launches_that_cannot_be_served_are_refused(
    store: Store, clips: Path, priors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = DiffusionTask(
        stage_two(clips, priors, batch=3), initial_nets(stage_two(clips, priors), store)
    )
    monkeypatch.setattr(
        AccelerateBackend, "__init__", lambda self, *_: setattr(self, "processes", 2)
    )
    with pytest.raises(InputError, match="multiple of the 2 processes; got 3"):
        task.make_backend()
    monkeypatch.undo()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match="does not run with FSDP"):
        task.make_backend()
    with pytest.raises(InputError, match="rates are factors.*guide"):
        stage_two(clips, priors, rates={"guide": 1.0})


def test_training_continues_from_published_weights(
    store: Store, clips: Path, priors: Path, tmp_path: Path
) -> None:
    config = stage_two(clips, priors, steps=2, start="published")
    nets = initial_nets(config, store)
    before = nets.emotion_bank.codebook.fc.weight.clone()
    train_diffusion(config, Trainer(tmp_path / "run"), nets)
    assert not torch.equal(before, nets.emotion_bank.codebook.fc.weight)


@pytest.fixture
def new_accelerate() -> Iterator[None]:
    """accelerate keeps its precision for the whole process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_a_spread_net_trains_in_mixed_precision(
    store: Store, clips: Path, priors: Path, tmp_path: Path, new_accelerate: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Here over one process; gradients in half precision are added in another order."""
    config = stage_two(clips, priors, steps=2, precision="bf16", temporal=True, fused=True)
    whole, spread = initial_nets(config, store), initial_nets(config, store)
    start = parameters_to_vector(whole.emotion_bank.parameters()).detach()
    train_diffusion(config, Trainer(tmp_path / "whole"), whole)
    assert whole.unet.conv_in.weight.dtype == torch.bfloat16, "frozen"
    monkeypatch.setattr(diffusion, "AccelerateBackend", ShardedBackend)
    torch.distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        train_diffusion(config, Trainer(tmp_path / "spread"), spread)
        with ShardedBackend("cpu", "bf16").whole(spread.emotion_bank):
            end = parameters_to_vector(spread.emotion_bank.parameters()).detach()
    finally:
        torch.distributed.destroy_process_group()
    wanted = parameters_to_vector(whole.emotion_bank.parameters()).detach()
    assert (wanted - end).norm(1) < 0.02 * (wanted - start).norm(1)
    with pytest.raises(InputError, match="precision bf16 or no; got fp16"):
        replace(config, precision="fp16", sharding="full")


def test_mixed_precision_trains_in_single_precision(
    store: Store, clips: Path, priors: Path, tmp_path: Path, new_accelerate: None
) -> None:
    from safetensors.torch import load_file

    config = stage_two(clips, priors, steps=2, precision="bf16")
    nets = initial_nets(config, store)
    nets.unet.half()
    after = train_diffusion(config, Trainer(tmp_path / "run"), nets)
    assert all(np.isfinite(value) for value in after.values())
    made = load_file(tmp_path / "run" / "adapters.safetensors")
    assert {value.dtype for value in made.values()} == {torch.float32}


def test_labelled_and_other_clips_are_drawn_equally(
    clips: Path, priors: Path, tmp_path: Path
) -> None:
    train_embedder(stage_one(clips, steps=2), Trainer(tmp_path / "one"))
    config = stage_two(
        clips, priors, unlabelled=clips / "hdtf",
        embedder=tmp_path / "one" / "embedder.safetensors",
    )  # fmt: skip
    sampler = WindowSampler(config, PRIOR)
    windows = [sampler.draw(np.random.default_rng(i)) for i in range(200)]
    other = [one for one in windows if one.label == -1]
    assert 70 < len(other) < 130
    assert windows[0].latents.shape == (4, 4, 8, 8)
    assert windows[0].voice.shape == (4, 10, 5, 64)
    plain = np.load(priors / "neutral.npy")
    assert all(not np.allclose(one.prior, plain) for one in other), "the embedder gives the prior"
    labelled = stage_two(clips, priors)
    drawn = [WindowSampler(labelled, PRIOR).draw(np.random.default_rng(i)) for i in range(40)]
    happy, angry = (np.load(priors / f"{name}.npy") for name in ("happy", "angry"))
    wanted = {0: plain, 15: happy, 2: plain + np.float32(2 / 3) * (angry - plain)}
    assert all(np.allclose(one.prior, wanted[one.label], atol=1e-6) for one in drawn)
    with pytest.raises(InputError, match="no embedder"):
        WindowSampler(replace(config, embedder=tmp_path / "none"), PRIOR)
    with pytest.raises(InputError, match="MEAD's layout"):
        WindowSampler(replace(labelled, labelled=clips / "hdtf"), PRIOR)


def test_a_clip_is_embedded_once(
    clips: Path, priors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embedding a clip of a minute takes as long as reading ten windows of it."""
    train_embedder(stage_one(clips, steps=2), Trainer(tmp_path / "one"))
    config = stage_two(
        clips, priors, own_prior=1.0, embedder=tmp_path / "one" / "embedder.safetensors"
    )
    sampler, seen = WindowSampler(config, PRIOR), []
    forward = EmotionEmbedder.forward

    def counted(self: EmotionEmbedder, *given: torch.Tensor) -> object:
        seen.append(given)
        return forward(self, *given)

    monkeypatch.setattr(EmotionEmbedder, "forward", counted)
    drawn = [sampler.draw(np.random.default_rng(i)) for i in range(120)]
    people = 2
    assert len(seen) == people * len(EMOTION_LEVELS) * 2
    assert len({one.prior.numpy().tobytes() for one in drawn}) == 120, "samples differ all the same"


def test_clips_of_other_nets_are_refused(
    store: Store, clips: Path, priors: Path, tmp_path: Path
) -> None:
    config = stage_two(clips, priors)
    one = find_clips(clips / "hdtf")[0]
    copy_clip(one, clips / "hdtf", "other", whisper=one.read("whisper")[..., :48])
    nets = initial_nets(config, store)
    with pytest.raises(InputError, match="row of whisper has 48 numbers; .* take 64"):
        DiffusionTask(replace(config, unlabelled=clips / "hdtf"), nets)
    train_embedder(stage_one(clips, steps=2), Trainer(tmp_path / "one"))
    copy_clip(one, clips / "more", "other", face=one.read("face")[:, :5])
    config = replace(
        config, unlabelled=clips / "more", embedder=tmp_path / "one" / "embedder.safetensors"
    )
    with pytest.raises(InputError, match="row of face has 5 numbers; .* take 6"):
        WindowSampler(config, PRIOR)


def test_people_are_held_out_by_corpus(clips: Path, tmp_path: Path) -> None:
    """MEAD's test people whatever the layout, HDTF's by rule, and who is named in the settings."""
    for index in (clips / "mead").glob("*.jsonl"):
        index.write_text(index.read_text().replace("M002/", "M003/"))
    for name in ("RD_Radio9_000", "RD_Radio9_001", "m030_angry_3_001"):
        copy_clip(find_clips(clips / "hdtf")[0], clips / "hdtf", name)

    def drawn(pool: ClipPool, *, held_out: bool) -> set[str]:
        rngs = (np.random.default_rng(i) for i in range(60))
        return {pool.draw(rng, held_out=held_out).path.relative_to(clips).parts[1] for rng in rngs}

    pool = ClipPool(clips / "mead", clips / "hdtf", ())
    assert drawn(pool, held_out=False) == {"M000", "M001", "RD_Radio1_000"}
    assert drawn(pool, held_out=True) == {
        "M003", "RD_Radio9_000", "RD_Radio9_001", "m030_angry_3_001"
    }  # fmt: skip
    pool = ClipPool(clips / "mead", clips / "hdtf", ("M001", "hdtf_RD_Radio1"))
    assert drawn(pool, held_out=False) == {"M000"}
    with pytest.raises(InputError, match="to train on"):
        ClipPool(clips / "mead", None, ("M000", "M001"))
    alone = ClipPool(clips / "hdtf" / ".." / "mead", None, ("M003",))
    assert alone.held_out


def test_references_are_other_clips_of_the_person(clips: Path, priors: Path) -> None:
    def shown(kind: str) -> list[tuple[str, str, bool]]:
        pool = ClipPool(clips / "mead", None, ())
        out = []
        for i in range(80):
            rng = np.random.default_rng(i)
            one = pool.draw(rng)
            other = pool.reference(one, kind, rng)  # type: ignore[arg-type]
            out.append((one.person, other.person, other.emotion, other is one))
        assert all(a == b for a, b, _, _ in out), "the same person"
        return [(emotion, other, same) for _, other, emotion, same in out]

    assert {(emotion, same) for emotion, _, same in shown("neutral")} == {("neutral", False)}
    assert {same for _, _, same in shown("other")} == {False}
    assert {emotion for emotion, _, _ in shown("other")} == {"neutral", "happy", "angry"}
    assert {same for _, _, same in shown("same")} == {True}
    pool = ClipPool(clips / "mead", clips / "hdtf", ())
    alone = next(c for c in find_clips(clips / "hdtf"))
    assert pool.reference(alone, "neutral", np.random.default_rng(0)).path == alone.path
    # A clip of its own: frames 0 and 8 can be references; one of them is outside every window.
    one = find_clips(clips / "mead")[0]
    place = one.path.with_name("009").relative_to(clips / "mead").as_posix()
    copy_clip(one, clips / "mead", place, latents=one.read("latents")[..., :4])
    sampler = WindowSampler(stage_two(clips, priors, reference="other"), PRIOR)
    with pytest.raises(InputError, match="with the same --side"):
        for i in range(60):
            sampler.draw(np.random.default_rng(i))


def some_window(clips: Path, priors: Path, **more: object) -> tuple[DiffusionConfig, Window]:
    config = stage_two(clips, priors, frames=8, **more)
    return config, WindowSampler(config, PRIOR).draw(np.random.default_rng(0))


def test_conditions_are_drawn_as_guidance_asks(clips: Path, priors: Path) -> None:
    config, window = some_window(clips, priors, padded=0.0)
    draws = [
        draw_conditions(config, window, np.random.default_rng(i), retrieval=False)
        for i in range(2000)
    ]
    kinds = [(d.picture, bool(d.voice.all()), bool(d.emotion.all())) for d in draws]
    shares = {kind: kinds.count(kind) / len(kinds) for kind in set(kinds)}
    wanted = {(False, False, False): 0.1, (True, False, False): 0.1, (True, True, False): 0.05,
              (True, True, True): 0.75}  # fmt: skip
    assert shares.keys() == wanted.keys()
    assert all(abs(shares[kind] - share) < 0.03 for kind, share in wanted.items()), shares
    config = replace(config, padded=0.5, without_all=0.0, without_speech=0.0)
    draws = [
        draw_conditions(config, window, np.random.default_rng(i), retrieval=False)
        for i in range(400)
    ]
    runs = {tuple(d.voice.int().tolist()) for d in draws}
    assert all(any(run) and sum(a != b for a, b in zip(run, run[1:], strict=False)) < 2
               for run in runs)  # fmt: skip
    assert len(runs) == 1 + 2 * 7, "whole, and 1 to 7 frames of padding at either end"
    assert abs(sum(bool(d.voice.all()) for d in draws) / 400 - 0.5) < 0.1
    assert all(torch.equal(d.voice, d.emotion) for d in draws if bool(d.emotion.any()))
    ended = replace(window, inside=torch.arange(8) < 5)
    draw = draw_conditions(replace(config, padded=0.0), ended, np.random.default_rng(0),
                           retrieval=False)  # fmt: skip
    assert draw.voice.tolist() == [True] * 5 + [False] * 3, "after a clip's end there is no voice"
    for wrong in ({"without_all": 0.9, "without_speech": 0.2}, {"padded": 1.5}):
        with pytest.raises(InputError, match="shares of one whole"):
            replace(config, **wrong)


def test_what_is_withheld_has_no_effect(store: Store, clips: Path, priors: Path) -> None:
    """Neither on the prediction nor through the classifier of emotions."""
    config, window = some_window(clips, priors, discrimination=1.0)
    task = DiffusionTask(config, initial_nets(config, store))
    task.backend = task.make_backend()
    net = task.build().eval()
    torch.nn.init.normal_(net.guider.conv_out.weight, std=0.02)
    everything, nothing = torch.ones(8, dtype=torch.bool), torch.zeros(8, dtype=torch.bool)
    full = Draw(torch.zeros_like(window.latents), 1.0, True, everything, everything, False)

    def losses(window: Window, **changes: object) -> dict[str, float]:
        with torch.no_grad():
            out = net(window, replace(full, **changes))
        return {name: float(out[name]) for name in ("diffusion", "discrimination")}

    others = {"prior": {"prior": window.prior + 1}, "voice": {"voice": window.voice + 1},
              "picture": {"reference": window.reference + 1, "clip": window.clip + 1}}  # fmt: skip
    for name, other in others.items():
        assert losses(window)["diffusion"] != losses(replace(window, **other))["diffusion"], name
    for name, changes in (
        ("prior", {"emotion": nothing}),
        ("voice", {"voice": nothing, "emotion": nothing}),
        ("picture", {"picture": False, "voice": nothing, "emotion": nothing}),
    ):
        changed = losses(replace(window, **others[name]), **changes)
        assert changed == losses(window, **changes), name
        assert changed["discrimination"] == 0, "no emotion, no class"
    half = torch.arange(8) < 4
    assert losses(window, emotion=half)["discrimination"] > 0
    late = window.voice.clone()
    late[4:] += 1
    assert losses(replace(window, voice=late), voice=half) == losses(window, voice=half)


def test_the_commands_lead_from_videos_to_a_talking_clip(
    store: Store, demo_face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(store.folder))
    voice = write_sound(tmp_path / "voice.wav", buzz(0.6, 230))
    for person in ("M001", "M002"):
        for name, level in EMOTION_LEVELS[:2]:
            place = tmp_path / "videos" / person / "video" / "front" / name / f"level_{level}"
            place.mkdir(parents=True)
            package.talk(demo_face, voice, place / "001.mp4", name)
    (tmp_path / "videos" / "M001" / "broken.mp4").write_bytes(b"nothing")
    shutil.copy(DEMO / "clip.mp4", tmp_path / "videos" / "silent.mp4")
    features = ("features", tmp_path / "videos", "-o", tmp_path / "cache", "--engine", "svd",
                "--side", 64, "--device", "cpu")  # fmt: skip
    for _ in range(2):
        done = mien(*features, cache=store.folder)
        assert done.returncode == 1, "two films are of no use"
        assert "4 cached clips" in done.stdout, done.stderr
        assert "2 were left out, 1 of them without sound" in done.stderr
        assert "broken.mp4" in done.stderr
    one = find_clips(tmp_path / "cache")[0]
    assert one.read("latents").shape == (8, 4, 8, 8), "0.6 s at 12.5 frames a second"
    assert one.read("whisper").shape[1:] == (5, 64)
    assert len(one.read("face")) == one.frames
    assert 0 < one.read("mask").mean() < 255
    (tmp_path / "one.toml").write_text(
        'features = "cache"\ntest = []\nwidth = 16\nheads = 2\nsteps = 2\nbatch = 4\nframes = 4\n'
    )
    done = mien("train", "dice-embedder", "--config", tmp_path / "one.toml", "-o", tmp_path / "a",
                cache=store.folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (tmp_path / "two.toml").write_text(
        'labelled = "cache"\npriors = "a/priors"\nembedder = "a/embedder.safetensors"\n'
        "steps = 1\nbatch = 1\nframes = 4\nmeasured = 1\n"
    )
    done = mien("train", "dice", "--config", tmp_path / "two.toml", "-o", tmp_path / "b",
                cache=store.folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "diffusion" in done.stdout
    assert (tmp_path / "b" / "adapters.safetensors").is_file()
    reference = tmp_path / "videos" / "M001" / "video" / "front" / "happy" / "level_3" / "001.mp4"
    for like in (reference, demo_face, voice):
        done = mien(
            "talk", demo_face, voice, "-o", tmp_path / "v.mp4", "--engine", "svd", "--side", 64,
            "--steps", 1, "--like", like, "--embedder", tmp_path / "a" / "embedder.safetensors",
            "--overwrite", cache=store.folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    done = mien("talk", demo_face, voice, "-o", tmp_path / "w.mp4", "--engine", "svd", "-e",
                "happy", "--embedder", tmp_path / "none", cache=store.folder)  # fmt: skip
    assert "There is no embedder" in done.stderr
