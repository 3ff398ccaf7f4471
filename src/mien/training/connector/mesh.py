"""The mesh engine's connector: voices to the differences of 17 action units."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.cmet.connector import Connector, ConnectorSpec
from mien.cmet.losses import LossWeights
from mien.cmet.semantic import WINDOW
from mien.errors import InputError
from mien.face.facs import OPENFACE_UNITS
from mien.training.connector.objective import (
    FaceSpace,
    both_ways,
    cases,
    measure,
    predictor,
    rank,
    typical_of,
)
from mien.training.trainer import Losses, Task, Trainer
from mien.training.voice_faces import Array, VoiceFaces, VoiceFacesConfig, load_voice_faces

_CLIPS: Final = (1, 1, 2, 4)
"""How many recordings of the second emotion are averaged; the paper uses ten, a user often one."""

_NEUTRAL_CLIPS: Final = 4
_CLIP_NOISE, _FRAME_NOISE = 1.0, 0.5
"""Spread of the starting face in code units: between clips, between frames."""

_RIDGE_ROWS: Final = 2700
"""Rows that the ridge penalty is meant for; it scales with their number."""

_FACE_GAIN: Final = 0.3
"""Scale of the expression beside the semantic vector: how freely the ridge regression uses it."""

_SEVERAL: Final = 4
"""Clips of an emotion that are averaged in the second measure, as the paper does."""


@dataclass(frozen=True, kw_only=True)
class ConnectorConfig(VoiceFacesConfig):
    """Settings of the training of the mesh engine's connector.

    Attributes:
        held_out_emotion: an emotion that is never trained on, to measure its prediction.
        width, layers, heads, feed_forward, dropout, direct: of the net (``ConnectorSpec``).
        ridge_penalty: of the ridge regression that gives the direct path.
        from_neutral: share of the real pairs that start from neutral; the others are any two.
        recipes: share of pairs whose target is an emotion's typical face, for voices whose faces
            are not known.
        noise: size of the noise added to the semantic vector, relative to its length.
        affect_only: share of pairs that see valence, arousal and dominance alone.
        no_reference: share of pairs without the differences before the window. The published
            training always gives them, which equal the target: copying is enough.
        other_face: share of pairs that start from another person's face.
        published_pairing: the released code's sign of the contrastive pairs.
        batch: pairs per step.
        average: share of the averaged weights kept per step.
        loss: weights of the three losses.
    """

    held_out_emotion: str | None = None
    width: int = 128
    layers: int = 2
    heads: int = 4
    feed_forward: int = 256
    dropout: float = 0.1
    direct: bool = True
    ridge_penalty: float = 3000.0
    from_neutral: float = 1.0
    recipes: float = 0.25
    noise: float = 1.0
    affect_only: float = 0.3
    no_reference: float = 0.5
    other_face: float = 0.0
    published_pairing: bool = False
    batch: int = 96
    average: float = 0.95
    loss: LossWeights = field(default_factory=LossWeights)
    steps: int = 150
    learning_rate: float = 3e-4
    measure_every: int = 50


def train_connector(
    config: ConnectorConfig, trainer: Trainer, data: VoiceFaces | None = None
) -> dict[str, float]:
    """Train a connector and write ``connector.pt``, its averaged weights.

    The trainer's folder also keeps the embeddings of the voices for the next run. ``data`` is used
    instead of what the settings name.
    """
    if data is None:
        data = load_voice_faces(config, trainer.folder, trainer.progress, trainer.log)
    return trainer.fit(ConnectorTask(config, data))[1]


class ConnectorTask(Task[ConnectorConfig, Connector, dict[str, Tensor]]):
    """Trains what the ridge regression leaves over."""

    weights_file = "connector.pt"

    def __init__(self, config: ConnectorConfig, data: VoiceFaces) -> None:
        super().__init__(config)
        self.average = config.average
        self._data = data
        self._sampler = PairSampler(data, config)

    def build(self) -> Connector:
        """Create the net; its direct path is the ridge regression."""
        config, speech = self.config, self._data.voices.shape[2]
        sizes = config.sizes(ConnectorSpec)
        net = Connector(ConnectorSpec(expression=len(OPENFACE_UNITS), speech=speech, **sizes))
        if config.direct:
            fit_ridge(net, self._data, config)
        return net

    def rate(self, step: int) -> float:
        """Return a warmed linear fall to zero."""
        return min(1, (step + 1) / self.warm_up) * (1 - step / self.steps)

    def batch(self, step: int) -> dict[str, Tensor]:
        """Draw pairs."""
        return self._sampler.draw(self.rng(step))

    def losses(self, net: Connector, batch: dict[str, Tensor], step: int) -> Losses:
        """Compute the losses of what the direct path leaves over."""
        if self.config.direct:
            # The ridge starts from neutral; backwards the residual of the pair is the opposite.
            with torch.no_grad():
                ridge = net.direct_path(batch["speech"], batch["first"])
            before = batch["reference"]
            batch = {
                **batch,
                "target": batch["target"] - ridge,
                "reference": torch.where(before == 0, 0, before - ridge),
            }
        return both_ways(
            net.published,
            **batch,
            weights=self.config.loss,
            published_pairing=self.config.published_pairing,
            one_direction=False,
        )

    def measure(self, net: Connector) -> dict[str, float]:
        """Return correlations on held-out people, and the rank of a held-out emotion."""
        predict = predictor(net)
        out: dict[str, float] = {}
        single = cases(self._data)
        if not single:
            return out
        out["per unit"], out["per clip"] = measure(predict, single)
        several = cases(self._data, _SEVERAL)
        if several:
            out["per unit, several"], out["per clip, several"] = measure(predict, several)
        held_out = self.config.held_out_emotion
        if held_out is not None:
            typical = typical_of(single)
            own = [case for case in single if case.emotion == held_out]
            faces = np.stack([predict(case.vector, case.neutral) for case in own])
            space = FaceSpace.of(self._data, held_out)
            out["rank of the mean"] = float(rank(faces.mean(0), held_out, typical, space))
            first_two = [rank(face, held_out, typical, space) <= 2 for face in faces]
            out["clips of rank 1 or 2"] = float(np.mean(first_two))
        return out


def fit_ridge(net: Connector, data: VoiceFaces, config: ConnectorConfig) -> None:
    """Set a connector's direct path by ridge regression and freeze it.

    The rows are every emotional recording of the people trained on, in every varied view, against
    the mean of its speaker's neutral ones. There is no constant, so that no difference in voice and
    a blank face mean no difference in the face.
    """
    vectors, faces, differences = _ridge_rows(data, config)
    table = np.concatenate([vectors, _FACE_GAIN * faces], 1).astype(np.float64)
    penalty = config.ridge_penalty * len(table) / _RIDGE_ROWS * np.eye(table.shape[1])
    weights = np.linalg.solve(table.T @ table + penalty, table.T @ differences)
    size = vectors.shape[1]
    with torch.no_grad():
        net.direct_speech.weight.copy_(torch.from_numpy(weights[:size].T))
        net.direct_expression.weight.copy_(torch.from_numpy(_FACE_GAIN * weights[size:].T))
    for layer in (net.direct_speech, net.direct_expression):
        layer.weight.requires_grad_(False)


def _ridge_rows(data: VoiceFaces, config: ConnectorConfig) -> tuple[Array, Array, Array]:
    out: list[tuple[Array, Array, Array]] = []
    here = data.seen & data.train & (data.emotion != (config.held_out_emotion or ""))
    views = range(min(1, data.voices.shape[1] - 1), data.voices.shape[1])
    for person in np.unique(data.speaker[here]):
        own = here & (data.speaker == person)
        neutral_rows = np.flatnonzero(own & (data.emotion == "neutral"))
        if not len(neutral_rows):
            continue
        neutral = data.faces[neutral_rows].mean(0)
        for index in np.flatnonzero(own & (data.emotion != "neutral")):
            difference = data.faces[index] - neutral
            out += [
                (data.vector(np.array([index]), neutral_rows, view), neutral, difference)
                for view in views
            ]
    vectors, faces, differences = (np.stack(column) for column in zip(*out, strict=True))
    return vectors, faces, differences


class PairSampler:
    """Draws pairs of two emotions of a person: the differences of the voices and of the faces."""

    def __init__(self, data: VoiceFaces, config: ConnectorConfig) -> None:
        self._data, self._config = data, config
        allowed = data.train & (data.emotion != (config.held_out_emotion or ""))
        self._people = _by_person(data, allowed & data.seen)
        self._typical = data.typical()
        voices = _by_person(data, allowed & ~data.seen & (data.corpus != "tts"))
        self._voices: dict[str, list[dict[str, list[int]]]] = defaultdict(list)
        for person, emotions in voices.items():
            usable = {k: v for k, v in emotions.items() if k in self._typical}
            if "neutral" in usable and len(usable) > 1:
                corpus = str(data.corpus[data.speaker == person][0])
                self._voices[corpus].append(usable)
        if not self._people:
            raise InputError("No recording to train on has a face in the table of action units.")
        self._labels = {name: i for i, name in enumerate(sorted(self._typical))}
        self._neutral = [e["neutral"] for e in self._people.values() if "neutral" in e]

    def draw(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw a batch for :func:`mien.training.connector.objective.both_ways`."""
        recipes = self._config.recipes if self._voices else 0.0
        rows = [
            self._typical_pair(rng) if rng.random() < recipes else self._real_pair(rng)
            for _ in range(self._config.batch)
        ]
        speech, start, difference, label = zip(*rows, strict=True)
        target = _frames(np.stack(difference))
        first = _frames(np.stack(start))
        given = rng.random((len(rows), 1, 1)) >= self._config.no_reference
        return {
            "reference": _tensor(target * given),
            "speech": _tensor(np.stack(speech)[:, None]),
            "first": _tensor(_jitter(first, rng)),
            "second": _tensor(_jitter(first + target, rng)),
            "target": _tensor(target),
            "label": torch.tensor([self._labels[name] for name in label]),
        }

    def _real_pair(self, rng: np.random.Generator) -> tuple[Array, Array, Array, str]:
        faces = self._data.faces
        people = list(self._people.values())
        emotions = people[rng.integers(len(people))]
        names = list(emotions)
        from_neutral = "neutral" in emotions and rng.random() < self._config.from_neutral
        before = "neutral" if from_neutral else names[rng.integers(len(names))]
        others = [name for name in names if name != before]
        after = others[rng.integers(len(others))]
        one = _choose(emotions[before], _NEUTRAL_CLIPS, rng)
        two = _choose(emotions[after], int(rng.choice(_CLIPS)), rng)
        start = faces[one].mean(0)
        difference = faces[two].mean(0) - start
        if rng.random() < self._config.other_face:
            other = people[rng.integers(len(people))]
            start = faces[rng.choice(other.get(before, emotions[before]))]
        return self._vector(two, one, rng), start, difference, after

    def _typical_pair(self, rng: np.random.Generator) -> tuple[Array, Array, Array, str]:
        corpora = list(self._voices.values())
        people = corpora[rng.integers(len(corpora))]
        emotions = people[rng.integers(len(people))]
        names = [name for name in emotions if name != "neutral"]
        after = names[rng.integers(len(names))]
        one = _choose(emotions["neutral"], _NEUTRAL_CLIPS, rng)
        two = _choose(emotions[after], int(rng.choice(_CLIPS)), rng)
        start = self._data.faces[rng.choice(self._neutral[rng.integers(len(self._neutral))])]
        return self._vector(two, one, rng), start, self._typical[after], after

    def _vector(
        self, two: npt.NDArray[Any], one: npt.NDArray[Any], rng: np.random.Generator
    ) -> Array:
        view = int(rng.integers(self._data.voices.shape[1]))
        vector = self._data.vector(two, one, view)
        if rng.random() < self._config.affect_only:
            vector[:-3] = 0
        size = float(np.linalg.norm(vector)) / len(vector) ** 0.5
        noise = rng.normal(0, self._config.noise * size, len(vector))
        return (vector + noise).astype(np.float32)


def _by_person(data: VoiceFaces, which: npt.NDArray[np.bool_]) -> dict[str, dict[str, list[int]]]:
    out: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i in np.flatnonzero(which):
        out[str(data.speaker[i])][str(data.emotion[i])].append(int(i))
    return {person: dict(emotions) for person, emotions in out.items()}


def _choose(items: list[int], count: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    return rng.choice(items, min(count, len(items)), replace=False)


def _frames(code: Array) -> Array:
    return np.repeat(code[:, None], WINDOW, 1)


def _jitter(codes: Array, rng: np.random.Generator) -> Array:
    per_clip = rng.normal(0, _CLIP_NOISE, (codes.shape[0], 1, codes.shape[2]))
    return (codes + per_clip + rng.normal(0, _FRAME_NOISE, codes.shape)).astype(np.float32)


def _tensor(values: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
