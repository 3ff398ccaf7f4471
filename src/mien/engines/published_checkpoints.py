"""How each set of published weights becomes a net of mien; above the rooms it draws from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mien.errors import WeightsError
from mien.weights.convert import Expected, Layout, convert, convert_labels
from mien.weights.fetch import download
from mien.weights.manifest import (
    ADAPTERS,
    AUDIO,
    AUDIO2LIP,
    BANK,
    CONNECTOR,
    EAR,
    EMOTION2VEC,
    EYE,
    FLOW,
    GENERATOR,
    GUIDER,
    LABELS,
    PRIORS,
    UNET,
    VAE,
    Entry,
)
from mien.weights.priors import convert_priors
from mien.weights.store import Kept, Store, sha256_of

if TYPE_CHECKING:
    from torch import nn

Tensors = Mapping[str, Any]


def fetch(item: Entry, store: Store, *, offline: bool = False, endpoint: str | None = None) -> Kept:
    """Download, check and convert published weights.

    Raises:
        InputError, MissingExtraError, WeightsError: see :func:`mien.weights.fetch.download` and
            :func:`convert_file`.
    """
    path, sha256 = download(item, store, offline=offline, endpoint=endpoint)
    origin = f"{item.repository}/{item.file}@{item.revision}"
    return _convert(item, path, store, origin, sha256)


def convert_file(item: Entry, path: Path, store: Store) -> Kept:
    """Convert a published file (or folder of labels) that lies on this machine.

    Raises:
        InputError: when it is not there.
        WeightsError: when it is another checkpoint.
    """
    return _convert(item, path, store, str(path), sha256_of(path) if path.is_file() else "")


def _convert(item: Entry, path: Path, store: Store, origin: str, sha256: str) -> Kept:
    target = store.path_for(item)
    about = {"name": item.name, "origin": origin, "sha256": sha256, "licence": item.licence}
    if item.name == LABELS:
        from mien.engines.edtalk.spec import EDTalkSpec

        convert_labels(path, target, EDTalkSpec().expression, about)
    elif item.name == PRIORS:
        convert_priors(path, target, about)
    else:
        convert(path, target, _LAYOUTS[item.name], about)
    return store.note(item, target, origin, sha256)


def _generator(tensors: Tensors) -> Expected:
    from mien.engines.edtalk.keys import published_keys
    from mien.engines.edtalk.spec import EDTalkSpec

    spec = EDTalkSpec.of({name: tuple(value.shape) for name, value in tensors.items()})
    keys = published_keys(spec)
    return Expected(
        {key.name: key.shape for key in keys},
        frozenset(key.name for key in keys if key.place is not None),
        spec.to_dict(),
    )


def _audio2lip(tensors: Tensors) -> Expected:
    from mien.engines.edtalk.audio2lip import Audio2Lip

    lip, wide = _shape(tensors, "mapping.weight", 2)
    spec = {"lip": lip, "width": wide // 16}
    return _all_of(Audio2Lip(**spec), spec)


def _connector(tensors: Tensors) -> Expected:
    from dataclasses import asdict

    from mien.cmet.connector import Connector, ConnectorSpec

    layers = r"fusion_transformer_encoder\.transformer_encoder\.layers\.(\d+)\."
    width, speech = _shape(tensors, "speaker_encoder.proj.weight", 2)
    feed_forward, _ = _shape(
        tensors, "fusion_transformer_encoder.transformer_encoder.layers.0.linear1.weight", 2
    )
    spec = ConnectorSpec(
        expression=_shape(tensors, "projector.projector.0.weight", 2)[0],
        speech=speech,
        width=width,
        layers=len({m[1] for name in tensors if (m := re.match(layers, name))}),
        feed_forward=feed_forward,
    )
    return _all_of(Connector(spec), asdict(spec))


def _emotion2vec(tensors: Tensors) -> Expected:
    import torch

    from mien.speech.emotion2vec import Emotion2vec, Emotion2vecSpec

    spec = Emotion2vecSpec.of(tensors)
    with torch.device("meta"):
        return _all_of(Emotion2vec(spec), spec.to_dict())


def _all_of(net: nn.Module, spec: Mapping[str, Any]) -> Expected:
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    return Expected(shapes, frozenset(shapes), spec)


def _shape(tensors: Tensors, name: str, dimensions: int) -> tuple[int, ...]:
    if name not in tensors or tensors[name].ndim != dimensions:
        raise WeightsError(f"{name} is missing among its {len(tensors)} tensors, such as "
                           f"{', '.join(list(tensors)[:3])}.")  # fmt: skip
    return tuple(map(int, tensors[name].shape))


def _svd(name: str) -> Callable[[Tensors], Expected]:
    """What a net of the SVD engine must hold; its rooms are opened when needed."""

    def expect(tensors: Tensors) -> Expected:
        from mien.engines.svd import specs

        read, make = specs.NETS[name]
        try:
            spec = read(_shapes(tensors))
        except (KeyError, StopIteration, IndexError) as error:
            raise WeightsError(f"{error} is missing among its {len(tensors)} tensors.") from error
        return _all_of(make(spec), spec)

    return expect


def _unet(tensors: Tensors) -> Expected:
    from mien.engines.svd import specs

    try:
        spec = specs.unet_spec(_shapes(tensors))
    except (KeyError, StopIteration, IndexError) as error:
        raise WeightsError(f"{error} is missing among its {len(tensors)} tensors.") from error
    shapes = specs.stock_shapes(spec)
    return Expected(shapes, frozenset(shapes), spec)


def _adapters(tensors: Tensors) -> Expected:
    """All adapters must be there; whatever else of the UNet is, replaces the stock weights."""
    from mien.engines.svd import specs

    whole = "conv_in.weight" in tensors
    try:
        spec = (specs.unet_spec if whole else specs.adapted_spec)(_shapes(tensors))
    except (KeyError, StopIteration, IndexError, ValueError) as error:
        raise WeightsError(f"{error} is missing among its {len(tensors)} tensors.") from error
    stock = specs.stock_shapes(spec)
    shapes = specs.adapter_shapes(spec)
    shapes |= {name: shape for name, shape in stock.items() if name in tensors}
    return Expected(shapes, frozenset(shapes), spec)


def _shapes(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def _training_only(name: str) -> bool:
    """Whether a tensor of emotion2vec's file serves training alone."""
    return bool(
        re.search(r"decoder|_ema|ema\.|criterion|recon|mask_emb|\.norm_?cls|cls_head", name)
    )


_LAYOUTS: Final = {
    GENERATOR: Layout(
        "the EDTalk generator", _generator, ("gen", "state_dict"), ("module.",)
    ),
    AUDIO2LIP: Layout("Audio2Lip", _audio2lip, ("audio2lip", "state_dict"), ("module.",)),
    CONNECTOR: Layout("C-MET's connector", _connector, ("state_dict", "model"), ("module.",)),
    EMOTION2VEC: Layout(
        "emotion2vec", _emotion2vec, ("model", "state_dict"), ("module.", "d2v_model."),
        _training_only,
    ),
    UNET: Layout("Stable Video Diffusion's UNet", _unet),
    ADAPTERS: Layout("DICE-Talk's UNet", _adapters, ("state_dict",), ("module.",)),
    VAE: Layout("Stable Video Diffusion's VAE", _svd(VAE)),
    EYE: Layout(
        "CLIP's picture encoder", _svd(EYE),
        ignored=lambda name: name.endswith("position_ids"),
    ),
    EAR: Layout(
        "Whisper", _svd(EAR), prefixes=("model.", "encoder."),
        ignored=lambda name: name.startswith(("decoder.", "proj_out.")),
    ),
    AUDIO: Layout("DICE-Talk's audio projection", _svd(AUDIO),
                  ("state_dict",), ("module.",)),
    BANK: Layout("DICE-Talk's emotion model", _svd(BANK),
                 ("state_dict",), ("module.",)),
    GUIDER: Layout("DICE-Talk's pose guider", _svd(GUIDER),
                   ("state_dict",), ("module.",)),
    FLOW: Layout(
        "RIFE's flow net", _svd(FLOW), prefixes=("module.",),
        ignored=lambda name: name.startswith("block_tea."),
    ),
}  # fmt: skip
