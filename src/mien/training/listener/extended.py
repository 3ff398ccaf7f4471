"""Labels of the listener for which there is a synthetic voice only.

It is too little, and too alike in everything else, to train a net on. A ridge regression on the
embeddings of a trained net separates the labels from each other and from people's voices.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.media.output import whole_file
from mien.speech.listener import EXTENDED_VOICES, LEARNED_EMOTIONS

_PENALTY: Final = 0.3
_WEIGHT: Final = 3.0
"""Weight of a recording with an extended label beside one of another."""

_SCALE, _OFFSET = 20.0, 3.0
"""From scores (1 for a label's own recordings) to logits. With five sixths of the synthetic voices
as examples, 14 of the other 17 are recognised; 2 of 218 people's voices are taken for one."""

Linear = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Weights ``(E, len(EXTENDED_VOICES))`` and bias of logits."""


def fit(embeddings: npt.NDArray[np.float32], labels: Sequence[str]) -> Linear:
    """Fit the logits to unit embeddings ``(N, E)`` of synthetic voices and of people's."""
    wanted = np.array([[name == label for name in EXTENDED_VOICES] for label in labels], float)
    weight = np.where(wanted.any(1), _WEIGHT, 1.0)
    centre = np.average(embeddings.astype(float), axis=0, weights=weight)
    level = np.average(wanted, axis=0, weights=weight)
    table = (embeddings - centre) * weight[:, None]
    inner = table.T @ (embeddings - centre) + _PENALTY * np.eye(embeddings.shape[1])
    slopes = np.linalg.solve(inner, table.T @ (wanted - level))
    bias = _SCALE * (level - centre @ slopes) - _OFFSET
    return (_SCALE * slopes).astype(np.float32), bias.astype(np.float32)


def extend(source: Path, target: Path, logits: Linear) -> None:
    """Write a copy of ``listener_says.onnx`` whose logits cover the extended labels, too.

    Args:
        source: the net with logits of ``LEARNED_EMOTIONS``; further ones are replaced.
        target: where to.
        logits: of the extended labels.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(source))
    graph = model.graph
    for kind in (graph.node, graph.initializer):
        for item in [one for one in kind if one.name.startswith("extended_")]:
            kind.remove(item)
    for name, values in zip(("weights", "bias"), logits, strict=True):
        graph.initializer.append(numpy_helper.from_array(values, f"extended_{name}"))
    nodes = [
        helper.make_node(
            "Gemm", ["embedding", "extended_weights", "extended_bias"], ["extended_logits"],
            name="extended_gemm",
        )
    ]  # fmt: skip
    for name in ("emotion", "relative"):
        learned = f"{name}_learned"
        for node in graph.node:
            outputs = [learned if out == name else out for out in node.output]
            del node.output[:]
            node.output.extend(outputs)
        parts = [learned, "extended_logits"]
        nodes.append(helper.make_node("Concat", parts, [name], axis=1, name=f"extended_{name}"))
    graph.node.extend(nodes)
    for value in graph.output:
        if value.name in ("emotion", "relative"):
            value.type.tensor_type.shape.dim[1].dim_value = len(LEARNED_EMOTIONS) + len(
                EXTENDED_VOICES
            )
    onnx.checker.check_model(model)
    with whole_file(target) as part:
        onnx.save(model, str(part))
