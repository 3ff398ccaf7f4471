"""Edit every portrait of a folder to every emotion, for the judges and for inspection.

Writes ``OUT/<portrait>/<emotion>.png`` beside ``input.png`` and its landmarks, and ``OUT/sheet.png``.

    python benchmarks/render_faces.py ../shared/media/portraits OUT
"""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

import mien
from mien.face.facs import BASIC_EMOTIONS
from mien.face.tracker import FaceTracker
from mien.media.still import read_still, write_still

TILE = 256


def tile(image: np.ndarray) -> np.ndarray:
    """Fit the picture into a square."""
    scale = TILE / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    bottom, right = TILE - small.shape[0], TILE - small.shape[1]
    return cv2.copyMakeBorder(small, 0, bottom, 0, right, cv2.BORDER_CONSTANT)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--intensity", type=float, default=1.0)
    args = parser.parse_args()
    rows = []
    for source in sorted(p for p in args.portraits.iterdir() if p.is_file()):
        folder = args.out / source.stem
        folder.mkdir(parents=True, exist_ok=True)
        try:
            image = read_still(source)
            tiles = [tile(image)]
            write_still(folder / "input.png", image)
            with closing(FaceTracker(still=True)) as tracker:
                np.save(folder / "landmarks.npy", tracker(image)[0])
            for name in BASIC_EMOTIONS[1:]:
                target = folder / f"{name}.png"
                mien.edit(source, target, name, intensity=args.intensity, overwrite=True)
                tiles.append(tile(read_still(target)))
        except mien.MienError as error:
            print(f"left out: {error}")
            continue
        rows.append(np.hstack(tiles))
        print(source.name)
    write_still(args.out / "sheet.png", np.vstack(rows))


if __name__ == "__main__":
    main()
