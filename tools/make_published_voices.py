"""Average published speech embeddings per emotion: ``src/mien/assets/published_voices.npz``.

python tools/make_published_voices.py FEATURES.npz

FEATURES has ``files`` (``CORPUS/EMOTION_....ogg``) and ``features`` (N, 1024): emotion2vec+ large,
mean over frames, raw.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

ASSETS = Path(__file__).parent.parent / "src" / "mien" / "assets"


def main() -> None:
    """Average the embeddings and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", type=Path)
    stored = np.load(parser.parse_args().features, allow_pickle=False)
    found = defaultdict(list)
    for file, feature in zip(stored["files"].tolist(), stored["features"], strict=True):
        found[Path(file).name.partition("_")[0]].append(feature)
    names = sorted(found)
    voices = np.stack([np.mean(found[name], 0) for name in names]).astype(np.float32)
    np.savez_compressed(ASSETS / "published_voices.npz", names=np.array(names), voices=voices)
    for name in names:
        print(f"{name}: {len(found[name])} recordings")


if __name__ == "__main__":
    main()
