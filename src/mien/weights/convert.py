"""Convert published checkpoints to safetensors files that carry their configuration.

This is the only module that reads published pickles, and nothing in them is executed: checkpoints
are read with ``weights_only=True``, pickled NumPy arrays by an unpickler that knows arrays alone.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar

import numpy as np
import numpy.typing as npt

from mien.errors import InputError, WeightsError, needs_extra
from mien.media.output import whole_file

if TYPE_CHECKING:
    from torch import Tensor

Config = Mapping[str, Any]
"""Sizes of a net in plain values."""

Vector = npt.NDArray[np.float32]
T = TypeVar("T")

_NAMED: Final = 6
"""Largest number of tensors that an error lists of each kind."""

_METADATA: Final = "mien"
"""Key of the configuration, in the metadata of safetensors and in pickles that mien writes."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a checkpoint must contain.

    Attributes:
        config: sizes of the net; they are stored with the weights.
        shapes: shape of every tensor by its published name.
        used: names of the tensors to keep; the others are checked and dropped. None: all.
    """

    config: Config
    shapes: Mapping[str, tuple[int, ...]]
    used: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class CheckpointFormat:
    """How a published checkpoint is laid out.

    Attributes:
        title: name for error messages.
        expect: returns what must be there, given the sizes that differ from the published ones
            and the tensors.
        nested: keys under which the tensors may be, tried in order.
        prefixes: prefixes of names to strip.
        ignored: pattern of names that may be there as well (used in training only).
    """

    title: str
    expect: Callable[[Config, Mapping[str, Tensor]], Expected]
    nested: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    ignored: str | None = None


def configured(kind: type[T], sizes: Config) -> T:
    """Return the dataclass ``kind`` with its defaults replaced by ``sizes``.

    Raises:
        WeightsError: for sizes that ``kind`` does not have.
    """
    check_sizes(sizes, [one.name for one in fields(kind)])  # type: ignore[arg-type]
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in sizes.items()})


def check_sizes(sizes: Config, valid: Collection[str]) -> None:
    """Refuse names of sizes that are not ``valid``."""
    unknown = [name for name in sizes if name not in valid]
    if unknown:
        raise WeightsError(
            f"The configuration has unknown sizes: {', '.join(unknown)}. Valid: "
            f"{', '.join(valid) or 'none'}."
        )


def convert(
    source: Path,
    target: Path,
    layout: CheckpointFormat,
    about: Mapping[str, str],
    config: Config | None = None,
) -> None:
    """Write ``target`` (safetensors) from a published checkpoint.

    Args:
        source: the published file.
        target: file to write, whole or not at all.
        layout: how the published file is laid out.
        about: stored beside the configuration (origin, licence).
        config: sizes that differ from the published ones; None: those that the checkpoint itself
            carries, as files trained by mien do.

    Raises:
        InputError: when there is no such file.
        WeightsError: when it is another checkpoint, listing what does not match.
    """
    data, own = _read_checkpoint(source)
    problem = f"{source} is not {layout.title}"
    tensors = _tensors(data, problem, layout)
    try:
        expected = layout.expect(own if config is None else config, tensors)
    except WeightsError as error:
        raise WeightsError(f"{problem}. {error}") from error
    _check(tensors, expected.shapes, problem, layout.ignored)
    used = expected.shapes if expected.used is None else expected.used
    save({name: tensors[name].detach().clone() for name in used}, target, expected.config, about)


def _check(
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    problem: str,
    ignored: str | None,
) -> None:
    missing = [name for name in shapes if name not in tensors]
    unknown = [name for name in tensors if name not in shapes]
    if ignored is not None:
        unknown = [name for name in unknown if not re.search(ignored, name)]
    other = [
        f"{name}: expected {shape}, found {tuple(tensors[name].shape)}"
        for name, shape in shapes.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    found = [
        f"{len(names)} {kind} ({_some(names)})"
        for kind, names in (("missing", missing), ("unknown", unknown), ("of another shape", other))
        if names
    ]
    if found:
        raise WeightsError(
            f"{problem}: of {len(shapes)} tensors expected and {len(tensors)} found, "
            f"{'; '.join(found)}. For a net of other sizes use mien weights convert --config."
        )


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def save(
    tensors: Mapping[str, Tensor], path: Path, config: Config, about: Mapping[str, str]
) -> None:
    """Write tensors with the configuration of their net, in the form that :func:`load` reads.

    Args:
        tensors: on any device.
        path: safetensors file to write, whole or not at all.
        config: sizes of the net in plain values.
        about: where they come from (name, origin, licence).
    """
    with needs_extra("edtalk", "Converting weights"):
        from safetensors.torch import save_file
    stored = {"config": dict(config), "about": dict(about)}
    parts = {name: tensors[name].cpu().contiguous() for name in sorted(tensors)}
    with whole_file(path) as part:
        save_file(parts, part, metadata={_METADATA: json.dumps(stored)})


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and configuration of converted weights.

    Raises:
        WeightsError: when the file is damaged or was not written by :func:`save`.
    """
    tensors, config = _read_safetensors(
        path, "Check it with `mien weights verify`, then fetch or convert it again."
    )
    if config is None:
        raise WeightsError(
            f"The weights {path} have no configuration; make them with `mien weights convert`."
        )
    return tensors, config


def _read_checkpoint(path: Path) -> tuple[Any, Config]:
    """Read a PyTorch or safetensors file, and the configuration in it; empty if there is none."""
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    if path.suffix == ".safetensors":
        tensors, stored = _read_safetensors(path, "Download it again.")
        return tensors, stored or {}
    with needs_extra("edtalk", "Converting weights"):
        import torch
    import argparse

    try:
        # Some authors stored their command line beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            data = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "empty"
        raise WeightsError(
            f"{path} cannot be read as weights: it is cut short, no checkpoint, or holds more than "
            f"tensors ({reason}). It was not executed. Download it again."
        ) from error
    own = data.get(_METADATA) if isinstance(data, dict) else None
    return data, own.get("config", {}) if isinstance(own, dict) else {}


def _read_safetensors(path: Path, advice: str) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    with needs_extra("edtalk", "Reading published weights"):
        from safetensors import safe_open
        from safetensors.torch import load_file
    try:
        with safe_open(path, "pt") as file:
            stored = json.loads((file.metadata() or {}).get(_METADATA, "null"))
        tensors = load_file(path)
    except Exception as error:
        raise WeightsError(f"The weights {path} cannot be read ({error}). {advice}") from error
    return tensors, stored.get("config") if isinstance(stored, dict) else None


def _tensors(data: Any, problem: str, layout: CheckpointFormat) -> dict[str, Tensor]:  # noqa: ANN401
    import torch

    for name in layout.nested:
        if isinstance(data, dict) and isinstance(data.get(name), dict):
            data = data[name]
            break
    if not isinstance(data, dict):
        raise WeightsError(f"{problem}: it holds a {type(data).__name__}.")
    out = {k: v for k, v in data.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
    if not out:
        names = ", ".join(map(str, list(data)[:_NAMED])) or "nothing"
        raise WeightsError(
            f"{problem}: there are no tensors in it, only {names}; expected them under "
            f"{' or '.join(layout.nested) or 'their own names'}."
        )
    for prefix in layout.prefixes:
        out = {name.removeprefix(prefix): value for name, value in out.items()}
    return out


def convert_labels(folder: Path, target: Path, size: int, about: Mapping[str, str]) -> None:
    """Write expression coefficients per emotion from a folder of ``EMOTION.npy``.

    Every file holds ``size`` values, or rows of them, which are averaged.

    Raises:
        InputError: when there is no such folder or nothing in it.
        WeightsError: for an array of another size, or a file that holds something else.
    """
    out = {}
    for path in _arrays_in(folder):
        values = _read_numbers(path)
        if values.shape[-1:] != (size,):
            raise WeightsError(f"{path} should end in {size} finite values; it is {values.shape}.")
        out[path.stem.lower()] = values.reshape(-1, size).mean(0).astype(np.float32)
    _save_vectors(out, target, {"expression": size}, about)


def convert_priors(folder: Path, target: Path, about: Mapping[str, str]) -> None:
    """Write DICE-Talk's emotion priors from a folder of ``EMOTION.npy``; see :func:`read_prior`.

    Raises:
        InputError: when there is no such folder or nothing in it.
        WeightsError: for a file that holds something else.
    """
    out = {path.stem.lower(): read_prior(path) for path in _arrays_in(folder)}
    sizes = {len(value) for value in out.values()}
    if len(sizes) > 1:
        raise WeightsError(f"The priors of {folder} differ in size: {sorted(sizes)}.")
    if "neutral" not in out:
        raise WeightsError(
            f"There is no neutral.npy in {folder}; emotions are measured from neutral."
        )
    _save_vectors(out, target, {"prior": sizes.pop()}, about)


def _arrays_in(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.npy")) if folder.is_dir() else []
    if not files:
        raise InputError(f"{folder} is no folder with EMOTION.npy files.")
    return files


def _save_vectors(
    vectors: Mapping[str, Vector], target: Path, config: Config, about: Mapping[str, str]
) -> None:
    import torch

    save({k: torch.from_numpy(v) for k, v in vectors.items()}, target, config, about)


_PRIOR_KEY: Final = "mu"

_PICKLED_ARRAYS: Final = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core")
      for name in ("_reconstruct", "scalar")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}  # fmt: skip
"""Everything that a pickled array of numbers needs."""


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
    if values.ndim > 2 or values.size < 2 or (values.ndim == 2 and len(values) != 1):
        raise WeightsError(f"{path} should hold one vector; it is {values.shape}.")
    return values.reshape(-1)


def _read_numbers(path: Path) -> npt.NDArray[Any]:
    """Read a ``.npy`` file with finite numbers, or a pickled dictionary with such as ``mu``."""
    try:
        with path.open("rb") as file:
            data = _read_array(file)
    except (OSError, ValueError, pickle.UnpicklingError, EOFError, AttributeError) as error:
        raise WeightsError(
            f"{path} cannot be read as an array of numbers ({error}). Nothing in it was executed."
        ) from error
    if isinstance(data, dict):
        if _PRIOR_KEY not in data:
            raise WeightsError(f"{path} holds {', '.join(map(str, data))}; expected {_PRIOR_KEY}.")
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
    if read(file)[2].kind != "O":
        file.seek(0)
        return np.load(file, allow_pickle=False)
    data = _ArrayUnpickler(file).load()
    return data.item() if isinstance(data, np.ndarray) and data.size == 1 else data
