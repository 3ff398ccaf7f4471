"""Convert vectors per emotion: EDTalk's expression coefficients, and DICE-Talk's priors.

The priors are published as pickled NumPy arrays; they are read by an unpickler that knows arrays
alone.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from mien.errors import InputError, WeightsError
from mien.weights.convert import WIDEST, Config, save, some_of

Vector = npt.NDArray[np.float32]

_EMOTION: Final = re.compile(r"[A-Za-z][\w -]*")
_PRIOR_KEY: Final = "mu"
_MOST_NUMBERS: Final = 1 << 24
"""Largest array that is read as numbers per emotion."""

_PICKLED_ARRAYS: Final = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core")
      for name in ("_reconstruct", "scalar")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}  # fmt: skip
"""Everything that a pickled array of numbers needs."""


def convert_labels(folder: Path, target: Path, size: int, about: Mapping[str, str]) -> None:
    """Write expression coefficients per emotion from a folder of ``EMOTION.npy``.

    Every file holds ``size`` values, or rows of them, which are averaged.

    Raises:
        InputError: when there is no such folder or nothing in it.
        WeightsError: for an array of another size, or a file that holds something else.
    """
    out = {}
    for name, path in _arrays_in(folder).items():
        values = _read_numbers(path)
        if values.shape[-1:] != (size,) or not values.size:
            raise WeightsError(f"{path} should hold rows of {size} values; it is {values.shape}.")
        out[name] = values.reshape(-1, size).mean(0).astype(np.float32)
    _save_vectors(out, target, {"expression": size}, about)


def convert_priors(folder: Path, target: Path, about: Mapping[str, str]) -> None:
    """Write DICE-Talk's emotion priors from a folder of ``EMOTION.npy``; see :func:`read_prior`.

    Raises:
        InputError: when there is no such folder or nothing in it.
        WeightsError: for a file that holds something else.
    """
    out = {name: read_prior(path) for name, path in _arrays_in(folder).items()}
    sizes = {len(value) for value in out.values()}
    if len(sizes) > 1:
        raise WeightsError(f"The priors of {folder} differ in size: {sorted(sizes)}.")
    if "neutral" not in out:
        raise WeightsError(
            f"There is no neutral.npy in {folder}; emotions are measured from neutral."
        )
    _save_vectors(out, target, {"prior": sizes.pop()}, about)


def _arrays_in(folder: Path) -> dict[str, Path]:
    """List the files of a folder by the emotion that they are named after."""
    files = sorted(folder.glob("*.npy")) if folder.is_dir() else []
    if not files:
        raise InputError(f"{folder} is no folder with EMOTION.npy files.")
    out = {path.stem.lower(): path for path in files}
    odd = [path.name for path in files if not _EMOTION.fullmatch(path.stem)]
    if odd or len(out) < len(files):
        raise WeightsError(
            f"{folder} should hold one EMOTION.npy per emotion; it holds "
            f"{some_of(odd or [path.name for path in files])}."
        )
    return out


def _save_vectors(
    vectors: Mapping[str, Vector], target: Path, config: Config, about: Mapping[str, str]
) -> None:
    import torch

    save({k: torch.from_numpy(v) for k, v in vectors.items()}, target, config, about)


class _ArrayUnpickler(pickle.Unpickler):
    """Reads dictionaries of arrays and refuses everything else that a pickle could call."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        if (module, name) not in _PICKLED_ARRAYS:
            raise pickle.UnpicklingError(f"it would call {module}.{name}")
        return super().find_class(module, name)


def read_prior(path: Path) -> Vector:
    """Read the mean of one emotion's prior, ``float32 (256,)`` at the published size.

    Args:
        path: ``.npy`` file with an array of numbers, or a pickled dictionary with ``mu``,
            ``(1, 256)``.

    Raises:
        WeightsError: when it holds something else.
    """
    values = _read_numbers(path).astype(np.float32)
    if values.ndim > 2 or not 2 <= values.size <= WIDEST or values.size != values.shape[-1]:
        raise WeightsError(f"{path} should hold one vector; it is {values.shape}.")
    return values.reshape(-1)


def _read_numbers(path: Path) -> npt.NDArray[Any]:
    """Read a ``.npy`` file with finite numbers, or a pickled dictionary with such as ``mu``."""
    try:
        with path.open("rb") as file:
            data = _read_array(file)
    except Exception as error:  # a damaged file fails wherever the reader happens to be
        raise WeightsError(
            f"{path} cannot be read as an array of numbers ({error}). Nothing in it was executed."
        ) from error
    if isinstance(data, dict):
        if _PRIOR_KEY not in data:
            raise WeightsError(
                f"{path} holds {some_of([str(key) for key in data])}; expected {_PRIOR_KEY}."
            )
        data = data[_PRIOR_KEY]
    if not isinstance(data, np.ndarray) or data.dtype.kind not in "fiu":
        raise WeightsError(f"{path} holds a {type(data).__name__}; expected an array of numbers.")
    if not np.isfinite(data).all():
        raise WeightsError(f"{path} holds values that are no numbers.")
    return data


def _read_array(file: BinaryIO) -> Any:  # noqa: ANN401
    version = np.lib.format.read_magic(file)
    header = np.lib.format
    read = header.read_array_header_2_0 if version[0] > 1 else header.read_array_header_1_0
    shape, _, kind = read(file)
    if math.prod(shape) > _MOST_NUMBERS:
        raise ValueError(f"it claims to be {shape}")
    if kind.kind != "O":
        file.seek(0)
        return np.load(file, allow_pickle=False)
    data = _ArrayUnpickler(file).load()
    return data.item() if isinstance(data, np.ndarray) and data.size == 1 else data
