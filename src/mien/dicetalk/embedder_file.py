"""An embedder in a file, with its specification."""

from __future__ import annotations

import json
from pathlib import Path

from mien.dicetalk.embedder import EmbedderSpec, EmotionEmbedder
from mien.errors import InputError
from mien.media.output import whole_file
from mien.weights.convert import load


def load_embedder(path: Path) -> EmotionEmbedder:
    """Read stage 1's ``embedder.safetensors``.

    Raises:
        InputError: when there is none.
        WeightsError: when it is damaged.
    """
    if not path.is_file():
        raise InputError(f"There is no embedder {path}; mien train dice-embedder makes one.")
    tensors, spec = load(path)
    net = EmotionEmbedder(EmbedderSpec(**spec))
    net.load_state_dict(tensors)
    return net.eval()


def save_embedder(net: EmotionEmbedder, path: Path) -> None:
    """Write an embedder with its specification."""
    from safetensors.torch import save_file

    tensors = {name: value.cpu().contiguous() for name, value in net.state_dict().items()}
    said = {"mien": json.dumps({"spec": net.spec.to_dict(), "about": {"name": "embedder"}})}
    with whole_file(path) as part:
        save_file(tensors, part, metadata=said)
