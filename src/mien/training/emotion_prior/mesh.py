"""Train embedder, then bank and decoder; measure what can be read from the priors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.dicetalk.bank import BankSpec, MeshDice, MeshDiceSpec, perplexity
from mien.dicetalk.embedder import EmbedderSpec, EmotionEmbedder, Gaussian, contrast, reverse
from mien.training.checkpoint import save_weights
from mien.training.connector.config import ConnectorConfig
from mien.training.connector.voices import load_pairs
from mien.training.emotion_prior.config import DiceConfig
from mien.training.emotion_prior.material import FACE_GAIN, Array, Felt, face_tokens, felt_of
from mien.training.schedule import warmed_cosine
from mien.utils.device import training_device

Say = Callable[[str], None]

_WARM_UP = 50


def train_dice(
    config: DiceConfig,
    folder: Path,
    *,
    say: Say | None = None,
    progress: Callable[[int, int], None] | None = None,
    felt: Felt | None = None,
) -> dict[str, float]:
    """Train both stages, writing ``embedder.pt``, ``dice.pt`` and ``priors.npz``.

    Args:
        config: settings.
        folder: where to; what the listener heard is kept there for the next run.
        say: gets lines worth reading.
        progress: called with (steps done, steps).
        felt: data at hand, instead of what the settings name.

    Returns:
        Measures on people held out.
    """
    say = say or (lambda _: None)
    folder.mkdir(parents=True, exist_ok=True)
    if felt is None:
        source = ConnectorConfig(config.manifest, config.action_units, views=config.views)
        pairs, missing = load_pairs(source, folder, progress)
        for path in missing:
            say(f"left out, missing or damaged: {path}")
        felt = felt_of(pairs)
    total = config.steps + config.decoder_steps
    device = training_device(config.device)

    def step(done: int) -> None:
        if progress is not None:
            progress(done, total)

    embedder = train_embedder(config, felt, device, step)
    priors = priors_of(embedder, felt, device)
    dice = train_decoder(config, felt, embedder, device, lambda done: step(config.steps + done))
    scores = measure(embedder, dice, felt, priors, device)
    say(", ".join(f"{name} {value:.3f}" for name, value in scores.items()))
    save_weights(folder / "embedder.pt", embedder)
    save_weights(folder / "dice.pt", dice)
    np.savez(folder / "priors.npz", names=np.array(felt.emotions), mean=priors[0], spread=priors[1])
    (folder / "scores.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")
    return scores


def _rate(config: DiceConfig, done: int, steps: int) -> float:
    return config.learning_rate * warmed_cosine(done, steps, _WARM_UP)


def train_embedder(
    config: DiceConfig, felt: Felt, device: torch.device, step: Callable[[int], None]
) -> EmotionEmbedder:
    """Stage 1: keep the emotion, drop the person."""
    torch.manual_seed(config.seed)
    spec = EmbedderSpec(
        audio=felt.audio.shape[2],
        face=felt.face.shape[1],
        width=config.width,
        layers=config.layers,
        emotions=len(felt.emotions),
        people=len(felt.people),
        dropout=0.3,
    )
    net = EmotionEmbedder(spec).to(device)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=config.weight_decay)
    rows = np.flatnonzero(felt.train)
    odds = _even(felt.emotion[rows])
    for done in range(config.steps):
        rng = np.random.default_rng([config.seed, 1, done])
        torch.manual_seed(config.seed * 1_000_003 + done)
        for group in optimiser.param_groups:
            group["lr"] = _rate(config, done, config.steps)
        some = rng.choice(rows, config.batch, p=odds)
        losses = _embedder_losses(config, net, felt, some, rng, device, done / config.steps)
        total = sum(losses.values(), torch.zeros((), device=device))
        optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step(done + 1)
    return net.eval()


def _embedder_losses(
    config: DiceConfig,
    net: EmotionEmbedder,
    felt: Felt,
    some: np.ndarray,
    rng: np.random.Generator,
    device: torch.device,
    progress: float,
) -> dict[str, Tensor]:
    net.train()
    view = rng.integers(felt.audio.shape[1], size=len(some))
    audio = felt.audio[some, view] + rng.normal(0, 0.15, felt.audio[some, view].shape)
    face = felt.face[some] * rng.uniform(0.7, 1.3, (len(some), 1))
    face = face + rng.normal(0, 0.12, face.shape)
    lost = rng.random(len(some))
    keep_audio = torch.from_numpy(lost >= config.missing).to(device)
    keep_face = torch.from_numpy((lost < config.missing) | (lost >= 2 * config.missing)).to(device)
    gaussian = net(*_inputs(audio, face, device), keep_audio, keep_face)
    emotion = torch.from_numpy(felt.emotion[some]).to(device)
    person = torch.from_numpy(felt.person[some]).to(device)
    drawn = gaussian.sample(torch.randn_like(gaussian.mean))
    weight = config.adversary * min(1.0, 3 * progress)
    return {
        "emotion": F.cross_entropy(net.emotion(drawn), emotion, label_smoothing=0.05),
        "contrast": config.contrast * contrast(gaussian.mean, emotion, person),
        "person": F.cross_entropy(net.person(reverse(gaussian.mean, weight)), person),
        "divergence": config.divergence * gaussian.divergence(),
    }


def _inputs(audio: Array, face: Array, device: torch.device) -> tuple[Tensor, Tensor]:
    heard = torch.from_numpy(audio.astype(np.float32))[:, None].to(device)
    return heard, torch.from_numpy(face_tokens(face.astype(np.float32))).to(device)


def _even(labels: np.ndarray) -> np.ndarray:
    counts = np.bincount(labels)
    odds: np.ndarray = 1 / counts[labels]
    return odds / odds.sum()


@torch.no_grad()
def embed(net: EmotionEmbedder, felt: Felt, rows: np.ndarray, device: torch.device) -> Gaussian:
    """Gaussians of recordings, voice and face together, first view."""
    net.eval()
    out: Gaussian = net(*_inputs(felt.audio[rows, 0], felt.face[rows], device))
    return out


def priors_of(net: EmotionEmbedder, felt: Felt, device: torch.device) -> tuple[Array, Array]:
    """Mean and spread of every emotion over the people trained on, ``(emotions, width)`` each.

    People count alike; the spread is that of people's means and of their Gaussians together.
    """
    rows = np.flatnonzero(felt.train)
    found = embed(net, felt, rows, device)
    mean, variance = found.mean.cpu().numpy(), found.log_variance.exp().cpu().numpy()
    means, spreads = [], []
    for emotion in range(len(felt.emotions)):
        own = felt.emotion[rows] == emotion
        people = [
            mean[own & (felt.person[rows] == p)].mean(0) for p in np.unique(felt.person[rows][own])
        ]
        means.append(np.mean(people, 0))
        spreads.append(np.sqrt(mean[own].var(0) + variance[own].mean(0)))
    return np.stack(means).astype(np.float32), np.stack(spreads).astype(np.float32)


def train_decoder(
    config: DiceConfig,
    felt: Felt,
    embedder: EmotionEmbedder,
    device: torch.device,
    step: Callable[[int], None],
) -> MeshDice:
    """Stage 2: bank and decoder, with the discrimination objective; the embedder stays."""
    torch.manual_seed(config.seed + 1)
    bank = BankSpec(
        prior=config.width,
        width=config.width,
        tokens=config.tokens,
        entries=config.entries,
        heads=4,
        feature=config.width,
        hidden=(config.width, config.width // 2),
        classes=len(felt.emotions),
    )
    net = MeshDice(MeshDiceSpec(bank, felt.face.shape[1])).to(device)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=config.weight_decay)
    rows = np.flatnonzero(felt.train)
    odds = _even(felt.emotion[rows])
    unused = np.zeros(config.entries, np.int64)
    for done in range(config.decoder_steps):
        rng = np.random.default_rng([config.seed, 2, done])
        torch.manual_seed(config.seed * 1_000_003 + done)
        for group in optimiser.param_groups:
            group["lr"] = _rate(config, done, config.decoder_steps)
        some = rng.choice(rows, config.batch, p=odds)
        gaussian = embed(embedder, felt, some, device)
        prior = gaussian.sample(torch.randn_like(gaussian.mean))
        net.train()
        # Both ways of asking the bank are used, so that both can be.
        found = net(prior, retrieval=done % 2 == 0)
        target = torch.from_numpy(felt.face[some]).to(device)
        emotion = torch.from_numpy(felt.emotion[some]).to(device)
        assert net.bank.classifier is not None  # noqa: S101 - feature is never 0 here
        told = net.bank.classifier(found.feature)
        total = (
            F.mse_loss(found.face, target)
            + config.quantiser * found.loss
            + config.discrimination * F.cross_entropy(told, emotion)
        )
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        _restart(net, prior, found.codes, unused)
        step(done + 1)
    return net.eval()


_LONGEST_UNUSED = 200


@torch.no_grad()
def _restart(net: MeshDice, prior: Tensor, codes: Tensor, unused: np.ndarray) -> None:
    """Entries that nobody asked for in a while go where a prior is."""
    used = np.bincount(codes.cpu().numpy().ravel(), minlength=len(unused)) > 0
    unused[:] = np.where(used, 0, unused + 1)
    for entry in np.flatnonzero(unused > _LONGEST_UNUSED).tolist():
        row = prior[entry % len(prior)]
        net.bank.codebook.codebook.weight[entry] = net.bank.codebook.fc(row)
        unused[entry] = 0


@torch.no_grad()
def measure(
    embedder: EmotionEmbedder,
    dice: MeshDice,
    felt: Felt,
    priors: tuple[Array, Array],
    device: torch.device,
) -> dict[str, float]:
    """What a linear probe reads from the means, and what the decoder makes of the priors."""
    rows = {part: np.flatnonzero(felt.train == part) for part in (True, False)}
    means = {
        part: embed(embedder, felt, index, device).mean.cpu().numpy()
        for part, index in rows.items()
    }
    emotion = probe(means[True], felt.emotion[rows[True]], means[False], felt.emotion[rows[False]])
    # People are read among those trained on: half of their clips teach, half are asked.
    half = np.random.default_rng(0).permutation(len(rows[True]))
    one, two = half[::2], half[1::2]
    person = felt.person[rows[True]]
    speaker = probe(means[True][one], person[one], means[True][two], person[two])
    raw = felt.face[rows[True]]
    before = probe(raw[one], person[one], raw[two], person[two])
    chance = 1 / len(np.unique(person))
    mean, spread = (torch.from_numpy(v).to(device) for v in priors)
    faces = dice(mean).face.cpu().numpy() / FACE_GAIN
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(8, *mean.shape, generator=rng).to(device)
    sampled = (mean + noise * spread).flatten(0, 1)
    drawn = dice(sampled).face.cpu().numpy().reshape(8, *faces.shape) / FACE_GAIN
    gaps = np.linalg.norm(drawn[:, :, None] - faces[None, None], axis=3)
    stays = float((gaps.argmin(2) == np.arange(len(faces))).mean())
    differ = float(
        np.linalg.norm(drawn[0] - drawn[1], axis=1).mean() / np.linalg.norm(faces, axis=1).mean()
    )
    codes = dice.bank.codebook(torch.from_numpy(means[True]).to(device)).codes
    return {
        "emotion by a linear probe": emotion,
        "speaker by a linear probe": speaker,
        "speaker from the face alone": before,
        "chance for speakers": chance,
        "samples nearest to their own emotion": stays,
        "two samples differ by": differ,
        "entries in use": perplexity(codes, dice.spec.bank.entries),
    }


def probe(train: Array, labels: np.ndarray, test: Array, wanted: np.ndarray) -> float:
    """Accuracy of a ridge classifier on standardised features."""
    mean, size = train.mean(0), train.std(0) + 1e-6
    a = np.c_[(train - mean) / size, np.ones(len(train))]
    b = np.c_[(test - mean) / size, np.ones(len(test))]
    targets = np.eye(labels.max() + 1)[labels]
    ridge = 1e-2 * len(a) * np.eye(a.shape[1])
    weights = np.linalg.solve(a.T @ a + ridge, a.T @ targets)
    return float(((b @ weights).argmax(1) == wanted).mean())
