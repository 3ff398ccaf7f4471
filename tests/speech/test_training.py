"""Real trainings, small enough for a minute."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mien.datasets.manifest import read_manifest
from mien.errors import InputError
from mien.speech.listener import EXTENDED_VOICES, VOCAL_TRACTS, VOICE_EMOTIONS, Listener
from mien.training.listener import ListenerConfig
from mien.training.listener.data import load_data
from mien.training.listener.extended import extend, fit
from mien.training.listener.net import (
    SpeakerAdversary,
    contrast,
    distil,
    export_listener,
    load_net,
)
from mien.training.listener.sampling import _warp, augment
from mien.training.listener.task import train_listener
from mien.training.trainer import Trainer

from ..command import mien
from .voices import buzz, write_corpus

SETTINGS = """
manifest = "manifest.csv"
stem = 4
width = 32
embedding = 16
dropout = 0.0
groups = 4
group = 5
rows = 120
steps = 24
measure_every = 12
save_every = 12
learning_rate = 4e-3
[corpora]
toy = 1.0
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    write_corpus(folder, ["a", "b", "c"], 4)
    (folder / "toy.toml").write_text(SETTINGS)
    return folder / "toy.toml"


@pytest.fixture(scope="module")
def trained(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    out = tmp_path_factory.mktemp("run")
    lines: list[str] = []
    train_listener(ListenerConfig.load(toy), Trainer(out, log=lines.append))
    return out, lines


def part(line: str, name: str) -> float:
    return float(line.split(f"{name} ")[1].split(",")[0].split(" ")[0])


def test_training_learns(trained: tuple[Path, list[str]]) -> None:
    out, lines = trained
    first, last = lines[-2:]
    assert part(last, "emotion") < part(first, "emotion")
    assert part(last, "contrast") < part(first, "contrast")
    assert {p.name for p in out.iterdir()} >= {
        "checkpoint.pt", "listener.pt", "scores.json", "log", "features",
    }  # fmt: skip
    assert list((out / "log").iterdir())


def test_resuming_continues_exactly(
    toy: Path, trained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    class StopError(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("step 12"):
            raise StopError

    with pytest.raises(StopError):
        train_listener(ListenerConfig.load(toy), Trainer(tmp_path, log=stop))
    train_listener(ListenerConfig.load(toy), Trainer(tmp_path, resume=True))
    one, two = (
        torch.load(p / "listener.pt", weights_only=True)["weights"] for p in (tmp_path, trained[0])
    )
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_a_checkpoint_of_other_settings_is_refused(
    toy: Path, trained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    from dataclasses import replace

    other = replace(ListenerConfig.load(toy), seed=9)
    with pytest.raises(InputError, match="other settings: seed"):
        train_listener(other, Trainer(trained[0], resume=True))
    with pytest.raises(InputError, match="no checkpoint"):
        Trainer(tmp_path, resume=True)


def test_what_is_exported_is_what_was_trained(
    trained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    from mien.speech.features import MELS, features, moved_bands

    net = load_net(trained[0] / "listener.pt")
    export_listener([net, net], tmp_path)
    listener = Listener(tmp_path)
    rows = features(buzz(1.5))
    octaves = torch.tensor(VOCAL_TRACTS)
    at = torch.from_numpy(moved_bands(octaves.numpy()))
    heard = []
    for octave, places in zip(octaves, at, strict=True):
        moved = rows.copy()
        for row in moved:
            row[:MELS] = np.interp(places, np.arange(MELS), row[:MELS])
        moved[:, MELS] += float(octave) * (rows[:, MELS] != 0)
        heard.append(moved)
    with torch.no_grad():
        tensor = torch.from_numpy(np.stack(heard))
        each = net.embedding(tensor, torch.tensor([len(rows)] * len(heard)))
        embedding = torch.nn.functional.normalize(each.mean(0, keepdim=True), dim=1)
        output = net.classify(embedding, embedding)
    assert np.abs((each[0] - each[2]).numpy()).max() > 1e-3, "a moved voice differs"
    mine = listener.embed([rows])
    assert np.allclose(mine[0, :16] * 2**0.5, embedding[0].numpy(), atol=0.02)
    odds, _ = listener.classify(mine, temperature=1)
    assert np.allclose(odds[0], output.emotion.softmax(1)[0].numpy(), atol=0.05)


def test_labels_of_synthetic_voices_are_added_to_a_trained_net(
    trained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    export_listener([load_net(trained[0] / "listener.pt")], tmp_path)
    rng = np.random.default_rng(0)
    places = rng.normal(size=(7, 16))
    kinds = rng.integers(0, 7, 200)
    voices = (places[kinds] + 0.2 * rng.normal(size=(200, 16))).astype(np.float32)
    voices /= np.linalg.norm(voices, axis=1, keepdims=True)
    names = [(*EXTENDED_VOICES, "happy")[kind] for kind in kinds]
    inputs = {"embedding": voices, "neutral": voices}
    learned = Listener(tmp_path)._classifier.run(None, inputs)[0]
    longer = shutil.copytree(tmp_path, tmp_path / "longer") / "listener_says.onnx"
    for _ in range(2):
        extend(longer, longer, fit(voices[:100], names[:100]))
    odds, _ = Listener(longer.parent).classify(voices[100:], temperature=1)
    assert odds.shape == (100, len(VOICE_EMOTIONS))
    heard = [VOICE_EMOTIONS[k] if k >= 10 else "happy" for k in odds.argmax(1)]
    assert np.mean(np.array(heard) == names[100:]) > 0.9
    kept = odds[:, :10] / odds[:, :10].sum(1, keepdims=True)
    plain = np.exp(learned[100:]) / np.exp(learned[100:]).sum(1, keepdims=True)
    assert np.allclose(kept, plain, atol=1e-4)


def test_files_that_are_missing_or_broken_are_said(toy: Path, tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, ["a", "b", "c"], 2)
    (tmp_path / "toy" / "a-happy-0.wav").unlink()
    (tmp_path / "toy" / "b-sad-0.wav").write_text("nothing " * 99)
    config = tmp_path / "toy.toml"
    config.write_text(SETTINGS.replace("steps = 24", "steps = 2"))
    lines: list[str] = []
    train_listener(ListenerConfig.load(config), Trainer(tmp_path / "run", log=lines.append))
    left_out = [line for line in lines if "left out" in line]
    assert len(left_out) == 2
    for path in (tmp_path / "toy").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="None of the recordings"):
        train_listener(ListenerConfig.load(config), Trainer(tmp_path / "run2"))
    assert manifest.exists()


def test_settings_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    for text, word in (
        ("manifest = 'a'\nsteps = 'many'\n[corpora]\na = 1", "steps must be of type int"),
        ("manifest = 'a'\nsteps = 0\n[corpora]\na = 1", "steps must be at least 1; got 0"),
        ("manifest = 'a'\n[corpora]\na = true", "corpora.a must be of type float; got True"),
        ("manifest = 'a'\nwidht = 3\n[corpora]\na = 1", "widht"),
        ("manifest = 'a'", "corpora"),
        ("= 3", "TOML"),
        ("manifest='a'\n[corpora]\na=1\n[loss]\nnone=1", "none"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=word):
            ListenerConfig.load(path)
    from mien.utils.device import training_device

    assert training_device("cpu").type == "cpu"
    with pytest.raises(InputError, match="Valid: auto"):
        training_device("gpu")
    if not torch.cuda.is_available():
        assert training_device("auto").type == "cpu"
        with pytest.raises(InputError, match="sees none"):
            training_device("cuda")
    with pytest.raises(InputError, match="cannot be opened"):
        ListenerConfig.load(tmp_path / "none.toml")


def test_a_speaker_is_on_one_side(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, ["a", "b"])
    manifest.write_text(manifest.read_text().replace("a,happy,2,0,train", "a,happy,2,0,val"))
    with pytest.raises(InputError, match="several splits"):
        read_manifest(manifest)


def test_people_of_the_test_are_never_trained_on(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, ["a", "b", "mead_W015", "c"], 2)
    assert {u.split for u in read_manifest(manifest) if u.speaker == "mead_W015"} == {"test"}
    (tmp_path / "toy.toml").write_text(SETTINGS)
    data = load_data(ListenerConfig.load(tmp_path / "toy.toml"), tmp_path / "features")
    assert {data.utterances[i].speaker for i in data.test} == {"mead_W015"}
    assert {data.utterances[i].speaker for i in data.train} == {"a", "b"}
    assert {data.utterances[i].speaker for i in data.held_out} == {"c"}
    manifest.write_text(manifest.read_text().replace(",val", ",held"))
    with pytest.raises(InputError, match="train, val, test"):
        read_manifest(manifest)


def test_moving_a_voice_moves_its_pitch_and_formants() -> None:
    rows = torch.zeros(40, 50, 82)
    rows[:, :, 40] = 1.0
    rows[:, :25, 80] = 0.5
    bands, pitch = _warp(rows, torch.arange(40), torch.Generator().manual_seed(0))
    moved = pitch[:, 0, 0] - 0.5
    peak = bands[:, 0].argmax(1) - 40
    assert (moved == 0).any()
    assert torch.all((peak.sign() == moved.sign()) | (moved.abs() < 0.05))
    assert torch.all(pitch[:, 30] == 0), "what is unvoiced stays so"


def test_what_belongs_to_a_voice_is_varied_alike() -> None:
    rows = torch.zeros(4, 60, 82)
    generator = torch.Generator().manual_seed(3)
    voice = torch.tensor([0, 0, 1, 1])
    varied = augment(rows, torch.full((4,), 60), voice, generator)
    level = varied[..., :80].median(1).values.mean(1)
    assert abs(level[0] - level[1]) < 0.4
    assert not torch.equal(varied[0], varied[1])
    again = augment(rows, torch.full((4,), 60), voice, torch.Generator().manual_seed(3))
    assert torch.equal(varied, again)


def test_contrast_prefers_alike_labels_together() -> None:
    label = torch.tensor([0, 0, 1, 1])
    good = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    bad = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    assert contrast(good, label) < contrast(bad, label)
    assert float(contrast(good, torch.full((4,), -1))) == 0


def test_distillation_wants_the_teachers_direction() -> None:
    teacher = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    mean = teacher.mean(0)
    assert float(distil(teacher * 3, teacher, mean * 0)) == pytest.approx(0, abs=1e-5)
    assert float(distil(-teacher, teacher, mean * 0)) == pytest.approx(4, abs=1e-5)
    assert float(distil(teacher, teacher * 0, mean)) == 0


def test_the_adversary_pushes_back() -> None:
    adversary = SpeakerAdversary(4, 3)
    embedding = torch.randn(6, 4, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(adversary(embedding), torch.arange(6) % 3)
    (reversed_gradient,) = torch.autograd.grad(loss, embedding, retain_graph=True)
    plain = torch.nn.functional.cross_entropy(
        adversary.guess(embedding * 12.0), torch.arange(6) % 3
    )
    (gradient,) = torch.autograd.grad(plain, embedding)
    assert torch.allclose(reversed_gradient, -12.0 / 12.0 * gradient, atol=1e-5)


@pytest.mark.slow
def test_the_command_trains_and_resumes(toy: Path, tmp_path: Path) -> None:
    command = ("train", "listener", "--config", toy, "-o", tmp_path / "run", "--set", "steps=3")
    result = mien(*command, cache=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "toy: 0." in result.stdout or "toy: 1." in result.stdout
    assert "step 3" in result.stderr
    again = mien(*command, cache=tmp_path)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    assert mien(*command, "--resume", cache=tmp_path).returncode == 0
