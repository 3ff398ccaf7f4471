"""The straight line under a connector: ridge regression in closed form."""

from __future__ import annotations

import numpy as np
import torch

from mien.cmet.connector import Connector
from mien.training.connector.config import ConnectorConfig
from mien.training.connector.data import Array, Pairs

_FACE_GAIN = 0.3
"""Scale of the expression beside the semantic vector: how freely the line may use it."""


def draw_line(net: Connector, pairs: Pairs, config: ConnectorConfig) -> None:
    """Set a connector's direct path from neutral-to-emotion pairs of the people trained on.

    Every emotional recording in every varied view against the mean of its speaker's neutral ones;
    no constant, so that no difference in voice and a blank face mean no difference in the face.
    The path is not trained any further; the transformer learns what it leaves.
    """
    vectors, faces, differences = _rows(pairs, config)
    table = np.concatenate([vectors, _FACE_GAIN * faces], 1).astype(np.float64)
    penalty = config.line_penalty * len(table) / _ROWS * np.eye(table.shape[1])
    line = np.linalg.solve(table.T @ table + penalty, table.T @ differences)
    size = vectors.shape[1]
    with torch.no_grad():
        net.direct_speech.weight.copy_(torch.from_numpy(line[:size].T))
        net.direct_expression.weight.copy_(torch.from_numpy(_FACE_GAIN * line[size:].T))
    for layer in (net.direct_speech, net.direct_expression):
        layer.weight.requires_grad_(False)


_ROWS = 2700
"""Rows the penalty is meant for; it scales with their number."""


def _rows(pairs: Pairs, config: ConnectorConfig) -> tuple[Array, Array, Array]:
    out: list[tuple[Array, Array, Array]] = []
    here = pairs.seen & pairs.train & (pairs.emotion != (config.held_out_emotion or ""))
    views = range(min(1, pairs.voices.shape[1] - 1), pairs.voices.shape[1])
    for person in np.unique(pairs.speaker[here]):
        own = here & (pairs.speaker == person)
        plain = np.flatnonzero(own & (pairs.emotion == "neutral"))
        if not len(plain):
            continue
        neutral = pairs.faces[plain].mean(0)
        for index in np.flatnonzero(own & (pairs.emotion != "neutral")):
            difference = pairs.faces[index] - neutral
            out += [
                (pairs.vector(np.array([index]), plain, view), neutral, difference)
                for view in views
            ]
    vectors, faces, differences = (np.stack(column) for column in zip(*out, strict=True))
    return vectors, faces, differences
