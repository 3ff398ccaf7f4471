"""Turn published checkpoints into safetensors that carry their own specification.

The only place that reads pickles, and only with ``weights_only``.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.errors import InputError, MissingExtraError, WeightsError
from mien.media.output import whole_file

if TYPE_CHECKING:
    from torch import Tensor

_NAMED: Final = 6
"""Tensors that an error names at most of each kind."""

_METADATA: Final = "mien"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a checkpoint must hold.

    Attributes:
        shapes: of every tensor by published name.
        kept: the names that are used; the others are checked and dropped.
        spec: sizes of the net in plain values; they travel with the weights.
    """

    shapes: Mapping[str, tuple[int, ...]]
    kept: frozenset[str]
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a published checkpoint is built.

    Attributes:
        what: name for errors.
        expect: reads the sizes from the tensors and says what must be there.
        nested: keys under which the tensors may lie, tried in order.
        prefixes: of names, to be stripped.
        ignored: whether a name that is not expected may be there (training's own).
    """

    what: str
    expect: Callable[[Mapping[str, Tensor]], Expected]
    nested: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    ignored: Callable[[str], bool] = field(default=lambda name: False)


def convert(source: Path, target: Path, layout: Layout, about: Mapping[str, str]) -> None:
    """Write ``target`` (safetensors) from a published checkpoint.

    Args:
        source: what the authors published.
        target: file to write, whole or not at all.
        layout: how it is built.
        about: kept beside the specification (origin, licence).

    Raises:
        InputError: when there is no such file.
        WeightsError: when it is another checkpoint, listing what does not match.
    """
    save_file = _safetensors().torch.save_file
    tensors = _stripped(_tensors(read_pickle(source), source, layout), layout)
    try:
        expected = layout.expect(tensors)
    except WeightsError as error:
        raise WeightsError(f"{source} is not {layout.what}. {error}") from error
    check(tensors, expected, f"{source} is not {layout.what}", layout.ignored)
    kept = {name: tensors[name].detach().clone().contiguous() for name in sorted(expected.kept)}
    said = {"spec": expected.spec, "about": dict(about)}
    with whole_file(target) as part:
        save_file(kept, part, metadata={_METADATA: json.dumps(said)})


def check(
    tensors: Mapping[str, Any],
    expected: Expected,
    problem: str,
    ignored: Callable[[str], bool] = lambda name: False,
) -> None:
    """Make sure that every tensor is there, of the right shape, and no other.

    Raises:
        WeightsError: ``problem``, then what is missing, unknown or of another shape.
    """
    missing = [name for name in expected.shapes if name not in tensors]
    unknown = [name for name in tensors if name not in expected.shapes and not ignored(name)]
    other = [
        f"{name}: expected {shape}, found {tuple(tensors[name].shape)}"
        for name, shape in expected.shapes.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    said = [
        f"{len(names)} {kind} ({_some(names)})"
        for kind, names in (("missing", missing), ("unknown", unknown), ("of another shape", other))
        if names
    ]
    if said:
        raise WeightsError(
            f"{problem}: of {len(expected.shapes)} tensors expected and {len(tensors)} found, "
            + "; ".join(said)
            + "."
        )


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and specification of converted weights.

    Raises:
        WeightsError: when the file is damaged or was not written by :func:`convert`.
    """
    torch_part, safe_open = _safetensors().torch, _safetensors().safe_open
    try:
        with safe_open(path, "pt") as file:
            said = json.loads((file.metadata() or {}).get(_METADATA, "null"))
        tensors = torch_part.load_file(path)
    except Exception as error:
        raise WeightsError(
            f"The weights {path} cannot be read ({error}). Check them with `mien weights verify`, "
            "then fetch or convert them again."
        ) from error
    if not isinstance(said, dict) or "spec" not in said:
        raise WeightsError(
            f"The weights {path} carry no specification; make them with `mien weights convert`."
        )
    return tensors, said["spec"]


def read_pickle(path: Path) -> Any:  # noqa: ANN401
    """What a checkpoint of PyTorch or a safetensors file holds, without running code in it.

    Raises:
        InputError: when there is no such file.
        WeightsError: when it cannot be read safely.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    safetensors = _safetensors()
    import argparse

    import torch

    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except Exception as error:
            raise WeightsError(f"{path} is no readable safetensors file ({error}).") from error
    try:
        # Some authors stored their command line beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "empty"
        raise WeightsError(
            f"{path} cannot be read as weights: it is cut short, no checkpoint, or holds more than "
            f"tensors ({reason}). It was not executed. Download it again."
        ) from error


def _tensors(data: Any, path: Path, layout: Layout) -> dict[str, Tensor]:  # noqa: ANN401
    import torch

    for name in layout.nested:
        if isinstance(data, dict) and isinstance(data.get(name), dict):
            data = data[name]
            break
    if not isinstance(data, dict):
        raise WeightsError(f"{path} is not {layout.what}: it holds a {type(data).__name__}.")
    out = {k: v for k, v in data.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
    if not out:
        names = ", ".join(map(str, list(data)[:_NAMED])) or "nothing"
        raise WeightsError(
            f"{path} is not {layout.what}: there are no tensors in it, but {names}; expected them "
            f"under {' or '.join(layout.nested) or 'their own names'}."
        )
    return out


def _stripped(tensors: dict[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    for prefix in layout.prefixes:
        if any(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def convert_labels(folder: Path, target: Path, size: int, about: Mapping[str, str]) -> list[str]:
    """Write expression coefficients per emotion from a folder of ``EMOTION.npy``; the names.

    Every array has ``size`` values, or rows of them, whose mean counts.

    Raises:
        InputError: when there is no such folder or nothing in it.
        WeightsError: for an array of another size, or a pickled one.
    """
    save_file = _safetensors().numpy.save_file
    files = sorted(folder.glob("*.npy")) if folder.is_dir() else []
    if not files:
        raise InputError(f"{folder} is no folder with EMOTION.npy files.")
    out = {}
    for path in files:
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path} cannot be read safely ({error}).") from error
        if values.shape[-1:] != (size,) or not np.isfinite(values).all():
            raise WeightsError(f"{path} should end in {size} finite values; it is {values.shape}.")
        out[path.stem.lower()] = values.reshape(-1, size).mean(0).astype(np.float32)
    said = {"spec": {"expression": size}, "about": dict(about)}
    with whole_file(target) as part:
        save_file(out, part, metadata={_METADATA: json.dumps(said)})
    return list(out)


def _safetensors() -> Any:  # noqa: ANN401 - keeps the import lazy
    try:
        import safetensors.numpy
        import safetensors.torch
    except ImportError as error:
        raise MissingExtraError(
            f"Published weights need more than the core ({error.name}): pip install 'mien[edtalk]'."
        ) from error
    return safetensors
