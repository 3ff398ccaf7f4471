"""Write ONNX files; needs the extra ``train``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.media.output import whole_file

if TYPE_CHECKING:
    import torch

_OPSET: Final = 17
_SMALL: Final = 256
"""Tensors with fewer numbers stay in single precision."""


def write_onnx(
    module: torch.nn.Module,
    example: tuple[Any, ...],
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    times: Sequence[str] = (),
    free: Mapping[str, Sequence[int]] | None = None,
    half: bool = False,
) -> None:
    """Trace a module with any batch size.

    Args:
        module: in evaluation mode.
        example: inputs to trace it with.
        path: where to.
        inputs: their names.
        outputs: their names.
        times: inputs of any length along axis 1.
        free: other axes of any length, by input or output.
        half: store large weights as float16; the runtime turns them back when it loads the file.
    """
    import torch

    axes = {name: {0: "batch"} for name in (*inputs, *outputs)}
    for name in times:
        if name in axes:
            axes[name][1] = "time"
    for name, places in (free or {}).items():
        axes[name].update({axis: f"{name}_{axis}" for axis in places})
    with whole_file(path) as part:
        torch.onnx.export(
            module,
            example,
            str(part),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
        if half:
            _halve_weights(part)


def _halve_weights(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(path))
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _SMALL:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(
            helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT, name=name)
        )
    for node in reversed(casts):
        model.graph.node.insert(0, node)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
