"""Export finished trainings as the evaluation's nets in ``src/mien/assets``.

mien train sync --config configs/sync.toml --data DATA -o runs/sync
python tools/make_evaluation_assets.py sync runs/sync
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.training.sync.net import export_sync, load_net

ASSETS = Path(__file__).parent.parent / "src" / "mien" / "assets"


def main() -> None:
    """Export the run named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("net", choices=("sync",))
    parser.add_argument("run", type=Path)
    parser.add_argument("--assets", type=Path, default=ASSETS)
    arguments = parser.parse_args()
    export_sync(load_net(arguments.run / "sync.pt"), arguments.assets)


if __name__ == "__main__":
    main()
