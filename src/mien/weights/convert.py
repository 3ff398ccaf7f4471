"""Convert published checkpoints to safetensors files that carry their configuration.

Besides :mod:`mien.weights.vectors` this is the only module that reads published pickles. Nothing in
them is executed: checkpoints are read with ``weights_only=True``.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mien.errors import InputError, WeightsError, needs_extra
from mien.media.output import whole_file
from mien.utils.text import shown

if TYPE_CHECKING:
    from torch import Tensor, nn

    Net = TypeVar("Net", bound=nn.Module)

Config = Mapping[str, Any]
"""Sizes of a net in plain values."""

T = TypeVar("T")

_NAMED: Final = 6
_LONGEST_NAME: Final = 160
"""Largest number of tensors that an error lists of each kind, and of characters of each."""

WIDEST: Final = 1 << 17
_DEEPEST, _LONGEST = 256, 16
"""Largest width, number of layers, and number of entries in a configuration."""

_LAYERS: Final = re.compile("layer|block|prenet")
_COUNTS: Final = re.compile(r"num_batches_tracked$|position_ids$")
"""Names of the tensors that hold whole numbers."""

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
        WeightsError: for sizes that ``kind`` does not have, and for values that no net has.
    """
    defaults = {one.name: one.default for one in fields(kind)}  # type: ignore[arg-type]
    check_sizes(sizes, list(defaults))
    for name, value in sizes.items():
        if not _possible(value, defaults[name], _DEEPEST if _LAYERS.search(name) else WIDEST):
            raise WeightsError(f"The configuration has an impossible size: {name} {shown(value)}.")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in sizes.items()})


def _possible(value: object, default: object, most: int) -> bool:
    """Whether a size is of its default's type and within reason."""
    if isinstance(default, tuple):
        several = list(value) if isinstance(value, list | tuple) else []
        return 0 < len(several) <= _LONGEST and all(_possible(v, 1, most) for v in several)
    if isinstance(default, float):
        return type(value) in (int, float) and 0 <= float(str(value)) < 1
    return type(value) is type(default) and (not isinstance(value, int) or 0 <= value <= most)


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
    except Exception as error:
        raise WeightsError(
            f"{problem}: no net has its sizes ({type(error).__name__}: {shown(str(error))})."
        ) from error
    _check(tensors, expected.shapes, problem, layout.ignored)
    used = expected.shapes if expected.used is None else expected.used
    odd = [f"{name} {fault}" for name in used if (fault := _fault(name, tensors[name]))]
    if odd:
        raise WeightsError(f"{problem}: {some_of(odd)}. Download it again, or save it as usual.")
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
        f"{len(names)} {kind} ({some_of(names)})"
        for kind, names in (("missing", missing), ("unknown", unknown), ("of another shape", other))
        if names
    ]
    if found:
        raise WeightsError(
            f"{problem}: of {len(shapes)} tensors expected and {len(tensors)} found, "
            f"{'; '.join(found)}. For a net of other sizes use mien weights convert --config."
        )


def _fault(name: str, values: Tensor) -> str:
    """Say why a tensor cannot be used; "" if it can."""
    import torch

    if values.is_meta:
        return "has no values"
    if values.layout != torch.strided or values.is_quantized:
        return "is sparse or quantised"
    if not values.is_floating_point():
        return "" if _COUNTS.search(name) else f"holds {values.dtype} instead of fractions"
    # Not every narrow type can be tested.
    finite = torch.isfinite(values if values.element_size() > 1 else values.float()).all()
    return "" if finite else "holds values that are no numbers"


def some_of(names: list[str]) -> str:
    """Return the first of many names, and how many more there are."""
    first = [
        "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name[:_LONGEST_NAME])
        for name in names[:_NAMED]
    ]
    more = len(names) - _NAMED
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")


def save(
    tensors: Mapping[str, Tensor], path: Path, config: Config, about: Mapping[str, str]
) -> None:
    """Write tensors with the configuration of their net, in the form that :func:`load` reads.

    Args:
        tensors: on any device.
        path: safetensors file to write, whole or not at all.
        config: sizes of the net in plain values.
        about: where they come from (name, origin, licence).

    Raises:
        OutputError: when the disk is full or writing fails.
    """
    with needs_extra("edtalk", "Converting weights"):
        from safetensors import SafetensorError
        from safetensors.torch import save_file
    stored = {"config": dict(config), "about": dict(about)}
    parts = {name: tensors[name].cpu().contiguous() for name in sorted(tensors)}
    with whole_file(path) as part:
        try:
            save_file(parts, part, metadata={_METADATA: json.dumps(stored)})
        except SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error


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


def load_net(path: Path, make: Callable[[Any], Net], spec: type) -> Net:
    """Load a net onto the CPU, in evaluation mode.

    Args:
        path: converted weights, which carry the net's sizes.
        make: builds the net from its ``spec``.
        spec: dataclass of the sizes.

    Raises:
        WeightsError: when the file is damaged or holds another net.
    """
    import torch

    tensors, sizes = load(path)
    problem = f"The weights {path} are of another net"
    try:
        config: Any = configured(spec, sizes)
        with torch.device("meta"):
            state = make(config).state_dict()
    except Exception as error:
        raise WeightsError(f"{problem} ({shown(str(error))}).") from error
    _check(tensors, {name: tuple(value.shape) for name, value in state.items()}, problem, None)
    net = make(config)
    net.load_state_dict(tensors)
    return net.eval()


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
    except Exception as error:  # a damaged file fails wherever the reader happens to be
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "empty"
        raise WeightsError(
            f"{path} cannot be read as weights: it is cut short, no checkpoint, or holds more than "
            f"tensors ({reason}). It was not executed. Download it again."
        ) from error
    return data, _config_of(data.get(_METADATA) if isinstance(data, dict) else None) or {}


def _config_of(stored: object) -> dict[str, Any] | None:
    """Return the sizes that mien stored with weights; None where there are none."""
    config = stored.get("config") if isinstance(stored, dict) else None
    return config if isinstance(config, dict) and all(isinstance(k, str) for k in config) else None


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
    return tensors, _config_of(stored)


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
        names = some_of([str(name) for name in data]) or "nothing"
        raise WeightsError(
            f"{problem}: there are no tensors in it, only {names}; expected them under "
            f"{' or '.join(layout.nested) or 'their own names'}."
        )
    nested = [name for name, value in out.items() if value.is_nested]
    if nested:
        raise WeightsError(f"{problem}: {some_of(nested)} are tensors of tensors.")
    found = len(out)
    for prefix in layout.prefixes:
        out = {name.removeprefix(prefix): value for name, value in out.items()}
    if len(out) < found:
        raise WeightsError(f"{problem}: it holds {found - len(out)} tensors twice.")
    return out
