"""Stage 1 of the published system, which nobody released: the embedder on frames of clips.

The losses are those of dicetalk.md section 8 (ours): cross entropy over 22 classes, contrast over
other people, an adversary, divergence; and an anchor to the published priors where the bank that
will hear this embedder is the published one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.datasets.mead import EMOTIONS, LEVELS, NEUTRAL, TEST_PEOPLE
from mien.datasets.svd_clips import CLASSES, CachedClip, find_clips, load_arrays
from mien.dicetalk.embedder import (
    EmbedderSpec,
    EmotionEmbedder,
    Gaussian,
    contrast,
    reverse,
    save_embedder,
)
from mien.errors import InputError
from mien.media.output import whole_file
from mien.training.checkpoint import load_checkpoint, save_checkpoint
from mien.training.config import read_settings
from mien.training.schedule import warmed_cosine
from mien.utils.device import training_device

_WARM_UP: Final = 50
_RAMP: Final = 3
Array = Any


@dataclass(frozen=True, slots=True)
class EmbedderConfig:
    """Everything that decides a run.

    Attributes:
        features: folder of cached clips in MEAD's layout.
        test: people held out.
        anchors: published priors (safetensors of the store) to stay near; none when empty.
        width, layers, heads, dropout: of the net.
        contrast, adversary, divergence, anchor: weights beside cross entropy.
        missing: share of rows without the voice, and of rows without the face.
        frames: of each modality that a row sees.
        batch, steps, learning_rate, weight_decay: AdamW, warm-up, cosine to nothing.
        measure_every: steps between measures and checkpoints.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: makes runs repeatable.
    """

    features: str
    test: tuple[str, ...] = TEST_PEOPLE
    anchors: str = ""
    width: int = 256
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1
    contrast: float = 0.3
    adversary: float = 0.3
    divergence: float = 0.005
    anchor: float = 1.0
    missing: float = 0.3
    frames: int = 32
    batch: int = 64
    steps: int = 20_000
    learning_rate: float = 3e-4
    weight_decay: float = 0.05
    measure_every: int = 500
    device: str = "auto"
    seed: int = 0

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a TOML file; paths in it are relative to it.

        Raises:
            InputError: for a missing file, unknown settings or values that cannot be used.
        """
        data = read_settings(Path(path), cls, needed=("features",), paths=("features", "anchors"))
        if "test" in data:
            data["test"] = tuple(data["test"])
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Row:
    """A clip's voice ``(V, E)`` and face ``(T, D)``, its class and its person."""

    voice: Array
    face: Array
    label: int
    person: int


def train_sequences(
    config: EmbedderConfig,
    folder: Path,
    *,
    resume: bool = False,
    say: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Train, writing ``checkpoint.pt``, ``embedder.safetensors`` and ``priors/EMOTION.npy``.

    Returns:
        Accuracy of class and person on people held out (the person's: on those trained on).

    Raises:
        InputError: for settings or data that cannot be used.
    """
    say = say or (lambda _: None)
    folder.mkdir(parents=True, exist_ok=True)
    labels = [one for one in find_clips(Path(config.features)) if one.emotion]
    people = sorted({one.person for one in labels} - set(config.test))
    rows = [_row(one, people) for one in labels if one.person in people]
    held = [_row(one, []) for one in labels if one.person in config.test]
    if len({row.label for row in rows}) < 2 or len(people) < 2:
        raise InputError(
            f"{config.features} must show two feelings and two people to train on; it has "
            f"{len({row.label for row in rows})} and {len(people)}. It must be in MEAD's layout."
        )
    run = _Run(config, rows, len(people))
    if resume:
        run.done = load_checkpoint(folder, config, run.state(), run.device)
    while run.done < config.steps:
        losses = run.step()
        if progress is not None:
            progress(run.done, config.steps)
        if run.done % config.measure_every == 0 or run.done == config.steps:
            scores = run.scores(rows, held)
            both = {**losses, **scores}
            say(f"step {run.done}: " + ", ".join(f"{k} {v:.3f}" for k, v in both.items()))
            save_checkpoint(folder, config, run.done, run.state())
    save_embedder(run.net, folder / "embedder.safetensors")
    _save_priors(run, rows, folder / "priors")
    return run.scores(rows, held)


def _row(one: CachedClip, people: Sequence[str]) -> Row:
    parts = load_arrays(one.path, "voice", "face")
    person = people.index(one.person) if one.person in people else -1
    voice, face = (parts[name].astype(np.float32) for name in ("voice", "face"))
    return Row(voice, face, one.label, person)


class _Run:
    """Net and optimiser. Randomness depends on seed and step alone: resuming is exact."""

    def __init__(self, config: EmbedderConfig, rows: list[Row], people: int) -> None:
        self.config, self._rows = config, rows
        self.device = training_device(config.device)
        torch.manual_seed(config.seed)
        spec = EmbedderSpec(
            audio=rows[0].voice.shape[1],
            face=rows[0].face.shape[1],
            width=config.width,
            heads=config.heads,
            layers=config.layers,
            dropout=config.dropout,
            emotions=CLASSES,
            people=people,
        )
        self.net = EmotionEmbedder(spec).to(self.device)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), weight_decay=config.weight_decay)
        self.anchors = _anchors(config, self.device)
        counts = np.bincount([row.label for row in rows], minlength=CLASSES)
        odds = np.array([1 / counts[row.label] for row in rows])
        self._odds = odds / odds.sum()
        self.done = 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"net": self.net, "optimiser": self.optimiser}

    def step(self) -> dict[str, float]:
        """One update; the losses."""
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + self.done)
        rng = np.random.default_rng([config.seed, self.done])
        share = warmed_cosine(self.done, config.steps, _WARM_UP)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * share
        some = [self._rows[i] for i in rng.choice(len(self._rows), config.batch, p=self._odds)]
        self.net.train()
        losses = self._losses(some, rng)
        total = sum(losses.values(), torch.zeros((), device=self.device))
        self.optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.done += 1
        return {name: float(value.detach()) for name, value in losses.items()}

    def _losses(self, some: list[Row], rng: np.random.Generator) -> dict[str, Tensor]:
        config, net = self.config, self.net
        lost = rng.random(len(some))
        keep_voice = torch.from_numpy(lost >= config.missing).to(self.device)
        seen = (lost < config.missing) | (lost >= 2 * config.missing)
        keep_face = torch.from_numpy(seen).to(self.device)
        voice = self._frames([row.voice for row in some], rng)
        face = self._frames([row.face for row in some], rng)
        gaussian = net(voice, face, keep_voice, keep_face)
        label = torch.tensor([row.label for row in some], device=self.device)
        person = torch.tensor([row.person for row in some], device=self.device)
        drawn = gaussian.sample(torch.randn_like(gaussian.mean))
        weight = config.adversary * min(1.0, _RAMP * self.done / config.steps)
        losses = {
            "emotion": F.cross_entropy(net.emotion(drawn), label, label_smoothing=0.05),
            "contrast": config.contrast * contrast(gaussian.mean, label, person),
            "person": F.cross_entropy(net.person(reverse(gaussian.mean, weight)), person),
            "divergence": config.divergence * gaussian.divergence(),
        }
        if self.anchors is not None:
            near = self.anchors[_emotion_of(label)]
            losses["anchor"] = config.anchor * F.mse_loss(gaussian.mean, near)
        return losses

    def _frames(self, values: list[Array], rng: np.random.Generator) -> Tensor:
        """Some frames of each, in order, ``(B, frames, D)``."""
        count = self.config.frames
        picked = [one[np.sort(rng.integers(len(one), size=count))] for one in values]
        return torch.from_numpy(np.stack(picked)).to(self.device)

    @torch.no_grad()
    def embed(self, row: Row) -> Gaussian:
        """A clip's Gaussian, voice and face together."""
        self.net.eval()
        voice, face = (torch.from_numpy(v)[None].to(self.device) for v in (row.voice, row.face))
        out: Gaussian = self.net(voice, face)
        return out

    def scores(self, rows: list[Row], held: list[Row]) -> dict[str, float]:
        """How well class and person are told."""
        out = {}
        if held:
            means = [(self.embed(row).mean, row.label) for row in held]
            right = [int(self.net.emotion(mean).argmax()) == label for mean, label in means]
            out["class, people held out"] = float(np.mean(right))
        told = [int(self.net.person(self.embed(row).mean).argmax()) == row.person for row in rows]
        out["person, by the adversary"] = float(np.mean(told))
        return out


def _emotion_of(label: Tensor) -> Tensor:
    """Index in ``EMOTIONS`` of classes."""
    others = [i for i, name in enumerate(EMOTIONS) if name != NEUTRAL]
    table = [EMOTIONS.index(NEUTRAL)] + [i for i in others for _ in range(LEVELS)]
    return torch.tensor(table, device=label.device)[label]


def _anchors(config: EmbedderConfig, device: torch.device) -> Tensor | None:
    """Published priors ``(8, width)`` in the order of ``EMOTIONS``."""
    if not config.anchors:
        return None
    from mien.weights.convert import load

    known = load(Path(config.anchors))[0]
    missing = [name for name in EMOTIONS if name not in known]
    if missing or len(known["neutral"]) != config.width:
        raise InputError(
            f"{config.anchors} must hold priors of {config.width} numbers for every emotion; "
            f"{', '.join(missing) or 'their size is ' + str(len(known['neutral']))}."
        )
    return torch.stack([known[name].float() for name in EMOTIONS]).to(device)


def _save_priors(run: _Run, rows: list[Row], folder: Path) -> None:
    """The mean over people of every emotion's means, at its strongest level there is."""
    folder.mkdir(exist_ok=True)
    for emotion, name in enumerate(EMOTIONS):
        own = [row for row in rows if int(_emotion_of(torch.tensor(row.label))) == emotion]
        if not own:
            continue
        top = max(row.label for row in own)
        means: dict[int, list[Array]] = {}
        for row in own:
            if row.label == top:
                means.setdefault(row.person, []).append(run.embed(row).mean[0].cpu().numpy())
        prior = np.mean([np.mean(values, 0) for values in means.values()], 0)
        with whole_file(folder / f"{name}.npy") as part, part.open("wb") as file:
            np.save(file, prior.astype(np.float32))
