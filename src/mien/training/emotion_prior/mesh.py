"""The mesh engine's emotion prior (arXiv 2504.18087): first the embedder, then bank and decoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.dicetalk.bank import BankSpec, MeshDice, MeshDiceSpec, perplexity
from mien.dicetalk.embedder import EmbedderSpec, EmotionEmbedder, Gaussian
from mien.media.output import whole_file
from mien.training.emotion_prior import balanced, drop_modalities, embedder_losses, fit_prototypes
from mien.training.emotion_prior.probes import probe, style_probe
from mien.training.onnx_export import write_onnx
from mien.training.trainer import Losses, Task, Trainer, read_net, save_weights
from mien.training.voice_faces import (
    Array,
    VoiceFaces,
    VoiceFacesConfig,
    load_voice_faces,
    minus_own_neutral,
)

AUDIO_GAIN: Final = 3.0
FACE_GAIN: Final = 0.12
"""Scale differences of embeddings, and of code units, to about one."""

_LONGEST_UNUSED: Final = 200
"""Steps after which an unused entry of the bank is replaced."""

_DRAWS: Final = 8


@dataclass(frozen=True, kw_only=True)
class EmotionPriorConfig(VoiceFacesConfig):
    """Settings of the training of embedder, bank and decoder.

    Attributes:
        width: of embedder, prior and tokens.
        layers: of cross-modal attention.
        tokens, entries: of the bank.
        contrast, adversary, divergence: weights of the embedder's losses beside cross entropy.
        missing: share of rows without the voice, and of rows without the face.
        discrimination, quantiser: weights beside the decoder's reconstruction.
        batch: recordings per step.
        decoder_steps: steps of bank and decoder; ``steps`` are the embedder's.
    """

    width: int = 64
    layers: int = 2
    tokens: int = 4
    entries: int = 24
    contrast: float = 0.3
    adversary: float = 0.3
    divergence: float = 0.01
    missing: float = 0.3
    discrimination: float = 0.1
    quantiser: float = 0.25
    batch: int = 128
    steps: int = 1200
    decoder_steps: int = 1200


@dataclass(frozen=True)
class Differences:
    """Voices and faces of recordings, relative to the same person's neutral ones.

    Attributes:
        audio: embedding and affect ``(N, views, A)``, times ``AUDIO_GAIN``.
        face: code units ``(N, 17)``, times ``FACE_GAIN``.
        emotion, person: labels ``(N,)``, indices of ``emotions`` and ``people``.
        train: ``bool (N,)``.
        emotions, people: names.
    """

    audio: Array
    face: Array
    emotion: npt.NDArray[np.int64]
    person: npt.NDArray[np.int64]
    train: npt.NDArray[np.bool_]
    emotions: tuple[str, ...]
    people: tuple[str, ...]

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Recordings to train on."""
        return np.flatnonzero(self.train)

    def draw(self, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw recordings to train on; every emotion has the same share."""
        return rng.choice(self.rows, count, p=balanced(self.emotion[self.rows]))


def differences_of(data: VoiceFaces) -> Differences:
    """Compute the differences of every recording whose face is known."""
    index = np.flatnonzero(data.seen)
    audio, face = data.voices[index].astype(np.float32), data.faces[index].astype(np.float32)
    speakers, labels = data.speaker[index], data.emotion[index]
    audio, face = (minus_own_neutral(v, speakers, labels == "neutral") for v in (audio, face))
    emotions, emotion = np.unique(labels, return_inverse=True)
    people, person = np.unique(speakers, return_inverse=True)
    return Differences(
        AUDIO_GAIN * audio,
        FACE_GAIN * face,
        emotion.astype(np.int64),
        person.astype(np.int64),
        data.train[index],
        tuple(emotions.tolist()),
        tuple(people.tolist()),
    )


def train_emotion_prior(
    config: EmotionPriorConfig, trainer: Trainer, data: Differences | None = None
) -> dict[str, float]:
    """Train both stages and write ``embedder.pt``, ``dice.pt`` and ``priors.npz``.

    The trainer's folder also keeps the embeddings of the voices for the next run. ``data`` is used
    instead of what the settings name.
    """
    if data is None:
        found = load_voice_faces(config, trainer.folder, trainer.progress, trainer.log)
        data = differences_of(found)
    first = EmbedderTask(config, data)
    raw, _ = trainer.fit(first, "embedder")
    embedder = without_style(raw, data)
    emotions = first.measure(embedder)
    # The decoder learns from people as they differ; the priors say how much.
    mean, spread = priors_of(raw, data)
    decoder, faces = trainer.fit(DecoderTask(config, data, raw), "decoder")
    save_weights(trainer.folder / "embedder.pt", embedder)
    save_weights(trainer.folder / "dice.pt", decoder)
    with whole_file(trainer.folder / "priors.npz") as part, part.open("wb") as file:
        np.savez(file, names=np.array(data.emotions), mean=mean, spread=spread)
    return emotions | faces


class EmbedderTask(Task[EmotionPriorConfig, EmotionEmbedder, dict[str, Tensor]]):
    """Stage 1: keep the emotion, remove the person."""

    def __init__(self, config: EmotionPriorConfig, data: Differences) -> None:
        super().__init__(config)
        self._data = data

    def build(self) -> EmotionEmbedder:
        """Create the embedder."""
        data = self._data
        return EmotionEmbedder(
            EmbedderSpec(
                audio=data.audio.shape[2],
                face=data.face.shape[1],
                emotions=len(data.emotions),
                people=len(data.people),
                dropout=0.3,
                **self.config.sizes(EmbedderSpec),
            )
        )

    def batch(self, step: int) -> dict[str, Tensor]:
        """Draw recordings in random views, with noise, some without voice or face."""
        config, data = self.config, self._data
        rng = np.random.default_rng([config.seed, 1, step])
        some = data.draw(config.batch, rng)
        view = rng.integers(data.audio.shape[1], size=len(some))
        audio = data.audio[some, view] + rng.normal(0, 0.15, data.audio[some, view].shape)
        face = data.face[some] * rng.uniform(0.7, 1.3, (len(some), 1))
        face = face + rng.normal(0, 0.12, face.shape)
        return {
            **_inputs(audio, face),
            **drop_modalities(len(some), config.missing, rng),
            "label": torch.from_numpy(data.emotion[some]),
            "person": torch.from_numpy(data.person[some]),
        }

    def losses(self, net: EmotionEmbedder, batch: dict[str, Tensor], step: int) -> Losses:
        """Compute the losses; the adversary has its full weight after a third of the steps."""
        config = self.config
        adversary = config.adversary * min(1.0, 3 * (step / self.steps))
        parts, _ = embedder_losses(net, batch, (config.contrast, adversary, config.divergence))
        return Losses(sum(parts.values(), torch.zeros((), device=self.device)), parts)

    def measure(self, net: EmotionEmbedder) -> dict[str, float]:
        """Return how well linear probes read emotion and person from the means."""
        data, train, test = self._data, self._data.rows, np.flatnonzero(~self._data.train)
        means = {which: _numbers(embed(net, data, rows).mean)
                 for which, rows in (("train", train), ("test", test))}  # fmt: skip
        emotion = probe(means["train"], data.emotion[train], means["test"], data.emotion[test])
        out = {"emotion by a linear probe": emotion}
        for who, rows, mean in (
            ("trained on", train, means["train"]), ("held out", test, means["test"]),
        ):  # fmt: skip
            labels = data.emotion[rows], data.person[rows]
            out[f"speakers {who} by style"] = style_probe(mean, *labels)
            out[f"speakers {who} by the face's style"] = style_probe(data.face[rows], *labels)
            out[f"chance for speakers {who}"] = 1 / len(np.unique(labels[1]))
        return out


class DecoderTask(Task[EmotionPriorConfig, MeshDice, npt.NDArray[np.int64]]):
    """Stage 2: bank and decoder, with the discrimination objective; the embedder is frozen."""

    def __init__(
        self, config: EmotionPriorConfig, data: Differences, embedder: EmotionEmbedder
    ) -> None:
        super().__init__(config, config.decoder_steps)
        self._data, self._embedder = data, embedder
        self._last: tuple[Tensor, Tensor]

    def build(self) -> MeshDice:
        """Create bank and decoder."""
        config = self.config
        torch.manual_seed(config.seed + 1)
        bank = BankSpec(
            prior=config.width,
            width=config.width,
            tokens=config.tokens,
            entries=config.entries,
            heads=4,
            feature=config.width,
            hidden=(config.width, config.width // 2),
            classes=len(self._data.emotions),
        )
        self._net = MeshDice(MeshDiceSpec(bank, self._data.face.shape[1]))
        self._unused = nn.Module()
        self._unused.register_buffer("steps", torch.zeros(config.entries, dtype=torch.long))
        return self._net

    def helpers(self) -> dict[str, nn.Module]:
        """Return for how many steps each entry has not been used."""
        return {"unused": self._unused}

    def batch(self, step: int) -> npt.NDArray[np.int64]:
        """Draw recordings."""
        return self._data.draw(
            self.config.batch, np.random.default_rng([self.config.seed, 2, step])
        )

    def losses(self, net: MeshDice, batch: npt.NDArray[np.int64], step: int) -> Losses:
        """Compute reconstruction, quantiser and discrimination losses of sampled priors."""
        data = self._data
        gaussian = embed(self._embedder, data, batch)
        prior = gaussian.sample(torch.randn_like(gaussian.mean))
        # Retrieval and attention alternate, so that both can be used later.
        decoded = net(prior, retrieval=step % 2 == 0)
        face = torch.from_numpy(data.face[batch]).to(self.device)
        emotion = torch.from_numpy(data.emotion[batch]).to(self.device)
        assert net.bank.classifier is not None  # noqa: S101 - feature is never 0 here
        parts = {
            "reconstruction": F.mse_loss(decoded.face, face),
            "quantiser": decoded.loss,
            "discrimination": F.cross_entropy(net.bank.classifier(decoded.feature), emotion),
        }
        self._last = decoded.codes.flatten(), prior
        return Losses.weighted(parts, self.config)

    def after_step(self) -> None:
        """Replace entries of the bank that have not been used for long."""
        unused = self._unused.get_buffer("steps")
        self._net.bank.codebook.replace_unused(unused, *self._last, _LONGEST_UNUSED)

    def measure(self, net: MeshDice) -> dict[str, float]:
        """Return how samples of the priors differ, and how many entries of the bank are used."""
        mean, spread = (
            torch.from_numpy(v).to(self.device) for v in priors_of(self._embedder, self._data)
        )
        faces = _numbers(net(mean).face) / FACE_GAIN
        noise = torch.randn(_DRAWS, *mean.shape, generator=torch.Generator().manual_seed(0))
        samples = (mean + noise.to(self.device) * spread).flatten(0, 1)
        drawn = _numbers(net(samples).face).reshape(_DRAWS, *faces.shape) / FACE_GAIN
        gaps = np.linalg.norm(drawn[:, :, None] - faces[None, None], axis=3)
        size = np.linalg.norm(faces, axis=1).mean()
        used = net.bank.codebook(embed(self._embedder, self._data, self._data.rows).mean).codes
        return {
            "samples nearest to their own emotion": float(
                (gaps.argmin(2) == np.arange(len(faces))).mean()
            ),
            "two samples differ by": float(
                np.linalg.norm(drawn[0] - drawn[1], axis=1).mean() / size
            ),
            "entries in use": perplexity(used, net.spec.bank.entries),
        }


@torch.no_grad()
def embed(
    net: EmotionEmbedder,
    data: Differences,
    rows: npt.NDArray[np.int64],
    *,
    without: Literal["audio", "face"] | None = None,
) -> Gaussian:
    """Embed recordings, voice (first view) and face together unless ``without`` one of them."""
    device = next(net.parameters()).device
    inputs = _inputs(data.audio[rows, 0], data.face[rows])
    given = {name: None if name == without else v.to(device) for name, v in inputs.items()}
    out: Gaussian = net.eval()(**given)
    return out


def without_style(net: EmotionEmbedder, data: Differences) -> EmotionEmbedder:
    """Return a trained embedder with a mixture of emotions at its end (``fit_prototypes``)."""
    rows = data.rows
    seen = [embed(net, data, rows, without=without) for without in (None, "audio", "face")]
    both = Gaussian(*(torch.cat(part) for part in zip(*seen, strict=True)))
    return fit_prototypes(
        net, both, np.tile(data.emotion[rows], len(seen)), np.tile(data.person[rows], len(seen))
    )


def priors_of(net: EmotionEmbedder, data: Differences) -> tuple[Array, Array]:
    """Compute mean and spread of every emotion's prior, ``(emotions, width)`` each.

    All people trained on have the same weight. The spread is that of the recordings' means and of
    their Gaussians together.
    """
    rows = data.rows
    gaussian = embed(net, data, rows)
    mean, variance = _numbers(gaussian.mean), _numbers(gaussian.log_variance.exp())
    emotion, person = data.emotion[rows], data.person[rows]
    means, spreads = [], []
    for number in range(len(data.emotions)):
        own = emotion == number
        people = [mean[own & (person == one)].mean(0) for one in np.unique(person[own])]
        means.append(np.mean(people, 0))
        spreads.append(np.sqrt(mean[own].var(0) + variance[own].mean(0)))
    return np.stack(means).astype(np.float32), np.stack(spreads).astype(np.float32)


def face_tokens(face: Array) -> Array:
    """Turn action units ``(N, 17)`` into tokens ``(N, 17, 17)``, one per unit."""
    out = np.zeros((*face.shape, face.shape[1]), np.float32)
    units = np.arange(face.shape[1])
    out[:, units, units] = face
    return out


def load_decoder(path: Path) -> MeshDice:
    """Read the ``dice.pt`` of a training."""
    return read_net(
        path, lambda spec: MeshDice(MeshDiceSpec(BankSpec(**spec["bank"]), spec["units"]))
    )


class _Face(nn.Module):
    """Priors to changes in code units, through the attention over all entries of the bank."""

    def __init__(self, net: MeshDice) -> None:
        super().__init__()
        self.net = net

    def forward(self, prior: Tensor) -> Tensor:
        out: Tensor = self.net(prior).face / FACE_GAIN
        return out


def export_dice(run: Path, folder: Path) -> None:
    """Write a run's ``dice.onnx`` (prior ``(N, width)`` to face ``(N, 17)``) and ``dice.npz``."""
    net = load_decoder(run / "dice.pt")
    example, names = (torch.zeros(2, net.spec.bank.prior),), (["prior"], ["face"])
    write_onnx(_Face(net), example, folder / "dice.onnx", *names, half=True)
    with np.load(run / "priors.npz", allow_pickle=False) as stored:
        priors = {name: stored[name] for name in ("names", "mean", "spread")}
    with whole_file(folder / "dice.npz") as part, part.open("wb") as file:
        np.savez_compressed(file, **priors)


def _inputs(audio: npt.NDArray[Any], face: npt.NDArray[Any]) -> dict[str, Tensor]:
    return {
        "audio": torch.from_numpy(audio.astype(np.float32))[:, None],
        "face": torch.from_numpy(face_tokens(face.astype(np.float32))),
    }


def _numbers(values: Tensor) -> Array:
    out: Array = values.detach().cpu().numpy()
    return out
