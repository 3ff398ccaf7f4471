"""Export finished trainings as the tracker's nets in ``src/mien/assets``.

mien train tracker --config configs/tracker_face.toml --data DATA -o runs/face  # and so on
python tools/make_tracker_assets.py runs/detector runs/face runs/mouth runs/eye
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.training.tracker.nets import export_net, load_net

ASSETS = Path(__file__).parent.parent / "src" / "mien" / "assets"


def main() -> None:
    """Export the runs named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--assets", type=Path, default=ASSETS)
    arguments = parser.parse_args()
    for run in arguments.runs:
        path = export_net(load_net(run / "net.pt"), arguments.assets)
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
