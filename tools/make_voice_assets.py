"""Export finished trainings as the voice nets and presets in ``src/mien/assets``.

mien train listener --config configs/listener.toml --data DATA -o runs/listener
python tools/make_voice_assets.py listener runs/listener [runs/listener-2 ...]
mien train connector --config configs/connector.toml --data DATA -o runs/connector
python tools/make_voice_assets.py connector runs/connector --data DATA
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.training.connector.export import export_connector, load_connector
from mien.training.connector.mesh import ConnectorConfig
from mien.training.listener.net import export_listener, load_net
from mien.training.voice_faces import load_voice_faces

ASSETS = Path(__file__).parent.parent / "src" / "mien" / "assets"
CONFIGS = Path(__file__).parent.parent / "configs"


def main() -> None:
    """Export the runs named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("listener", "connector"))
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, help="folder with the training data, for connector")
    arguments = parser.parse_args()
    if arguments.what == "listener":
        export_listener([load_net(run / "listener.pt") for run in arguments.runs], ASSETS)
    else:
        config = ConnectorConfig.load(CONFIGS / "connector.toml", data=arguments.data)
        data = load_voice_faces(config, arguments.runs[0])
        export_connector(load_connector(arguments.runs[0] / "connector.pt"), data, ASSETS)
    for path in sorted(ASSETS.glob(f"{arguments.what}*")):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
