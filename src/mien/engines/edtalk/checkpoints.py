"""Published checkpoints of C-MET: how they are laid out, and the generator made from its tensors.

The generator's checkpoint stores raw weights of equalised layers, constants and branches that are
never used. All of its tensors are listed here, so that another file is recognised; only what is
used is kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from mien.cmet.connector import Connector, ConnectorSpec
from mien.engines.edtalk.audio2lip import Audio2Lip, Audio2LipConfig
from mien.engines.edtalk.generator import EDTalk
from mien.engines.edtalk.layers import GAIN
from mien.engines.edtalk.settings import START_PIXELS, EDTalkConfig
from mien.errors import WeightsError
from mien.speech.emotion2vec import Emotion2vec, Emotion2vecSpec
from mien.weights.convert import CheckpointFormat, Config, Expected, configured
from mien.weights.manifest import AUDIO2LIP, CONNECTOR, EMOTION2VEC, GENERATOR


def _expect_generator(sizes: Config, tensors: Mapping[str, Any]) -> Expected:
    config = configured(EDTalkConfig, sizes)
    keys = list(generator_keys(config))
    used = [key.name for key in keys if key.parameter is not None]
    return Expected(asdict(config), {key.name: key.shape for key in keys}, used)


def _expect(
    make: Callable[[Any], nn.Module], spec: type, sizes: Config, tensors: Mapping[str, Any]
) -> Expected:
    # emotion2vec's authors publish no sizes of the large model that could be written down here.
    read = spec is Emotion2vecSpec and not sizes
    config: Any = Emotion2vecSpec.of(tensors) if read else configured(spec, sizes)
    with torch.device("meta"):
        state = make(config).state_dict()
    return Expected(asdict(config), {name: tuple(value.shape) for name, value in state.items()})


FORMATS: Final[Mapping[str, CheckpointFormat]] = {
    GENERATOR: CheckpointFormat(
        "the EDTalk generator", _expect_generator, ("gen", "state_dict"), ("module.",)
    ),
    AUDIO2LIP: CheckpointFormat(
        "Audio2Lip",
        partial(_expect, Audio2Lip, Audio2LipConfig),
        ("audio2lip", "state_dict"),
        ("module.",),
    ),
    CONNECTOR: CheckpointFormat(
        "C-MET's connector",
        partial(_expect, Connector, ConnectorSpec),
        ("state_dict", "model"),
        ("module.",),
    ),
    EMOTION2VEC: CheckpointFormat(
        "emotion2vec",
        partial(_expect, Emotion2vec, Emotion2vecSpec),
        ("model", "state_dict"),
        ("module.", "d2v_model."),
        r"decoder|_ema|ema\.|criterion|recon|mask_emb|\.norm_?cls|cls_head",
    ),
}
"""Layout of the published checkpoints, by name in the manifest."""


class Key(NamedTuple):
    """One tensor of the generator's published checkpoint.

    Attributes:
        name: published name.
        shape: published shape.
        parameter: name of the parameter of :class:`EDTalk` that it becomes; None if it is unused.
        factor: what it is multiplied by.
        transposed: whether input and output channels are swapped (transposed convolutions).
    """

    name: str
    shape: tuple[int, ...]
    parameter: str | None = None
    factor: float = 1.0
    transposed: bool = False


def fold(tensors: Mapping[str, Tensor], config: EDTalkConfig, dtype: torch.dtype) -> EDTalk:
    """Make the generator from published tensors, in evaluation mode.

    Args:
        tensors: every tensor that is used, by its published name; others are ignored.
        config: sizes.
        dtype: precision of the result; scaling is done in float64.

    Raises:
        WeightsError: naming what is missing or of another shape.
    """
    with torch.device("meta"):
        net = EDTalk(config)
    shapes = {name: value.shape for name, value in net.state_dict().items()}
    state: dict[str, Tensor] = {}
    for key in generator_keys(config):
        if key.parameter is None:
            continue
        value = tensors.get(key.name)
        if value is None or tuple(value.shape) != key.shape:
            got = "nothing" if value is None else str(tuple(value.shape))
            raise WeightsError(f"EDTalk's {key.name} should be {key.shape}; got {got}.")
        value = value.double() * key.factor
        if key.transposed:
            value = value.squeeze(0).transpose(0, 1)
        state[key.parameter] = value.contiguous().to(dtype).reshape(shapes[key.parameter])
    net.load_state_dict(state, assign=True)
    net.requires_grad_(False).to(dtype)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net.eval()


def generator_keys(config: EDTalkConfig) -> Iterator[Key]:
    """Yield every tensor of the generator's published checkpoint at these sizes."""
    style = config.style
    yield from _encoder(config)
    yield from _synthesis(config)
    shape = (style, config.lip + config.pose)
    yield Key("direction_lipnonlip.weight", shape, "direction_lip_pose")
    yield Key("direction_exp.weight", (style, config.expression), "direction_expression")
    yield from _linears("fc", "heads.shared", [style] * config.shared_layers, style)
    hidden = [style] * (config.head_layers - 1)
    yield from _linears("lip_fc", "heads.lip", [*hidden, config.lip], style)
    yield from _linears("pose_fc", "heads.pose", [*hidden, config.pose], style)
    yield from _linears("exp_fc", "heads.expression", [*hidden, config.expression], style)


def _encoder(config: EDTalkConfig) -> Iterator[Key]:
    base, widths = "enc.net_app.convs", config.widths
    first, last = widths[0], widths[-1]
    yield Key(f"{base}.0.0.weight", (first, 3, 1, 1), "encoder.first.weight", _scale(3) * GAIN)
    yield Key(f"{base}.0.1.bias", (1, first, 1, 1), "encoder.first.bias", GAIN)
    for i, (a, b) in enumerate(itertools.pairwise(widths), 1):
        at, own = f"{base}.{i}", f"encoder.blocks.{i - 1}"
        yield Key(f"{at}.conv1.0.weight", (a, a, 3, 3), f"{own}.keep.weight", _scale(9 * a) * GAIN)
        yield Key(f"{at}.conv1.1.bias", (1, a, 1, 1), f"{own}.keep.bias", GAIN)
        yield Key(f"{at}.conv2.0.kernel", (4, 4))
        # The gain of the second activation and the division by sqrt(2) of the sum cancel.
        yield Key(f"{at}.conv2.1.weight", (b, a, 3, 3), f"{own}.shrink.weight", _scale(9 * a))
        yield Key(f"{at}.conv2.2.bias", (1, b, 1, 1), f"{own}.shrink.bias")
        yield Key(f"{at}.skip.0.kernel", (4, 4))
        yield Key(f"{at}.skip.1.weight", (b, a, 1, 1), f"{own}.skip.weight", _scale(a) / GAIN)
    shape = (config.style, last, 4, 4)
    yield Key(f"{base}.{len(widths)}.weight", shape, "encoder.last.weight", _scale(16 * last))


def _synthesis(config: EDTalkConfig) -> Iterator[Key]:
    widths, style = config.widths[::-1], config.style
    yield Key("dec.input.input", (1, widths[0], START_PIXELS, START_PIXELS), "synthesis.start")
    yield from _modulated("dec.conv1", "synthesis.first", widths[0], widths[0], style)
    yield Key("dec.to_rgb1.bias", (1, 3, 1, 1))
    yield Key("dec.to_rgb1.conv.0.weight", (3, widths[0], 1, 1))
    yield Key("dec.to_rgb1.conv.1.bias", (1, 3, 1, 1))
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        own = f"synthesis.levels.{i}"
        yield from _modulated(f"dec.convs.{2 * i}", f"{own}.up", a, b, style, up=True)
        yield from _modulated(f"dec.convs.{2 * i + 1}", f"{own}.same", b, b, style)
        colour, flow = f"dec.to_rgbs.{i}", f"dec.to_flows.{i}"
        yield Key(f"{colour}.bias", (1, 3, 1, 1), f"{own}.colour_bias")
        yield Key(f"{colour}.upsample.kernel", (4, 4))
        factor = _scale(b) * GAIN
        yield Key(f"{colour}.conv.0.weight", (3, b, 1, 1), f"{own}.colour.weight", factor)
        yield Key(f"{colour}.conv.1.bias", (1, 3, 1, 1), f"{own}.colour.bias", GAIN)
        yield Key(f"{flow}.bias", (1, 3, 1, 1), f"{own}.flow_bias")
        yield Key(f"{flow}.upsample.kernel", (4, 4))
        yield Key(f"{flow}.conv.weight", (1, 3, b, 1, 1), f"{own}.flow_weight", _scale(b))
        yield from _modulation(f"{flow}.conv", f"{own}.flow_modulation", b, style)
        yield from _expression(f"dec.fineadainresblock.{i}", f"{own}.express", b, config)


def _modulated(
    published: str, own: str, inputs: int, outputs: int, style: int, *, up: bool = False
) -> Iterator[Key]:
    shape = (1, outputs, inputs, 3, 3)
    yield Key(f"{published}.conv.weight", shape, f"{own}.weight", _scale(9 * inputs), up)
    if up:
        yield Key(f"{published}.conv.blur.kernel", (4, 4))
    yield from _modulation(f"{published}.conv", f"{own}.modulation", inputs, style)
    yield Key(f"{published}.noise.weight", (1,))
    yield Key(f"{published}.activate.bias", (1, outputs, 1, 1), f"{own}.bias", GAIN)


def _modulation(published: str, own: str, inputs: int, style: int) -> Iterator[Key]:
    shape = (inputs, style)
    yield Key(f"{published}.modulation.weight", shape, f"{own}.weight", _scale(style))
    yield Key(f"{published}.modulation.bias", (inputs,), f"{own}.bias")


def _expression(published: str, own: str, width: int, config: EDTalkConfig) -> Iterator[Key]:
    for branch in "12":
        for name, part, shape in (
            (f"conv{branch}", "conv", (width, width, 3, 3)),
            (f"norm{branch}.mlp_shared.0", "shared", (config.affine, config.style)),
            (f"norm{branch}.mlp_gamma", "scale", (width, config.affine)),
            (f"norm{branch}.mlp_beta", "shift", (width, config.affine)),
        ):
            # The released code computes the first branch and discards the result.
            used = f"{own}.{part}" if branch == "2" else None
            yield Key(f"{published}.{name}.weight", shape, used and f"{used}.weight")
            yield Key(f"{published}.{name}.bias", shape[:1], used and f"{used}.bias")


def _linears(published: str, own: str, sizes: list[int], style: int) -> Iterator[Key]:
    for i, size in enumerate(sizes):
        shape = (size, style)
        yield Key(f"{published}.{i}.weight", shape, f"{own}.{i}.weight", _scale(style))
        yield Key(f"{published}.{i}.bias", (size,), f"{own}.{i}.bias")


def _scale(fan_in: int) -> float:
    return 1 / math.sqrt(fan_in)
