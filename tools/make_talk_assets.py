"""Export finished trainings as the nets of ``mien talk`` in ``src/mien/assets``.

mien train articulator --config configs/articulator.toml --data DATA -o runs/articulator
python tools/make_talk_assets.py articulator runs/articulator [runs/articulator-2 ...]
mien train dice-mesh --config configs/dice_mesh.toml --data DATA -o runs/dice
python tools/make_talk_assets.py dice runs/dice
mien train dice-face --config configs/dice_face.toml --data DATA -o runs/dice-face
python tools/make_talk_assets.py dice_face runs/dice-face
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.training.articulator.net import export_articulator, load_net
from mien.training.emotion_prior.face import export_speaking_face
from mien.training.emotion_prior.mesh import export_dice

ASSETS = Path(__file__).parent.parent / "src" / "mien" / "assets"


def main() -> None:
    """Export the runs named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("articulator", "dice", "dice_face"))
    parser.add_argument("runs", type=Path, nargs="+")
    arguments = parser.parse_args()
    if arguments.what == "articulator":
        export_articulator([load_net(run / "articulator.pt") for run in arguments.runs], ASSETS)
    elif arguments.what == "dice_face":
        export_speaking_face(arguments.runs[0], ASSETS)
    else:
        export_dice(arguments.runs[0], ASSETS)
    for path in sorted(ASSETS.glob(f"{arguments.what}.*")):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
