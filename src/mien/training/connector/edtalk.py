"""The published connector: EDTalk's expression coefficients and emotion2vec's embeddings of MEAD.

The people, sentences, pairs and losses are those of arXiv 2604.07786, section 3.4.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.cmet.connector import Connector, ConnectorSpec
from mien.cmet.losses import LossWeights
from mien.cmet.semantic import WINDOW
from mien.datasets.edtalk_features import Array, Recording, read_features
from mien.datasets.mead import EMOTIONS, NEUTRAL, TEST_PEOPLE, TRAIN_PEOPLE
from mien.errors import InputError
from mien.media.output import whole_file
from mien.training.config import TrainingConfig
from mien.training.connector.objective import both_ways
from mien.training.run import write_state
from mien.training.trainer import Losses, Task, Trainer
from mien.weights.convert import save

_AVERAGED: Final = 10
"""Recordings of an emotion that are averaged, voices and faces alike."""

_SECOND_STRIDE: Final = 7
_VOICE_STARTS: Final = 1 << 30
"""Where in the pools of voices an average begins, whatever their sizes: any place is as likely."""


@dataclass(frozen=True, kw_only=True)
class EDTalkConnectorConfig(TrainingConfig):
    """Settings of the published connector's training; the defaults are the published ones.

    Attributes:
        features: folder that ``mien features`` wrote.
        train, test: people; those of the paper by default.
        width, layers, heads, feed_forward, dropout: of the net.
        no_reference: share of pairs without the differences before the window; about 0.5 teaches
            what inference starts with.
        published_pairing: the released code's sign of the contrastive pairs.
        left_out: emotions that are not trained, as in the paper's tests with unseen emotions.
        one_direction: predict only the second emotion from the first, not the first from it.
        other_people: the second emotion's face is that of any person who shows it, not of the same.
        batch: pairs per step.
        loss: weights of the three losses.
    """

    features: Path
    train: tuple[str, ...] = TRAIN_PEOPLE
    test: tuple[str, ...] = TEST_PEOPLE
    width: int = 1024
    layers: int = 4
    heads: int = 4
    feed_forward: int = 1024
    dropout: float = 0.1
    no_reference: float = 0.0
    published_pairing: bool = True
    left_out: tuple[str, ...] = ()
    one_direction: bool = False
    other_people: bool = False
    batch: int = 128
    loss: LossWeights = field(default_factory=LossWeights)
    steps: int = 200_000
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    measure_every: int = 5000
    seed: int = 42

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = sorted(set(self.left_out) - set(EMOTIONS))
        if unknown:
            raise InputError(
                f"left_out has {', '.join(unknown)}; the emotions are {', '.join(EMOTIONS)}."
            )


def train_edtalk_connector(config: EDTalkConnectorConfig, trainer: Trainer) -> dict[str, float]:
    """Train, writing ``connector.safetensors`` for ``--connector``, and ``connector.pth``.

    The latter has the published form, for the authors' code.
    """
    return trainer.fit(EDTalkConnectorTask(config))[1]


class EDTalkConnectorTask(Task[EDTalkConnectorConfig, Connector, dict[str, Tensor]]):
    """Trains a connector at a constant learning rate."""

    clip_norm = None
    workers = 1

    def __init__(self, config: EDTalkConnectorConfig) -> None:
        super().__init__(config)
        recordings = read_features(config.features, (*config.train, *config.test))
        self._train = [one for one in recordings if one.person in config.train]
        if not self._train:
            raise InputError(f"None of {', '.join(config.train[:5])} … is in {config.features}.")
        seen = [one for one in self._train if one.emotion not in config.left_out]
        self._sampler = MeadSampler(
            seen, config.batch, config.no_reference, other_people=config.other_people
        )
        test = [one for one in recordings if one.person in config.test]
        self._test = MeadSampler(test, config.batch, 1.0) if test else None

    def build(self) -> Connector:
        """Create the net for the sizes of the features."""
        example, sizes = self._train[0], self.config.sizes(ConnectorSpec)
        expression, speech = example.expression.shape[1], len(example.voice)
        return Connector(ConnectorSpec(expression=expression, speech=speech, **sizes))

    def rate(self, step: int) -> float:
        """Return the full rate."""
        return 1.0

    def batch(self, step: int) -> dict[str, Tensor]:
        """Draw pairs."""
        return self._sampler.draw(self.rng(step))

    def losses(self, net: Connector, batch: dict[str, Tensor], step: int) -> Losses:
        """Compute the published losses."""
        config = self.config
        return both_ways(
            net,
            **batch,
            weights=config.loss,
            published_pairing=config.published_pairing,
            one_direction=config.one_direction,
        )

    def measure(self, net: Connector) -> dict[str, float]:
        """Return cosine and error of the directions of people held out, without a reference."""
        if self._test is None:
            return {}
        drawn = self._test.draw(np.random.default_rng(self.config.seed))
        batch = {name: values.to(self.device) for name, values in drawn.items()}
        found = net(batch["reference"], batch["speech"], batch["first"]).delta.mean(1)
        true = batch["target"].mean(1)
        cosine = torch.nn.functional.cosine_similarity(found, true, dim=1)
        error = (found - true).square().mean().sqrt() / true.square().mean().sqrt()
        out = {"cosine": float(cosine.mean()), "relative error": float(error)}
        left_out = [EMOTIONS.index(name) for name in self.config.left_out]
        unseen = torch.isin(batch["label"], batch["label"].new_tensor(left_out))
        if unseen.any():
            out["cosine of unseen emotions"] = float(cosine[unseen].mean())
        return out

    def export(self, net: Connector, folder: Path) -> None:
        """Write ``connector.safetensors`` and ``connector.pth``."""
        save(net.state_dict(), folder / "connector.safetensors", asdict(net.spec), {})
        with whole_file(folder / "connector.pth") as part:
            about = {"config": asdict(net.spec)}
            state = {"state_dict": net.state_dict(), "global_step": self.steps, "mien": about}
            write_state(state, part)


class MeadSampler:
    """Draws pairs of two emotions of one person.

    Args:
        recordings: of the people to train on.
        batch: pairs at once.
        no_reference: share of pairs whose reference is zero. The published training always gives
            it, and from the sixth frame on it equals the target: copying is enough.
        other_people: draw the second emotion's face from everybody who shows it.

    Raises:
        InputError: when nobody shows two emotions at one level.
    """

    def __init__(
        self,
        recordings: list[Recording],
        batch: int,
        no_reference: float = 0.0,
        *,
        other_people: bool = False,
    ) -> None:
        self._batch, self._no_reference, self._other_people = batch, no_reference, other_people
        voices, faces = defaultdict(list), defaultdict(list)
        for one in recordings:
            voices[one.emotion, one.level].append(one.voice)
            if _in_list(one, 10):
                faces[one.person, one.emotion, one.level].append(one.expression)
        self._voices = {key: np.stack(values) for key, values in voices.items()}
        self._faces = dict(faces)
        self._showing = defaultdict(list)
        for person, emotion, level in self._faces:
            self._showing[emotion, level].append(person)
        self._items = [one for one in recordings if _in_list(one, 3) and self._others(one)]
        if not self._items:
            raise InputError("Nobody in the features shows two emotions at one level.")

    def draw(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw a batch for :func:`mien.training.connector.objective.both_ways`."""
        pairs = [self._pair(int(i), rng) for i in rng.integers(len(self._items), size=self._batch)]
        return {name: torch.from_numpy(np.stack([p[name] for p in pairs])) for name in pairs[0]}

    def _others(self, item: Recording) -> list[tuple[str, int]]:
        """Emotions (with their level) that the person of an item shows besides the item's own."""
        out = []
        for emotion in EMOTIONS:
            level = 1 if emotion == NEUTRAL else item.level
            if emotion != item.emotion and (item.person, emotion, level) in self._faces:
                out.append((emotion, level))
        return out

    def _pair(self, i: int, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
        item = self._items[i]
        others = self._others(item)
        emotion, level = others[rng.integers(len(others))]
        start = int(rng.integers(_VOICE_STARTS))
        speech = self._voice(emotion, level, start, _SECOND_STRIDE)
        speech = speech - self._voice(item.emotion, item.level, start, 1)
        showing = self._showing[emotion, level]
        other = showing[rng.integers(len(showing))] if self._other_people else item.person
        one = self._face(item.person, item.emotion, item.level, rng)
        two = self._face(other, emotion, level, rng)
        length = min(len(one), len(two))
        one, two = one[:length], two[:length]
        direction = (two - one).mean(0)
        start = int(rng.integers(max(1, length - WINDOW + 1)))
        before = np.arange(start - WINDOW, start) >= 0
        if rng.random() < self._no_reference:
            before[:] = False
        reference = before[:, None] * direction
        window = np.minimum(np.arange(start, start + WINDOW), length - 1)
        return {
            "reference": reference.astype(np.float32),
            "speech": speech[None],
            "first": one[window],
            "second": two[window],
            "target": np.repeat(direction[None], WINDOW, 0),
            "label": np.array(EMOTIONS.index(emotion)),
        }

    def _voice(self, emotion: str, level: int, start: int, stride: int) -> Array:
        pool = self._voices[emotion, level]
        mean: Array = pool[(start + stride * np.arange(_AVERAGED)) % len(pool)].mean(0)
        return mean

    def _face(self, person: str, emotion: str, level: int, rng: np.random.Generator) -> Array:
        clips = self._faces[person, emotion, level]
        chosen = [clips[j] for j in rng.integers(len(clips), size=_AVERAGED)]
        longest = max(map(len, chosen))
        tiled = [np.resize(clip, (longest, clip.shape[1])) for clip in chosen]
        mean: Array = np.mean(tiled, 0).astype(np.float32)
        return mean


def _in_list(one: Recording, first: int) -> bool:
    """Whether a video is among the ``first`` or the last ten sentences, as published.

    Pairs start from the first three and the last ten; faces are averaged over the first ten and the
    last ten.
    """
    last = range(31, 41) if one.emotion == NEUTRAL else range(21, 31)
    return one.sentence in range(1, first + 1) or one.sentence in last
