"""Export a trained connector, its decoder to action units, and the presets of named emotions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from mien.cmet.connector import Connector, ConnectorSpec
from mien.cmet.mesh import PROTOTYPES, sharpen
from mien.cmet.semantic import WINDOW, Voice, semantic_vector
from mien.emotion.expression_track import PRESETS
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

_ESTIMATES: Final = MappingProxyType(
    {
        "charismatic": {"12": 0.7, "6": 0.5, "1": 0.3, "2": 0.4, "25": 0.15},
        "desirous": {"12": 0.35, "43": 0.25, "7": 0.2, "25": 0.3, "1": 0.15},
        "empathetic": {"1": 0.85, "4": 0.15, "12": 0.3, "6": 0.3},
        "envious": {"4": 0.55, "7": 0.6, "14L": 0.4, "15": 0.35, "24": 0.4},
        "romantic": {"12": 0.6, "6": 0.55, "43": 0.18, "1": 0.3},
        "sarcastic": {"12L": 0.7, "14L": 0.5, "2L": 0.6, "43": 0.15, "7": 0.2},
    }
)
"""Faces of the extended emotions: this project's estimates, since there is no accepted coding."""

_ESTIMATED: Final = 0.8
"""Share of the estimate in an extended preset. Only synthetic voices are available for them, and
romantic, desirous and empathetic ones are classified as sad by this listener and by others."""


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
    """Write ``connector.onnx``, ``connector.npz`` and ``presets.npz`` of a net and its data."""
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
    names, vectors, affect = preset_vectors(data, neutral_voice)
    codes = [(predict(v, neutral_face) - common) @ decoder for v in vectors]
    predicted = np.stack([sharpen(code.astype(np.float32)) for code in codes])
    faces = predicted.copy()
    for face, name in zip(faces, names, strict=True):
        if name in _ESTIMATES:
            face += _ESTIMATED * (expression(_ESTIMATES[name]) - face)
    with whole_file(folder / "presets.npz") as part, part.open("wb") as file:
        np.savez(
            file,
            names=np.array(names),
            vectors=vectors,
            heard=predicted.astype(np.float32),
            expressions=faces.astype(np.float32),
            affect=affect,
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


def preset_vectors(data: VoiceFaces, neutral: Voice) -> tuple[list[str], Array, Array]:
    """Compute names, semantic vectors and mean affects of the emotions from all their voices.

    The extended emotions are spoken by one synthetic voice without neutral recordings: half of what
    its six emotions have in common is attributed to the voice, the other half to the emotions.
    """
    spoken = data.train & (data.corpus == "tts")
    common = data.voice(np.flatnonzero(spoken), 0) if spoken.any() else neutral
    half = Voice(
        0.5 * (common.embedding + neutral.embedding), 0.5 * (common.affect + neutral.affect)
    )
    names, vectors, affects = [], [], []
    for name in (*PROTOTYPES, *PRESETS):
        index = np.flatnonzero(data.train & (data.emotion == name))
        if not len(index):
            continue
        voice = data.voice(index, 0)
        vector = semantic_vector(voice, half if name in PRESETS else neutral)
        if name == "neutral":
            vector = np.zeros_like(vector)
        names.append(name)
        vectors.append(vector)
        affects.append(voice.affect)
    return names, np.stack(vectors), np.stack(affects)
