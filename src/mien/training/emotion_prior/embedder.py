"""The svd engine's emotion embedder on frames of clips: stage 1, which DICE-Talk did not release.

The losses are mien's: cross entropy over 22 classes, contrast over other people, a speaker
adversary and divergence; and an anchor to the published priors where the published bank is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.datasets.mead import EMOTIONS, LEVELS, NEUTRAL, TEST_PEOPLE
from mien.datasets.svd_clips import CLASSES, CachedClip, find_clips
from mien.dicetalk.embedder import EmbedderSpec, EmotionEmbedder, Gaussian, save_embedder
from mien.errors import InputError
from mien.media.output import whole_file
from mien.training.config import TrainingConfig
from mien.training.emotion_prior import balanced, drop_modalities, embedder_losses, fit_prototypes
from mien.training.emotion_prior.probes import probe, style_probe
from mien.training.trainer import Losses, Task, Trainer

_ADVERSARY_RAMP: Final = 3
"""The adversary has its full weight after a third of the steps."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class EmbedderConfig(TrainingConfig):
    """Settings of the training of the svd engine's embedder.

    Attributes:
        features: folder of cached clips in MEAD's folders (``mien features --engine svd``).
        test: people held out.
        anchors: published priors (safetensors of the store) to stay near, or None.
        width, layers, heads, dropout: of the net.
        contrast, adversary, divergence, anchor: weights beside cross entropy.
        missing: share of rows without the voice, and of rows without the face.
        frames: frames of each modality per row.
        batch: clips per step.
    """

    features: Path
    test: tuple[str, ...] = TEST_PEOPLE
    anchors: Path | None = None
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


@dataclass(frozen=True, slots=True)
class Row:
    """A clip's voice ``(V, E)`` and face ``(T, D)``, its class and its person."""

    voice: Array
    face: Array
    label: int
    person: int


def train_embedder(config: EmbedderConfig, trainer: Trainer) -> dict[str, float]:
    """Train, writing ``embedder.safetensors`` and ``priors/EMOTION.npy``."""
    return trainer.fit(EmbedderTask(config))[1]


class EmbedderTask(Task[EmbedderConfig, EmotionEmbedder, dict[str, Tensor]]):
    """Trains the embedder; every class has the same share of the batches."""

    def __init__(self, config: EmbedderConfig) -> None:
        super().__init__(config)
        clips = [one for one in find_clips(config.features) if one.emotion]
        people = sorted({one.person for one in clips} - set(config.test))
        self._train = [_read(one, people) for one in clips if one.person in people]
        self._test = [_read(one, []) for one in clips if one.person in config.test]
        self._people = len(people)
        classes = {row.label for row in self._train}
        if len(classes) < 2 or len(people) < 2:
            raise InputError(
                f"{config.features} must have two emotions and two people to train on, in MEAD's "
                f"folders; it has {len(classes)} and {len(people)}."
            )
        self._odds = balanced(np.array([row.label for row in self._train]))

    def build(self) -> EmotionEmbedder:
        """Create the net for the sizes of the features."""
        example = self._train[0]
        self._anchors = _anchors(self.config)
        return EmotionEmbedder(
            EmbedderSpec(
                audio=example.voice.shape[1],
                face=example.face.shape[1],
                emotions=CLASSES,
                people=self._people,
                **self.config.sizes(EmbedderSpec),
            )
        )

    def batch(self, step: int) -> dict[str, Tensor]:
        """Draw clips and frames of them, some without voice or face."""
        config, rng = self.config, self.rng(step)
        some = [self._train[i] for i in rng.choice(len(self._train), config.batch, p=self._odds)]
        kept = drop_modalities(len(some), config.missing, rng)
        return {
            **kept,
            "audio": self._frames([row.voice for row in some], rng),
            "face": self._frames([row.face for row in some], rng),
            "label": torch.tensor([row.label for row in some]),
            "person": torch.tensor([row.person for row in some]),
        }

    def losses(self, net: EmotionEmbedder, batch: dict[str, Tensor], step: int) -> Losses:
        """Compute the weighted losses."""
        config = self.config
        adversary = config.adversary * min(1.0, _ADVERSARY_RAMP * step / self.steps)
        parts, gaussian = embedder_losses(
            net, batch, (config.contrast, adversary, config.divergence)
        )
        if self._anchors is not None:
            anchors = self._anchors.to(self.device)[_emotion_of(batch["label"])]
            parts["anchor"] = config.anchor * F.mse_loss(gaussian.mean, anchors)
        return Losses(sum(parts.values(), torch.zeros((), device=self.device)), parts)

    def measure(self, net: EmotionEmbedder) -> dict[str, float]:
        """Return how well probes read the class of people held out, and people by their style."""
        net = self._without_style(net)
        (train, labels), (test, wanted) = (
            (self._means(net, rows), np.array([row.label for row in rows]))
            for rows in (self._train, self._test)
        )
        people = np.array([row.person for row in self._train])
        out = {"speakers trained on by style": style_probe(train, labels, people)}
        if self._test:
            out["class, people held out"] = probe(train, labels, test, wanted)
        return out

    def _without_style(self, net: EmotionEmbedder) -> EmotionEmbedder:
        """Return the net with a mixture of classes at its end."""
        rows = self._train
        seen = Gaussian(
            *(torch.cat(part) for part in zip(*(embed(net, r) for r in rows), strict=True))
        )
        labels, people = (np.array([getattr(r, n) for r in rows]) for n in ("label", "person"))
        return fit_prototypes(net, seen, labels, people)

    def _means(self, net: EmotionEmbedder, rows: Sequence[Row]) -> Array:
        return np.array([embed(net, row).mean[0].cpu().numpy() for row in rows])

    def export(self, net: EmotionEmbedder, folder: Path) -> None:
        """Write the net and, per emotion, the mean over people at its strongest level."""
        net = self._without_style(net)
        save_embedder(net, folder / "embedder.safetensors")
        (folder / "priors").mkdir(exist_ok=True)
        for emotion, name in enumerate(EMOTIONS):
            own = [r for r in self._train if int(_emotion_of(torch.tensor(r.label))) == emotion]
            if not own:
                continue
            top = max(row.label for row in own)
            means: dict[int, list[Array]] = {}
            for row in own:
                if row.label == top:
                    means.setdefault(row.person, []).append(embed(net, row).mean[0].cpu().numpy())
            prior = np.mean([np.mean(values, 0) for values in means.values()], 0)
            path = folder / "priors" / f"{name}.npy"
            with whole_file(path) as part, part.open("wb") as file:
                np.save(file, prior.astype(np.float32))

    def _frames(self, values: list[Array], rng: np.random.Generator) -> Tensor:
        """Random frames of each clip, in order, ``(B, frames, D)``."""
        count = self.config.frames
        picked = [one[np.sort(rng.integers(len(one), size=count))] for one in values]
        return torch.from_numpy(np.stack(picked))


@torch.no_grad()
def embed(net: EmotionEmbedder, row: Row) -> Gaussian:
    """Embed a whole clip, voice and face together."""
    device = next(net.parameters()).device
    out: Gaussian = net(*(torch.from_numpy(v)[None].to(device) for v in (row.voice, row.face)))
    return out


def _read(one: CachedClip, people: Sequence[str]) -> Row:
    person = people.index(one.person) if one.person in people else -1
    voice, face = (one.read(name).astype(np.float32) for name in ("voice", "face"))
    return Row(voice, face, one.label, person)


def _emotion_of(label: Tensor) -> Tensor:
    """Index in ``EMOTIONS`` of classes."""
    others = [i for i, name in enumerate(EMOTIONS) if name != NEUTRAL]
    table = [EMOTIONS.index(NEUTRAL)] + [i for i in others for _ in range(LEVELS)]
    return torch.tensor(table, device=label.device)[label]


def _anchors(config: EmbedderConfig) -> Tensor | None:
    """Published priors ``(8, width)`` in the order of ``EMOTIONS``."""
    if config.anchors is None:
        return None
    from mien.weights.convert import load

    known = load(config.anchors)[0]
    missing = [name for name in EMOTIONS if name not in known]
    if missing:
        raise InputError(f"{config.anchors} lacks the priors of {', '.join(missing)}.")
    size = len(known[NEUTRAL])
    if size != config.width:
        raise InputError(
            f"The priors of {config.anchors} have {size} numbers; the width is {config.width}."
        )
    return torch.stack([known[name].float() for name in EMOTIONS])
