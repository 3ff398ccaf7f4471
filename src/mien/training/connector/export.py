"""Export a trained connector and its decoder to action units."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from mien.cmet.connector import Connector, ConnectorSpec
from mien.cmet.mesh import PROTOTYPES
from mien.cmet.semantic import WINDOW, Voice, semantic_vector
from mien.face.facs import OPENFACE_UNITS, expression
from mien.media.output import whole_file
from mien.training.connector.objective import Predict, predictor
from mien.training.onnx_export import write_onnx
from mien.training.trainer import read_net
from mien.training.voice_faces import Array, VoiceFaces

_SPEAKING: Final = ("25", "26", "45")
"""Units that talking and blinking move; they do not show an emotion."""

_RIDGE: Final = 1e-3
"""Penalty of the decoder's least squares, per row."""

_FAINT: Final = MappingProxyType(
    {"calm": {"12": 0.15, "43": 0.12}, "bored": {"43": 0.3, "15": 0.2, "1": 0.15}}
)
"""Faces of labels of the listener that have no recipe: this project's estimates."""


class _Window(nn.Module):
    def __init__(self, net: Connector) -> None:
        super().__init__()
        self.net = net

    def forward(self, reference: Tensor, speech: Tensor, code: Tensor) -> Tensor:
        out: Tensor = self.net(reference, speech, code).delta
        return out


def load_connector(path: Path) -> Connector:
    """Read a ``connector.pt`` that training wrote."""
    return read_net(path, lambda spec: Connector(ConnectorSpec(**spec)))


def export_connector(net: Connector, data: VoiceFaces, folder: Path) -> None:
    """Write ``connector.onnx`` and ``connector.npz`` of a net and its data."""
    folder.mkdir(parents=True, exist_ok=True)
    # Two passes through fused attention differ from the traced one by rounding only.
    torch.backends.mha.set_fastpath_enabled(False)
    window = torch.zeros(2, WINDOW, net.spec.expression)
    example, path = (window, torch.zeros(2, 1, net.spec.speech), window), folder / "connector.onnx"
    inputs = ["reference", "speech", "expression"]
    write_onnx(_Window(net), example, path, inputs, ["difference"], half=True)
    neutral_face, neutral_voice = averages(data)
    predict = predictor(net)
    common = predict(np.zeros(net.spec.speech, np.float32), neutral_face)
    decoder = decoder_of(data, predict, common, neutral_voice)
    with whole_file(folder / "connector.npz") as part, part.open("wb") as file:
        np.savez(
            file,
            neutral_face=neutral_face,
            common=common,
            decoder=decoder,
            neutral_embedding=neutral_voice.embedding,
            neutral_affect=neutral_voice.affect,
        )


def averages(data: VoiceFaces) -> tuple[Array, Voice]:
    """Compute the average neutral face (code units) and voice over the people trained on."""
    neutral = data.train & (data.emotion == "neutral")
    faces, voices = [], []
    for person in np.unique(data.speaker[neutral]):
        own = np.flatnonzero(neutral & (data.speaker == person))
        voices.append(data.voices[own, 0].mean(0))
        if data.seen[own].all():
            faces.append(data.faces[own].mean(0))
    voice = np.mean(voices, 0)
    return np.mean(faces, 0).astype(np.float32), Voice(voice[:-3], voice[-3:])


def decoder_of(data: VoiceFaces, predict: Predict, common: Array, neutral: Voice) -> Array:
    """Fit the matrix ``(17, D)`` from differences in code units to action units of the rig.

    OpenFace's scales do not say how far a rig must move to look the same, and predictions are
    weaker where voices are ambiguous. So the matrix is a least-squares fit from the predictions for
    the voices trained on, minus what is ``common`` to them, to the prototypes of their emotions;
    every emotion has the same weight. Units that talking moves are left out.
    """
    face, _ = averages(data)
    last = data.voices.shape[1] - 1
    inputs, names = [], []
    for index in np.flatnonzero(data.train & (data.corpus != "tts")).tolist():
        name = str(data.emotion[index])
        if name not in PROTOTYPES and name not in _FAINT:
            continue
        own = np.array([index])
        same = data.speaker == data.speaker[index]
        plain = np.flatnonzero(same & (data.emotion == "neutral"))
        vectors = [semantic_vector(data.voice(own, min(1, last)), neutral)]
        if len(plain):
            vectors.append(data.vector(own, plain[index % len(plain)][None], min(2, last)))
        for vector in vectors:
            inputs.append(predict(vector, face) - common)
            names.append(name)
    counts = Counter(names)
    weights = np.array([1 / counts[name] for name in names])
    weights /= weights.mean()
    silent = np.array([0.0 if unit in _SPEAKING else 1.0 for unit in OPENFACE_UNITS])
    table = np.stack(inputs) * silent
    recipes = np.stack([_recipe(name) for name in names])
    inner = (table * weights[:, None]).T @ table + _RIDGE * len(table) * np.eye(len(OPENFACE_UNITS))
    decoder = np.linalg.solve(inner, (table * weights[:, None]).T @ recipes)
    return (silent[:, None] * decoder).astype(np.float32)


def _recipe(name: str) -> Array:
    return PROTOTYPES[name] if name in PROTOTYPES else expression(_FAINT[name])
