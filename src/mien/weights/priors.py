"""Emotion priors as published: pickled ``.npy`` files, read without running code."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from mien.errors import InputError, MissingExtraError, WeightsError
from mien.media.output import whole_file

_ALLOWED: Final = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core")
      for name in ("_reconstruct", "scalar")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}  # fmt: skip
"""All that a pickled array of numbers needs."""

_NAME: Final = "mu"


class _Numbers(pickle.Unpickler):
    """Reads dictionaries of arrays; anything else that a pickle could call is refused."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it would call {module}.{name}")
        return super().find_class(module, name)


def convert_priors(folder: Path, target: Path, about: Mapping[str, str]) -> list[str]:
    """Write the priors (safetensors) of a folder of ``EMOTION.npy``; the names.

    A file holds an array of numbers, or a pickled dictionary with ``mu``, ``(1, 256)``.

    Raises:
        InputError: when there is no such folder or nothing in it.
        WeightsError: for a file that holds something else.
        MissingExtraError: without safetensors.
    """
    try:
        from safetensors.numpy import save_file
    except ImportError as error:
        raise MissingExtraError(
            f"Published weights need more than the core ({error.name}): pip install 'mien[svd]'."
        ) from error
    files = sorted(folder.glob("*.npy")) if folder.is_dir() else []
    if not files:
        raise InputError(f"{folder} is no folder with EMOTION.npy files.")
    out = {path.stem.lower(): read_prior(path) for path in files}
    sizes = {len(value) for value in out.values()}
    if len(sizes) > 1:
        raise WeightsError(f"The priors of {folder} differ in size: {sorted(sizes)}.")
    if "neutral" not in out:
        raise WeightsError(f"There is no neutral.npy in {folder}: expressions are measured by it.")
    said = {"spec": {"prior": sizes.pop()}, "about": dict(about)}
    with whole_file(target) as part:
        save_file(out, part, metadata={"mien": json.dumps(said)})
    return list(out)


def read_prior(path: Path) -> npt.NDArray[np.float32]:
    """The mean of one emotion's prior, ``float32 (256,)``.

    Raises:
        WeightsError: when it is none.
    """
    try:
        with path.open("rb") as file:
            data = _read(file)
    except (OSError, ValueError, pickle.UnpicklingError, EOFError, AttributeError) as error:
        raise WeightsError(
            f"{path} cannot be read as a prior ({error}). Nothing in it was executed."
        ) from error
    if isinstance(data, dict):
        if _NAME not in data:
            raise WeightsError(f"{path} holds {', '.join(map(str, data))}; expected {_NAME}.")
        data = data[_NAME]
    if not isinstance(data, np.ndarray) or data.dtype.kind not in "fiu":
        raise WeightsError(f"{path} holds no numbers but {type(data).__name__}.")
    values = data.astype(np.float32)
    if values.ndim > 2 or values.size < 2 or (values.ndim == 2 and len(values) != 1):
        raise WeightsError(f"{path} should hold one vector; it is {data.shape}.")
    if not np.isfinite(values).all():
        raise WeightsError(f"{path} holds values that are no numbers.")
    return values.reshape(-1)


def _read(file: BinaryIO) -> Any:  # noqa: ANN401
    version = np.lib.format.read_magic(file)
    reader = np.lib.format.read_array_header_1_0
    if version[0] > 1:
        reader = np.lib.format.read_array_header_2_0
    _, _, dtype = reader(file)
    if dtype.kind != "O":
        file.seek(0)
        return np.load(file, allow_pickle=False)
    data = _Numbers(file).load()
    return data.item() if isinstance(data, np.ndarray) and data.size == 1 else data
