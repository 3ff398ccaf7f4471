"""Export finished trainings as the evaluation's nets in ``src/mien/assets``.

mien train sync --config configs/sync.toml --data DATA -o runs/sync
python tools/make_evaluation_assets.py sync runs/sync
mien train expression --config configs/expression.toml --data DATA -o runs/expression
python tools/make_evaluation_assets.py expression runs/expression
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.training.expression import net as expression
from mien.training.sync import net as sync

ASSETS = Path(__file__).parent.parent / "src" / "mien" / "assets"


def main() -> None:
    """Export the run named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("net", choices=("sync", "expression"))
    parser.add_argument("run", type=Path)
    parser.add_argument("--assets", type=Path, default=ASSETS)
    arguments = parser.parse_args()
    if arguments.net == "sync":
        sync.export_sync(sync.load_net(arguments.run / "sync.pt"), arguments.assets)
    else:
        trained = expression.load_net(arguments.run / "expression.pt")
        expression.export_expression(trained, arguments.assets)


if __name__ == "__main__":
    main()
