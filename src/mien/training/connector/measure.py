"""How near predicted faces come to real ones, on people who were not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from mien.cmet.connector import Connector
from mien.cmet.semantic import Codes, transfer
from mien.training.connector.data import Array, Pairs

SETTLE: Final = 10
"""Frames a prediction is averaged over: two windows."""

Predict = Callable[[Array, Array], Array]
"""Semantic vector ``(S,)`` and neutral face ``(D,)`` to the face's difference ``(D,)``."""


@dataclass(frozen=True)
class Case:
    """A held-out person's emotional clips.

    Attributes:
        vector: semantic vector from the person's neutral voice.
        neutral: the person's neutral face, code units.
        difference: the true difference of the face.
        emotion: its label.
    """

    vector: Array
    neutral: Array
    difference: Array
    emotion: str


def cases(pairs: Pairs, clips: int = 1, *, train: bool = False) -> list[Case]:
    """Emotional clips of held-out people with known faces, ``clips`` of an emotion averaged."""
    out = []
    here = pairs.seen & (pairs.train == train)
    for person in np.unique(pairs.speaker[here]):
        own = here & (pairs.speaker == person)
        plain = np.flatnonzero(own & (pairs.emotion == "neutral"))
        neutral = pairs.faces[plain].mean(0)
        for emotion in np.unique(pairs.emotion[own]):
            items = np.flatnonzero(own & (pairs.emotion == emotion))
            if emotion == "neutral":
                continue
            for start in range(0, len(items) - clips + 1, clips):
                some = items[start : start + clips]
                difference = pairs.faces[some].mean(0) - neutral
                out.append(Case(pairs.vector(some, plain, 0), neutral, difference, str(emotion)))
    return out


def connect_with(net: Connector) -> Callable[[Codes, Codes, Codes], Codes]:
    """A connector as :func:`mien.cmet.semantic.transfer` wants it."""

    @torch.no_grad()
    def connect(reference: Codes, vector: Codes, code: Codes) -> Codes:
        device = next(net.parameters()).device
        values = (reference, vector[None], code)
        parts = [torch.from_numpy(np.float32(v))[None].to(device) for v in values]
        out: Codes = net(*parts).delta[0].cpu().numpy()
        return out

    return connect


def predictor(net: Connector) -> Predict:
    """Faces out of voices by a connector in evaluation mode, settled over two windows."""
    net.eval()
    connect = connect_with(net)
    return lambda vector, neutral: transfer(
        connect, vector, np.repeat(neutral[None], SETTLE, 0)
    ).mean(0)


def correlations(predicted: Array, true: Array) -> tuple[float, float]:
    """Two measures of differences ``(N, D)``.

    Returns:
        Mean over the action units of the correlation over clips; mean over the clips of the
        correlation over action units.
    """
    units = [_correlation(a, b) for a, b in zip(predicted.T, true.T, strict=True)]
    clips = [_correlation(a, b) for a, b in zip(predicted, true, strict=True)]
    return float(np.mean(units)), float(np.mean(clips))


def measure(predict: Predict, some: list[Case]) -> tuple[float, float]:
    """:func:`correlations` of a predictor over cases."""
    predicted = np.stack([predict(case.vector, case.neutral) for case in some])
    return correlations(predicted, np.stack([case.difference for case in some]))


@dataclass(frozen=True)
class FaceSpace:
    """How differences of faces are compared: each unit by its spread, from the mean emotional face.

    Without it the units that move most (lips parted, smile) and what all emotional speech has in
    common decide alone.

    Attributes:
        centre: mean difference over the emotions trained on, ``(D,)``.
        spread: of every unit over clips, ``(D,)``.
    """

    centre: Array
    spread: Array

    @classmethod
    def of(cls, pairs: Pairs, held_out: str = "") -> FaceSpace:
        """The space of the people trained on, without an emotion's own faces."""
        own = [case for case in cases(pairs, train=True) if case.emotion != held_out]
        table = np.stack([case.difference for case in own])
        return cls(table.mean(0), table.std(0))


def rank(
    predicted: Array, emotion: str, typical: dict[str, Array], space: FaceSpace | None = None
) -> int:
    """Place of ``emotion`` among typical faces by correlation with a predicted one; 1 is best.

    Args:
        predicted: difference of a face, ``(D,)``.
        emotion: which place.
        typical: real mean differences by emotion.
        space: compare in this space; as they are by default.
    """
    if space is not None:
        mean = np.mean(list(typical.values()), 0)
        typical = {name: (face - mean) / space.spread for name, face in typical.items()}
        predicted = (predicted - space.centre) / space.spread
    near = {name: _correlation(predicted, face) for name, face in typical.items()}
    return 1 + sum(value > near[emotion] for value in near.values())


def typical_of(some: list[Case]) -> dict[str, Array]:
    """Mean difference of every emotion over cases."""
    names = sorted({case.emotion for case in some})
    return {
        name: np.mean([case.difference for case in some if case.emotion == name], 0)
        for name in names
    }


def _correlation(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 1e-9 else 0.0
