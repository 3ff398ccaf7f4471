"""Both directions of a pair through the connector, and the three losses (arXiv 2604.07786)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from mien.cmet.connector import ConnectorOutput
from mien.cmet.losses import LossWeights, contrastive, directional, focal


class Losses(NamedTuple):
    """Scalars; ``total`` is the weighted sum."""

    focal_forward: Tensor
    focal_backward: Tensor
    contrastive: Tensor
    directional: Tensor
    total: Tensor


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
) -> Losses:
    """Predict first to second and back.

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
    """
    weights = weights or LossWeights()
    there = connector(reference, speech, first)
    back = connector(-reference, -speech, second)
    change = (back.expression - there.expression).mean(1)
    if published_pairing:
        change = -change
    focal_forward = focal(there.delta, target)
    focal_backward = focal(back.delta, -target)
    alike = 0.5 * (
        contrastive(change, there.speech[:, 0], label)
        + contrastive(-change, back.speech[:, 0], label)
    )
    opposite = directional(there.delta.flatten(0, 1), back.delta.flatten(0, 1))
    total = (
        weights.reconstruction * (focal_forward + focal_backward)
        + weights.contrastive * alike
        + weights.directional * opposite
    )
    return Losses(focal_forward, focal_backward, alike, opposite, total)
