"""Load the nets and arrays that ship inside the package."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import WeightsError

if TYPE_CHECKING:
    import onnxruntime


def asset(name: str) -> Traversable:
    """Return a file of the package's ``assets``."""
    place = files("mien") / "assets" / name
    if not place.is_file():
        raise WeightsError(f"{name} is missing from this installation; install mien again.")
    return place


def open_arrays(name: str) -> dict[str, Any]:
    """Load all arrays of the bundled ``.npz`` file called ``name``.

    Raises:
        WeightsError: when it is missing or damaged.
    """
    import numpy as np

    place = asset(name)
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError) as error:
        raise WeightsError(f"{name} is damaged ({error}); install mien again.") from error


@lru_cache(maxsize=32)
def open_net(
    name: str, *, folder: str | Path | None = None, threads: int = 1
) -> onnxruntime.InferenceSession:
    """Load an ONNX net once per process; a CUDA build of onnxruntime runs it on the GPU.

    Args:
        name: file name.
        folder: where it is; None: bundled with the package.
        threads: processor cores it may use. Small nets that run in turn are fastest with one,
            because idle threads of several nets would compete for the cores.

    Raises:
        WeightsError: when it is missing or damaged.
    """
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = False  # it keeps 50 MB, and saves no time
    options.log_severity_level = 3
    place = asset(name) if folder is None else Path(folder) / name
    if not place.is_file():
        raise WeightsError(f"The net {name} is missing in {folder}.")
    available = onnxruntime.get_available_providers()
    providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in available]
    with as_file(place) as path:
        try:
            return onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:
            raise WeightsError(f"The net {path} cannot be loaded ({error}).") from error
