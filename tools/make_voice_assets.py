"""Export finished trainings as the voice nets and presets in ``src/mien/assets``.

mien train listener --config configs/listener.toml --data DATA -o runs/listener
python tools/make_voice_assets.py listener runs/listener [runs/listener-2 ...]
python tools/make_voice_assets.py extended --data DATA
mien train connector --config configs/connector.toml --data DATA -o runs/connector
python tools/make_voice_assets.py connector runs/connector --data DATA
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mien.datasets.manifest import read_manifest
from mien.media.audio import read_speech
from mien.speech.features import features, speech_span
from mien.speech.listener import Listener
from mien.training.connector.export import export_connector, load_connector
from mien.training.connector.mesh import ConnectorConfig
from mien.training.listener.extended import extend, fit
from mien.training.listener.net import export_listener, load_net
from mien.training.voice_faces import load_voice_faces

ASSETS = Path(__file__).parent.parent / "src" / "mien" / "assets"
CONFIGS = Path(__file__).parent.parent / "configs"

EVERY = 6
"""One in so many recordings of people is an example of what sounds like no extended label."""


def embed(paths: list[Path]) -> np.ndarray:
    """Embed recordings as a whole, without the silence around the speech."""
    listener, out = Listener(), []
    for path in paths:
        rows = features(read_speech(path))
        low, high = speech_span(rows)
        out.append(listener.embed([rows[low:high]])[0])
    return np.stack(out)


def main() -> None:
    """Export the runs named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("listener", "extended", "connector"))
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--data", type=Path, help="folder with the training data, for the others")
    arguments = parser.parse_args()
    if arguments.what == "listener":
        export_listener([load_net(run / "listener.pt") for run in arguments.runs], ASSETS)
    elif arguments.what == "extended":
        listed = read_manifest(arguments.data / "speech" / "manifest.csv")
        spoken = [u for u in listed if u.corpus == "tts"]
        spoken += [u for u in listed if u.corpus != "tts" and u.split == "train"][::EVERY]
        logits = fit(embed([u.path for u in spoken]), [u.emotion for u in spoken])
        extend(ASSETS / "listener_says.onnx", ASSETS / "listener_says.onnx", logits)
    else:
        config = ConnectorConfig.load(CONFIGS / "connector.toml", data=arguments.data)
        data = load_voice_faces(config, arguments.runs[0])
        export_connector(load_connector(arguments.runs[0] / "connector.pt"), data, ASSETS)
    for path in sorted(ASSETS.glob("*.onnx")):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
