"""How the published weights become ours: every key, its shape, its place and its factor.

The published checkpoint stores raw values of equalised layers, constants and branches that are
never used. All of them are listed, so that another file than the expected one is recognised; only
what is used is kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mien.engines.edtalk.generator import EDTalk
from mien.engines.edtalk.layers import GAIN
from mien.engines.edtalk.spec import PIXELS_AT_START, EDTalkSpec
from mien.errors import WeightsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Key:
    """One tensor of the published checkpoint.

    Attributes:
        name: published key.
        shape: published shape.
        place: name in :class:`EDTalk`; None where it is not used.
        factor: what it is multiplied by.
        swapped: whether input and output channels change places (transposed convolutions).
    """

    name: str
    shape: tuple[int, ...]
    place: str | None = None
    factor: float = 1.0
    swapped: bool = False


def published_keys(spec: EDTalkSpec) -> list[Key]:
    """Every key of a published checkpoint of these sizes."""
    keys = [*_encoder(spec), *_synthesis(spec)]
    style = spec.style
    keys += [
        Key("direction_lipnonlip.weight", (style, spec.lip + spec.pose), "direction_lip_pose"),
        Key("direction_exp.weight", (style, spec.expression), "direction_expression"),
    ]
    keys += _linears("fc", "heads.shared", [style] * spec.shared_layers, style)
    for theirs, ours, size in (
        ("lip_fc", "heads.lip", spec.lip),
        ("pose_fc", "heads.pose", spec.pose),
        ("exp_fc", "heads.expression", spec.expression),
    ):
        keys += _linears(theirs, ours, [style] * (spec.head_layers - 1) + [size], style)
    return keys


def fold(published: Mapping[str, Tensor], spec: EDTalkSpec, dtype: torch.dtype) -> EDTalk:
    """The generator out of published tensors, in evaluation mode.

    Args:
        published: every tensor that is used, by its published key; others are ignored.
        spec: sizes.
        dtype: precision; scaling is done in float64.

    Raises:
        WeightsError: naming what is missing or of another shape.
    """
    import torch

    with torch.device("meta"):
        net = EDTalk(spec)
    state: dict[str, Tensor] = {}
    for key in used(spec):
        value = published.get(key.name)
        if value is None or tuple(value.shape) != key.shape:
            got = "nothing" if value is None else str(tuple(value.shape))
            raise WeightsError(f"EDTalk's {key.name} should be {key.shape}; got {got}.")
        state[str(key.place)] = _as_used(value, key).to(dtype)
    own = net.state_dict()
    state = {name: value.reshape(own[name].shape) for name, value in state.items()}
    net.load_state_dict(state, assign=True)
    for module in net.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _filter_like(buffer, module, dtype)
    net.requires_grad_(False)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net.eval()


def used(spec: EDTalkSpec) -> Iterator[Key]:
    """The keys that are used."""
    return (key for key in published_keys(spec) if key.place is not None)


def _as_used(value: Tensor, key: Key) -> Tensor:
    value = value.double() * key.factor
    if key.swapped:
        value = value.squeeze(0).transpose(0, 1)
    return value.contiguous()


def _filter_like(buffer: Tensor, module: torch.nn.Module, dtype: torch.dtype) -> Tensor:
    """A filter constant for a module that was made without memory."""
    import torch

    from mien.engines.edtalk.layers import Blur, Upsample

    channels = buffer.shape[0]
    if isinstance(module, Upsample):
        return Upsample(channels).kernel.to(dtype)
    if isinstance(module, Blur):
        return Blur(channels, module.padding, gain=module.gain).kernel.to(dtype)
    return torch.zeros(buffer.shape, dtype=dtype)


def _encoder(spec: EDTalkSpec) -> Iterator[Key]:
    base, widths = "enc.net_app.convs", spec.widths
    first = widths[0]
    yield Key(f"{base}.0.0.weight", (first, 3, 1, 1), "encoder.first.weight", _scale(3) * GAIN)
    yield Key(f"{base}.0.1.bias", (1, first, 1, 1), "encoder.first.bias", GAIN)
    for i, (a, b) in enumerate(itertools.pairwise(widths), 1):
        at, own = f"{base}.{i}", f"encoder.blocks.{i - 1}"
        yield Key(f"{at}.conv1.0.weight", (a, a, 3, 3), f"{own}.keep.weight", _scale(9 * a) * GAIN)
        yield Key(f"{at}.conv1.1.bias", (1, a, 1, 1), f"{own}.keep.bias", GAIN)
        yield Key(f"{at}.conv2.0.kernel", (4, 4))
        # The second activation's gain and the root of two under the sum cancel.
        yield Key(f"{at}.conv2.1.weight", (b, a, 3, 3), f"{own}.shrink.weight", _scale(9 * a))
        yield Key(f"{at}.conv2.2.bias", (1, b, 1, 1), f"{own}.shrink.bias")
        yield Key(f"{at}.skip.0.kernel", (4, 4))
        yield Key(f"{at}.skip.1.weight", (b, a, 1, 1), f"{own}.skip.weight", _scale(a) / GAIN)
    last = widths[-1]
    yield Key(
        f"{base}.{len(widths)}.weight", (spec.style, last, 4, 4), "encoder.last.weight",
        _scale(16 * last),
    )  # fmt: skip


def _synthesis(spec: EDTalkSpec) -> Iterator[Key]:
    widths = spec.widths[::-1]
    side = PIXELS_AT_START
    yield Key("dec.input.input", (1, widths[0], side, side), "synthesis.start")
    yield from _modulated("dec.conv1", "synthesis.first", widths[0], widths[0], spec)
    yield Key("dec.to_rgb1.bias", (1, 3, 1, 1))
    yield Key("dec.to_rgb1.conv.0.weight", (3, widths[0], 1, 1))
    yield Key("dec.to_rgb1.conv.1.bias", (1, 3, 1, 1))
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        own = f"synthesis.levels.{i}"
        yield from _modulated(f"dec.convs.{2 * i}", f"{own}.up", a, b, spec, up=True)
        yield from _modulated(f"dec.convs.{2 * i + 1}", f"{own}.same", b, b, spec)
        yield from _colour(f"dec.to_rgbs.{i}", own, b)
        yield from _flow(f"dec.to_flows.{i}", own, b, spec)
        yield from _expression(f"dec.fineadainresblock.{i}", f"{own}.express", b, spec)


def _modulated(
    theirs: str, ours: str, inputs: int, outputs: int, spec: EDTalkSpec, *, up: bool = False
) -> Iterator[Key]:
    shape = (1, outputs, inputs, 3, 3)
    yield Key(f"{theirs}.conv.weight", shape, f"{ours}.weight", _scale(9 * inputs), up)
    if up:
        yield Key(f"{theirs}.conv.blur.kernel", (4, 4))
    yield from _modulation(f"{theirs}.conv", f"{ours}.modulation", inputs, spec)
    yield Key(f"{theirs}.noise.weight", (1,))
    yield Key(f"{theirs}.activate.bias", (1, outputs, 1, 1), f"{ours}.bias", GAIN)


def _modulation(theirs: str, ours: str, inputs: int, spec: EDTalkSpec) -> Iterator[Key]:
    shape = (inputs, spec.style)
    yield Key(f"{theirs}.modulation.weight", shape, f"{ours}.weight", _scale(spec.style))
    yield Key(f"{theirs}.modulation.bias", (inputs,), f"{ours}.bias")


def _colour(theirs: str, ours: str, width: int) -> Iterator[Key]:
    yield Key(f"{theirs}.bias", (1, 3, 1, 1), f"{ours}.colour_bias")
    yield Key(f"{theirs}.upsample.kernel", (4, 4))
    factor = _scale(width) * GAIN
    yield Key(f"{theirs}.conv.0.weight", (3, width, 1, 1), f"{ours}.colour.weight", factor)
    yield Key(f"{theirs}.conv.1.bias", (1, 3, 1, 1), f"{ours}.colour.bias", GAIN)


def _flow(theirs: str, ours: str, width: int, spec: EDTalkSpec) -> Iterator[Key]:
    yield Key(f"{theirs}.bias", (1, 3, 1, 1), f"{ours}.flow_bias")
    yield Key(f"{theirs}.upsample.kernel", (4, 4))
    shape = (1, 3, width, 1, 1)
    yield Key(f"{theirs}.conv.weight", shape, f"{ours}.flow_weight", _scale(width))
    yield from _modulation(f"{theirs}.conv", f"{ours}.flow_modulation", width, spec)


def _expression(theirs: str, ours: str, width: int, spec: EDTalkSpec) -> Iterator[Key]:
    hidden, style = spec.affine, spec.style
    for branch in (1, 2):
        # The first branch is computed and thrown away by the published code.
        live = branch == 2
        conv, norm = f"{theirs}.conv{branch}", f"{theirs}.norm{branch}"
        parts = (
            (f"{conv}.weight", (width, width, 3, 3), "conv.weight"),
            (f"{conv}.bias", (width,), "conv.bias"),
            (f"{norm}.mlp_shared.0.weight", (hidden, style), "shared.weight"),
            (f"{norm}.mlp_shared.0.bias", (hidden,), "shared.bias"),
            (f"{norm}.mlp_gamma.weight", (width, hidden), "scale.weight"),
            (f"{norm}.mlp_gamma.bias", (width,), "scale.bias"),
            (f"{norm}.mlp_beta.weight", (width, hidden), "shift.weight"),
            (f"{norm}.mlp_beta.bias", (width,), "shift.bias"),
        )
        for name, shape, own in parts:
            yield Key(name, shape, f"{ours}.{own}" if live else None)


def _linears(theirs: str, ours: str, sizes: list[int], style: int) -> list[Key]:
    out = []
    for i, size in enumerate(sizes):
        weight = Key(f"{theirs}.{i}.weight", (size, style), f"{ours}.{i}.weight", _scale(style))
        out += [weight, Key(f"{theirs}.{i}.bias", (size,), f"{ours}.{i}.bias")]
    return out


def _scale(fan_in: int) -> float:
    return 1 / math.sqrt(fan_in)
