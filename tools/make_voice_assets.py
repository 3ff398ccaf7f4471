"""Export finished trainings as the voice nets and presets in ``src/mien/assets``.

mien train listener --config configs/listener.toml --data DATA -o runs/listener
python tools/make_voice_assets.py listener runs/listener [runs/listener-2 ...]
python tools/make_voice_assets.py extended runs/listener --data DATA
mien train connector --config configs/connector.toml --data DATA -o runs/connector
python tools/make_voice_assets.py connector runs/connector --data DATA
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mien.speech.listener import Listener
from mien.training.connector.export import export_connector, load_connector
from mien.training.connector.mesh import ConnectorConfig
from mien.training.listener import ListenerConfig
from mien.training.listener.data import load_data
from mien.training.listener.extended import extend, fit
from mien.training.listener.net import ListenerNet, ListenerSpec, export_listener, load_net
from mien.training.listener.sampling import Excerpts
from mien.training.trainer import CHECKPOINT
from mien.training.voice_faces import load_voice_faces

ASSETS = Path(__file__).parent.parent / "src" / "mien" / "assets"
CONFIGS = Path(__file__).parent.parent / "configs"

EVERY = 6
"""One in so many recordings of people is an example of what sounds like no extended label."""


def net_of(run: Path) -> ListenerNet:
    """Return the net of a run: the finished one, or the averaged weights of its last checkpoint."""
    if (run / "listener.pt").exists():
        return load_net(run / "listener.pt")
    state = torch.load(run / CHECKPOINT, map_location="cpu", weights_only=True)
    sizes = {name: state["config"][name] for name in ("stem", "width", "embedding")}
    net = ListenerNet(ListenerSpec(**sizes))
    net.load_state_dict(state["net"] | state["average"])
    return net.eval()


def main() -> None:
    """Export the runs named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("listener", "extended", "connector"))
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--data", type=Path, help="folder with the training data, for the others")
    parser.add_argument("--to", type=Path, default=ASSETS, help="folder of the assets")
    arguments = parser.parse_args()
    if arguments.what == "listener":
        export_listener([net_of(run) for run in arguments.runs], arguments.to)
    elif arguments.what == "extended":
        config = ListenerConfig.load(CONFIGS / "listener.toml", data=arguments.data)
        speech = load_data(config, arguments.runs[0] / "features")
        listener, excerpts = Listener(arguments.to), Excerpts(speech.cache)
        usable = [i for i, good in enumerate(speech.cache.usable) if good]
        synthetic = [i for i in usable if speech.utterances[i].corpus == "tts"]
        chosen = synthetic + sorted(set(speech.train) - set(synthetic))[::EVERY]
        voices = [listener.embed([excerpts.get(i).astype(np.float32)])[0] for i in chosen]
        logits = fit(np.stack(voices), [speech.utterances[i].emotion for i in chosen])
        says = arguments.to / "listener_says.onnx"
        extend(says, says, logits)
    else:
        config = ConnectorConfig.load(CONFIGS / "connector.toml", data=arguments.data)
        config = replace(config, listener=arguments.to)
        data = load_voice_faces(config, arguments.runs[0])
        export_connector(load_connector(arguments.runs[0] / "connector.pt"), data, arguments.to)
    for path in sorted(arguments.to.glob("*.onnx")):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
