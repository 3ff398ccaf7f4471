"""Write every net that ships with mien as a folder in the form of the Hugging Face hub.

    python tools/hub_folders.py build/hub
    hf upload OWNER/mien-listener build/hub/mien-listener

The card is the one beside the net. Its licence is "other", because the training data restricts the
use of most nets, as their cards say.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from mien import __version__
from mien.weights.hub import CARD_FILE, CONFIG_FILE, card

ASSETS = Path(__file__).resolve().parents[1] / "src" / "mien" / "assets"


def main(folder: Path) -> None:
    """Write a folder per card."""
    for page in sorted(ASSETS.glob("*.md")):
        text = page.read_text("utf-8")
        names = re.findall(r"\w+\.(?:onnx|npz)", text.splitlines()[0])
        target = folder / f"mien-{page.stem.replace('_', '-')}"
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copy(ASSETS / name, target)
        config = {"model_type": "mien", "mien_version": __version__, "files": names}
        (target / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
        (target / CARD_FILE).write_text(card("other", text, "onnx"), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
