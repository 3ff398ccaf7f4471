"""Tiny checkpoints in the published form, with weights made from names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mien.cmet.connector import Connector, ConnectorSpec
from mien.engines.edtalk.audio2lip import Audio2Lip
from mien.engines.edtalk.keys import Key, published_keys
from mien.engines.edtalk.spec import EDTalkSpec
from mien.engines.published_checkpoints import convert_file
from mien.speech.emotion2vec import Emotion2vec, Emotion2vecSpec
from mien.weights.manifest import AUDIO2LIP, CONNECTOR, EMOTION2VEC, GENERATOR, entry
from mien.weights.store import Store

from .reference.reference_weights import fill, state_dict

SPEC = EDTalkSpec(widths=(4, 8, 8, 8, 16), style=48, lip=6, pose=4, expression=10, affine=8)
HERE = Path(__file__).parent / "reference"


def generator_weights(spec: EDTalkSpec = SPEC, seed: int = 0) -> dict[str, torch.Tensor]:
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

    return {key.name: made(key) for key in published_keys(spec)}


def write_generator(path: Path, spec: EDTalkSpec = SPEC, seed: int = 0) -> Path:
    torch.save({"gen": generator_weights(spec, seed), "args": {"iter": 1}}, path)
    return path


def write_connector(path: Path, speech: int = 1024) -> Path:
    torch.manual_seed(0)
    net = Connector(ConnectorSpec(speech=speech, width=64, layers=1, feed_forward=64))
    torch.save({"state_dict": net.state_dict(), "optimizer": {}, "global_step": 1}, path)
    return path


def write_audio2lip(path: Path) -> Path:
    torch.manual_seed(0)
    torch.save({"audio2lip": Audio2Lip(SPEC.lip, 2).state_dict()}, path)
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
