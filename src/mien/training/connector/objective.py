"""What a connector minimises on pairs, and how its predictions are measured on other people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.cmet.connector import Connector, ConnectorOutput
from mien.cmet.losses import LossWeights, contrastive, directional, focal
from mien.cmet.semantic import Codes, transfer
from mien.training.trainer import Losses
from mien.training.voice_faces import Array, VoiceFaces
from mien.utils.numeric import correlation

SETTLE: Final = 10
"""Frames over which a prediction is averaged: two windows."""

Predict = Callable[[Array, Array], Array]
"""Semantic vector ``(S,)`` and neutral face ``(D,)`` to the face's difference ``(D,)``."""


def both_ways(
    connector: Callable[[Tensor, Tensor, Tensor], ConnectorOutput],
    *,
    reference: Tensor,
    speech: Tensor,
    first: Tensor,
    second: Tensor,
    target: Tensor,
    label: Tensor,
    weights: LossWeights | None = None,
    published_pairing: bool = False,
    one_direction: bool = False,
) -> Losses:
    """Predict the second emotion from the first and back, and compute the three losses.

    Args:
        connector: the network.
        reference: differences before the window, ``(B, T, D)``.
        speech: emotion semantic vectors second minus first, ``(B, 1, S)``.
        first: expression codes, ``(B, T, D)``.
        second: the same of the second emotion.
        target: true difference second minus first, ``(B, T, D)``.
        label: ``int64 (B,)``: the emotion of ``second``.
        weights: of the losses; the published ones by default.
        published_pairing: the released code pairs the tokens of ``first`` minus ``second`` with the
            speech of second minus first. The paper's intent, and the default here, is the same
            direction on both sides.
        one_direction: predict only the second emotion from the first; then there is no directional
            loss.
    """
    weights = weights or LossWeights()
    there = connector(reference, speech, first)
    back = connector(-reference, -speech, second)
    change = (back.expression - there.expression).mean(1)
    if published_pairing:
        change = -change
    focal_forward = focal(there.delta, target)
    alike = contrastive(change, there.speech[:, 0], label)
    parts = {"focal_forward": focal_forward}
    total = weights.reconstruction * focal_forward
    if not one_direction:
        parts["focal_backward"] = focal(back.delta, -target)
        alike = 0.5 * (alike + contrastive(-change, back.speech[:, 0], label))
        parts["directional"] = directional(there.delta.flatten(0, 1), back.delta.flatten(0, 1))
        total = total + weights.reconstruction * parts["focal_backward"]
        total = total + weights.directional * parts["directional"]
    total = total + weights.contrastive * alike
    return Losses(total, {**parts, "contrastive": alike, "total": total})


@dataclass(frozen=True)
class Case:
    """Emotional clips of one person.

    Attributes:
        vector: semantic vector from the person's neutral voice.
        neutral: the person's neutral face, code units.
        difference: the true difference of the face.
        emotion: its label.
        clips: indices of the recordings.
    """

    vector: Array
    neutral: Array
    difference: Array
    emotion: str
    clips: npt.NDArray[np.int64]


def cases(data: VoiceFaces, clips: int = 1, *, train: bool = False) -> list[Case]:
    """List held-out people's emotional clips with known faces, averaged in groups of ``clips``."""
    out = []
    here = data.seen & (data.train == train)
    for person in np.unique(data.speaker[here]):
        own = here & (data.speaker == person)
        base = np.flatnonzero(own & (data.emotion == "neutral"))
        neutral = data.faces[base].mean(0)
        for emotion in np.unique(data.emotion[own]):
            items = np.flatnonzero(own & (data.emotion == emotion))
            if emotion == "neutral":
                continue
            for start in range(0, len(items) - clips + 1, clips):
                some = items[start : start + clips]
                difference = data.faces[some].mean(0) - neutral
                vector = data.vector(some, base, 0)
                out.append(Case(vector, neutral, difference, str(emotion), some))
    return out


def connect_with(net: Connector) -> Callable[[Codes, Codes, Codes], Codes]:
    """Wrap a connector for :func:`mien.cmet.semantic.transfer`."""

    @torch.no_grad()
    def connect(reference: Codes, vector: Codes, code: Codes) -> Codes:
        device = next(net.parameters()).device
        values = (reference, vector[None], code)
        parts = [torch.from_numpy(np.float32(v))[None].to(device) for v in values]
        out: Codes = net(*parts).delta[0].cpu().numpy()
        return out

    return connect


def predictor(net: Connector) -> Predict:
    """Return a function that predicts faces with a connector, averaged over two windows."""
    net.eval()
    connect = connect_with(net)
    return lambda vector, neutral: transfer(
        connect, vector, np.repeat(neutral[None], SETTLE, 0)
    ).mean(0)


def correlations(predicted: Array, true: Array) -> tuple[float, float]:
    """Compare predicted and true differences ``(N, D)``.

    Returns:
        Mean over the action units of the correlation over clips; mean over the clips of the
        correlation over action units.
    """
    units = [correlation(a, b) for a, b in zip(predicted.T, true.T, strict=True)]
    clips = [correlation(a, b) for a, b in zip(predicted, true, strict=True)]
    return float(np.mean(units)), float(np.mean(clips))


def measure(predict: Predict, some: list[Case]) -> tuple[float, float]:
    """Compute the :func:`correlations` of a predictor over cases."""
    predicted = np.stack([predict(case.vector, case.neutral) for case in some])
    return correlations(predicted, np.stack([case.difference for case in some]))


@dataclass(frozen=True)
class FaceSpace:
    """A standardisation of face differences: from the mean emotional face, each unit by its spread.

    Without it, the units that move most (lips parted, smile) and what all emotional speech has in
    common dominate every comparison.

    Attributes:
        centre: mean difference over the emotions trained on, ``(D,)``.
        spread: of every unit over clips, ``(D,)``.
    """

    centre: Array
    spread: Array

    @classmethod
    def of(cls, data: VoiceFaces, held_out: str = "") -> FaceSpace:
        """Fit the space to the people trained on, without the faces of a held-out emotion."""
        own = [case for case in cases(data, train=True) if case.emotion != held_out]
        table = np.stack([case.difference for case in own])
        return cls(table.mean(0), table.std(0))


def rank(
    predicted: Array, emotion: str, typical: dict[str, Array], space: FaceSpace | None = None
) -> int:
    """Rank ``emotion`` among typical faces by their correlation with a predicted one; 1 is best.

    Args:
        predicted: difference of a face, ``(D,)``.
        emotion: the one to rank.
        typical: real mean differences by emotion.
        space: where they are compared; unstandardised by default.
    """
    if space is not None:
        mean = np.mean(list(typical.values()), 0)
        typical = {name: (face - mean) / space.spread for name, face in typical.items()}
        predicted = (predicted - space.centre) / space.spread
    near = {name: correlation(predicted, face) for name, face in typical.items()}
    return 1 + sum(value > near[emotion] for value in near.values())


def typical_of(some: list[Case]) -> dict[str, Array]:
    """Compute every emotion's mean difference over cases."""
    names = sorted({case.emotion for case in some})
    return {
        name: np.mean([case.difference for case in some if case.emotion == name], 0)
        for name in names
    }
