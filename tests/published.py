"""Tiny checkpoints in the published form, with weights made from names and their own sizes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mien.cmet.connector import Connector, ConnectorSpec
from mien.engines.edtalk.audio2lip import Audio2Lip, Audio2LipConfig
from mien.engines.edtalk.checkpoints import Key, generator_keys
from mien.engines.edtalk.settings import EDTalkConfig
from mien.engines.published_checkpoints import convert_file
from mien.speech.emotion2vec import Emotion2vec, Emotion2vecSpec
from mien.weights.manifest import AUDIO2LIP, CONNECTOR, EMOTION2VEC, GENERATOR, entry
from mien.weights.store import Store

from .reference.reference_weights import fill, state_dict

SPEC = EDTalkConfig(widths=(4, 8, 8, 8, 16), style=48, lip=6, pose=4, expression=10, affine=8)
HERE = Path(__file__).parent / "reference"
CONNECTOR_SIZES = {"width": 64, "layers": 1, "feed_forward": 64}
AUDIO2LIP_SIZES = {"lip": SPEC.lip, "width": 2}


def own_config(sizes: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint carries whose sizes are not the published ones."""
    return {"mien": {"config": sizes}}


def generator_weights(spec: EDTalkConfig = SPEC, seed: int = 0) -> dict[str, torch.Tensor]:
    def made(key: Key) -> torch.Tensor:
        scale, shift = 1.0, 0.0
        if key.name.endswith("kernel"):
            taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
            return torch.outer(taps, taps) / 64 * (1 if "enc." in key.name else 4)
        if "to_flows" in key.name and "modulation" not in key.name:
            scale = 0.01
        elif key.name.endswith("bias"):
            scale, shift = 0.1, 1.0 if "modulation" in key.name else 0.0
        elif "fineadain" in key.name:
            scale = 1 / np.sqrt(np.prod(key.shape[1:]))
        return torch.from_numpy(fill(key.name, key.shape, seed, scale, shift))

    return {key.name: made(key) for key in generator_keys(spec)}


def write_generator(path: Path, spec: EDTalkConfig = SPEC, seed: int = 0) -> Path:
    weights = generator_weights(spec, seed)
    torch.save({"gen": weights, "args": {"iter": 1}, **own_config(asdict(spec))}, path)
    return path


def write_connector(path: Path, speech: int = 1024) -> Path:
    torch.manual_seed(0)
    sizes = {**CONNECTOR_SIZES, "speech": speech}
    weights = Connector(ConnectorSpec(**sizes)).state_dict()
    weights["projector.projector.2.weight"] *= 4  # an untrained connector hardly moves a face
    torch.save({"state_dict": weights, "optimizer": {}, **own_config(sizes)}, path)
    return path


def write_audio2lip(path: Path) -> Path:
    torch.manual_seed(0)
    weights = Audio2Lip(Audio2LipConfig(**AUDIO2LIP_SIZES)).state_dict()
    torch.save({"audio2lip": weights, **own_config(AUDIO2LIP_SIZES)}, path)
    return path


def write_emotion2vec(path: Path) -> Path:
    weights = {
        f"d2v_model.{name}": torch.from_numpy(np.asarray(value))
        for name, value in state_dict(HERE / "emotion2vec_tiny_a.json", 0).items()
    }
    weights["d2v_model.modality_encoders.AUDIO.decoder.blocks.0.weight"] = torch.zeros(3)
    torch.save({"model": weights}, path)
    return path


def tiny_store(folder: Path, speech: int = 1024) -> Store:
    """A store of tiny weights; ``speech`` 64 belongs to the tiny emotion2vec."""
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(folder / "cache")
    for name, path in (
        (GENERATOR, write_generator(folder / "EDTalk.pt")),
        (CONNECTOR, write_connector(folder / "connector.pth", speech)),
        (AUDIO2LIP, write_audio2lip(folder / "Audio2Lip.pt")),
        (EMOTION2VEC, write_emotion2vec(folder / "model.pt")),
    ):
        convert_file(entry(name), path, store)
    return store


def tiny_emotion2vec() -> Emotion2vec:
    weights = {
        name: torch.from_numpy(np.asarray(value))
        for name, value in state_dict(HERE / "emotion2vec_tiny_a.json", 0).items()
    }
    net = Emotion2vec(Emotion2vecSpec.of(weights))
    net.load_state_dict(weights)
    return net.eval()
