"""Emotion bank, embedder, and the training of the mesh decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mien.datasets.manifest import read_manifest
from mien.dicetalk.bank import BankSpec, EmotionBank, perplexity
from mien.dicetalk.embedder import EmbedderSpec, EmotionEmbedder, Gaussian, contrast, reverse
from mien.errors import InputError
from mien.face.facs import OPENFACE_COLUMNS
from mien.training.emotion_prior.mesh import (
    Differences,
    EmotionPriorConfig,
    export_dice,
    face_tokens,
    load_decoder,
    train_emotion_prior,
)
from mien.training.emotion_prior.probes import probe, style_probe
from mien.training.trainer import Trainer

from ..command import mien, trains_and_resumes
from ..speech.voices import write_corpus

SMALL = BankSpec(
    prior=8, width=16, tokens=3, entries=5, heads=4, feature=12, hidden=(8, 8), classes=4
)


def test_bank_attends_to_the_nearest_entry_or_to_all() -> None:
    torch.manual_seed(0)
    bank = EmotionBank(SMALL).eval()
    priors = torch.randn(6, 8)
    one, every = bank(priors, retrieval=True), bank(priors)
    assert one.tokens.shape == every.tokens.shape == (6, 3, 16)
    assert not torch.allclose(one.tokens, every.tokens)
    assert every.loss == 0
    assert one.loss > 0
    rows = bank.codebook.codebook.weight
    gaps = torch.cdist(bank.codebook.fc(priors), rows)
    assert torch.equal(one.quantised.codes, gaps.argmin(1))
    single = torch.cat([bank(prior[None]).tokens for prior in priors])
    assert torch.allclose(single, every.tokens, atol=1e-6)


def test_a_dropped_prior_equals_a_zero_prior() -> None:
    torch.manual_seed(0)
    bank = EmotionBank(SMALL).eval()
    priors = torch.randn(2, 8)
    dropped = torch.tensor([True, False])
    tokens = bank(priors, dropped=dropped).tokens
    assert torch.allclose(tokens[0], bank(torch.zeros(1, 8)).tokens[0], atol=1e-6)
    assert torch.allclose(tokens[1], bank(priors).tokens[1], atol=1e-6)


def test_gradients_reach_the_prior_through_the_quantiser() -> None:
    bank = EmotionBank(SMALL)
    prior = torch.randn(3, 8, requires_grad=True)
    bank(prior, retrieval=True).tokens.square().sum().backward()
    assert prior.grad is not None
    assert prior.grad.abs().sum() > 0


def test_perplexity_is_the_number_of_entries_in_use() -> None:
    assert perplexity(torch.tensor([0, 1, 2, 3]), 8) == pytest.approx(4)
    assert perplexity(torch.tensor([2, 2, 2]), 8) == pytest.approx(1)


def test_embedder_accepts_either_modality() -> None:
    torch.manual_seed(0)
    net = EmotionEmbedder(EmbedderSpec(6, 5, width=16, heads=2, emotions=4, people=3)).eval()
    audio, face = torch.randn(4, 7, 6), torch.randn(4, 2, 5)
    found = [net(audio, face), net(audio, None), net(None, face)]
    assert all(g.mean.shape == g.log_variance.shape == (4, 16) for g in found)
    assert not torch.allclose(found[0].mean, found[1].mean)
    none = net(audio, face, keep_face=torch.zeros(4, dtype=torch.bool))
    other = net(audio, torch.randn(4, 2, 5), keep_face=torch.zeros(4, dtype=torch.bool))
    assert torch.allclose(none.mean, other.mean), "a dropped face has no effect"
    with pytest.raises(ValueError, match="voice or a face"):
        net(None, None)


def test_gaussian_samples_and_divergence() -> None:
    gaussian = Gaussian(torch.zeros(2, 3), torch.zeros(2, 3))
    assert gaussian.divergence() == pytest.approx(0)
    assert torch.equal(gaussian.sample(torch.ones(2, 3)), torch.ones(2, 3))
    assert Gaussian(torch.ones(2, 3), torch.zeros(2, 3)).divergence() == pytest.approx(0.5)


def test_gradient_reversal() -> None:
    x = torch.ones(3, requires_grad=True)
    reverse(x, 0.5).sum().backward()
    assert torch.equal(x.grad, torch.full((3,), -0.5))


def test_contrast_prefers_emotions_over_people() -> None:
    emotion, person = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    together = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]])
    by_person = torch.tensor([[1.0, 0], [0, 1], [1, 0.1], [0.1, 1]])
    assert contrast(together, emotion, person) < contrast(by_person, emotion, person)
    alone = contrast(together, emotion, torch.zeros(4, dtype=torch.long))
    assert alone == 0, "recordings of one person are not positives"


def toy(seed: int = 0) -> Differences:
    """Synthetic faces and voices: emotion plus person plus noise."""
    rng = np.random.default_rng(seed)
    emotions, people, each = ("angry", "happy", "neutral", "sad"), 6, 12
    shapes, identities = rng.normal(size=(4, 17)), rng.normal(size=(people, 17))
    tone, timbre = rng.normal(size=(4, 20)), rng.normal(size=(people, 20))
    emotion = np.tile(np.repeat(np.arange(4), each), people)
    person = np.repeat(np.arange(people), 4 * each)
    face = shapes[emotion] + 0.6 * identities[person] + 0.3 * rng.normal(size=(len(emotion), 17))
    audio = tone[emotion] + 0.6 * timbre[person] + 0.3 * rng.normal(size=(len(emotion), 20))
    return Differences(
        np.repeat(audio[:, None], 2, 1).astype(np.float32),
        face.astype(np.float32),
        emotion,
        person,
        person < 4,
        emotions,
        tuple(f"p{i}" for i in range(people)),
    )


def settings(**more: object) -> EmotionPriorConfig:
    small = {"width": 16, "tokens": 2, "entries": 6, "batch": 48, "steps": 150,
             "decoder_steps": 150, "learning_rate": 3e-3, "device": "cpu", **more}  # fmt: skip
    return EmotionPriorConfig(manifest=Path("m"), action_units=Path("a"), **small)  # type: ignore[arg-type]


@pytest.mark.slow
def test_training_keeps_the_emotion_and_drops_the_person(tmp_path: Path) -> None:
    scores = train_emotion_prior(settings(), Trainer(tmp_path / "a"), toy())
    assert scores["emotion by a linear probe"] > 0.8
    for who in ("trained on", "held out"):
        left = scores[f"speakers {who} by style"] - scores[f"chance for speakers {who}"]
        known = scores[f"speakers {who} by the face's style"] - scores[f"chance for speakers {who}"]
        assert left < 0.5 * known, scores
    assert scores["samples nearest to their own emotion"] > 0.8
    assert scores["two samples differ by"] > 0.002
    short = settings(steps=30, decoder_steps=30)
    one, two = (train_emotion_prior(short, Trainer(tmp_path / name), toy()) for name in "bc")
    assert one == two
    pytest.importorskip("onnx")
    from mien.weights.bundled import open_net

    out = tmp_path / "assets"
    out.mkdir()
    export_dice(tmp_path / "a", out)
    net = load_decoder(tmp_path / "a" / "dice.pt")
    priors = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    mine = open_net("dice.onnx", folder=out).run(None, {"prior": priors})[0]
    with torch.no_grad():
        wanted = net(torch.from_numpy(priors)).face.numpy()
    assert np.corrcoef(mine.ravel(), wanted.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("stop", [13, 33])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, stop: int) -> None:
    """Step 13 is in the first stage, step 33 in the second."""

    class StopError(Exception):
        pass

    count = 0

    def interrupt(_done: int, _steps: int) -> None:
        nonlocal count
        count += 1
        if count == stop:
            raise StopError

    config = settings(steps=20, decoder_steps=20, measure_every=10)
    train_emotion_prior(config, Trainer(tmp_path / "whole"), toy())
    with pytest.raises(StopError):
        train_emotion_prior(config, Trainer(tmp_path / "parts", progress=interrupt), toy())
    train_emotion_prior(config, Trainer(tmp_path / "parts", resume=True), toy())
    for name in ("embedder.pt", "dice.pt"):
        one, two = (
            torch.load(tmp_path / run / name, weights_only=True)["weights"]
            for run in ("whole", "parts")
        )
        assert all(torch.equal(one[key], two[key]) for key in one), name


def test_a_finished_run_is_not_overwritten(tmp_path: Path) -> None:
    config = settings(steps=2, decoder_steps=2)
    train_emotion_prior(config, Trainer(tmp_path), toy())
    with pytest.raises(InputError, match="--overwrite"):
        Trainer(tmp_path)
    with pytest.raises(InputError, match="other settings: entries"):
        train_emotion_prior(settings(steps=2, decoder_steps=2, entries=5),
                            Trainer(tmp_path, resume=True), toy())  # fmt: skip
    train_emotion_prior(config, Trainer(tmp_path, overwrite=True), toy())


def test_tokens_and_probes() -> None:
    tokens = face_tokens(np.array([[1.0, 2.0, 3.0]], np.float32))
    assert np.array_equal(tokens[0], np.diag([1.0, 2.0, 3.0]))
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=200)
    points = (np.eye(3)[labels] + 0.05 * rng.normal(size=(200, 3))).astype(np.float32)
    assert probe(points[:100], labels[:100], points[100:], labels[100:]) > 0.95
    person = rng.integers(3, size=200)
    styled = points + 0.8 * rng.normal(size=(3, points.shape[1]))[person]
    assert style_probe(styled, labels, person) > 0.8
    assert style_probe(points, labels, person) < 0.5, "chance is a third"
    assert style_probe(rng.normal(size=(3, 4))[labels], labels, person) < 0.5, "classes alone"


def test_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "d.toml"
    path.write_text('manifest = "m.csv"\naction_units = "a.csv"\nentries = 8\n')
    assert EmotionPriorConfig.load(path).entries == 8
    path.write_text("entries = 8\n")
    with pytest.raises(InputError, match="manifest"):
        EmotionPriorConfig.load(path)


def write_voices_and_faces(folder: Path) -> None:
    """A manifest of four people with two emotions, and a table of their action units."""
    write_corpus(folder, ["a", "b", "c", "d"], 2)
    rng = np.random.default_rng(0)
    lines = [",".join(["file", *OPENFACE_COLUMNS])]
    for item in read_manifest(folder / "manifest.csv"):
        units = rng.uniform(0, 1, len(OPENFACE_COLUMNS)) + 2 * (item.emotion == "happy")
        name = f"{item.path.parent.name}/{item.path.name}"
        lines.append(",".join([name, *(f"{unit:.3f}" for unit in units)]))
    (folder / "units.csv").write_text("\n".join(lines))


@pytest.mark.slow
@pytest.mark.parametrize("net", ["dice-mesh", "connector"])
def test_the_commands_train_on_recordings_and_resume(net: str, tmp_path: Path) -> None:
    write_voices_and_faces(tmp_path)
    config = tmp_path / "settings.toml"
    config.write_text(
        'manifest = "manifest.csv"\naction_units = "units.csv"\nviews = 2\nwidth = 64\n'
        "layers = 1\nbatch = 8\nsteps = 3\nmeasure_every = 2\n"
        + ("decoder_steps = 3\n" if net == "dice-mesh" else "")
    )
    command = ("train", net, "--config", config, "-o", tmp_path / "run")
    assert "step 3" in trains_and_resumes(*command, cache=tmp_path).stderr
    (tmp_path / "units.csv").unlink()
    missing = mien(*command, "--overwrite", cache=tmp_path)
    assert missing.returncode == 2
    assert "units.csv" in missing.stderr
