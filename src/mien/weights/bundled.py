"""Open the nets that ship with mien."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import WeightsError

if TYPE_CHECKING:
    import onnxruntime


def open_arrays(name: str) -> dict[str, Any]:
    """Arrays of an ``.npz`` that ships with mien.

    Args:
        name: file name.

    Raises:
        WeightsError: when it is missing or damaged.
    """
    import numpy as np

    place = files("mien") / "assets" / name
    if not place.is_file():
        raise WeightsError(f"{name} is missing from this installation; install mien again.")
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError) as error:
        raise WeightsError(f"{name} is damaged ({error}); install mien again.") from error


@lru_cache(maxsize=32)
def open_net(
    name: str, *, folder: str | Path | None = None, threads: int = 1
) -> onnxruntime.InferenceSession:
    """Load an ONNX net, once; a CUDA build of onnxruntime uses the GPU.

    Args:
        name: file name.
        folder: where it is; None: with the package.
        threads: processor cores it may use. Small nets that take turns are fastest with one: the
            waiting threads of several would keep each other from working.

    Raises:
        WeightsError: when it is missing or damaged.
    """
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    place = files("mien") / "assets" / name if folder is None else Path(folder) / name
    if not place.is_file():
        raise WeightsError(f"The net {name} is missing ({place}); install mien again.")
    there = onnxruntime.get_available_providers()
    wanted = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in there]
    with as_file(place) as path:
        try:
            return onnxruntime.InferenceSession(str(path), options, providers=wanted)
        except Exception as error:
            raise WeightsError(f"The net {path} cannot be loaded ({error}).") from error
