"""Fit landmark displacements to the articulation code: ``src/mien/assets/articulation.npz``.

python tools/make_articulation.py DATA/talking/landmarks DATA/talking/manifest.csv

The first argument is what ``tools/label_clips.py`` wrote, the second the table of the clips. Only
real clips are used.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from mien.face.topology import canonical_face
from mien.training.articulator.data import codes_of, head_frames

ASSETS = Path(__file__).parent.parent / "src" / "mien" / "assets"
RIDGE = 1e-4
"""Ridge penalty, relative to the variance of the code."""


def reach() -> np.ndarray:
    """Return the reach of speech, 0..1 per landmark: the lower face, nothing above the nose."""
    points = canonical_face().points
    nose, lip = points[4, 1], points[0, 1]
    return np.clip((points[:, 1] - nose) / (0.7 * (lip - nose)), 0, 1)


def main() -> None:
    """Fit the regression and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labels", type=Path)
    parser.add_argument("manifest", type=Path)
    args = parser.parse_args()
    with args.manifest.open(encoding="utf-8") as file:
        clips = [row["clip"] for row in csv.DictReader(file) if row["kind"] == "real"]
    products = np.zeros((7, 7))
    targets = np.zeros((7, 478 * 3))
    for clip in clips:
        path = args.labels / f"{clip}.npz"
        if not path.is_file():
            continue
        head = head_frames(path)
        code = codes_of(head)
        shift = head - np.median(head[code[:, 0] < np.quantile(code[:, 0], 0.3) + 1e-6], 0)
        code, shift = code - code.mean(0), shift - shift.mean(0)
        weight = 1 / len(code)
        products += weight * code.T @ code
        targets += weight * code.T @ shift.reshape(len(shift), -1)
    fields = np.linalg.solve(products + RIDGE * np.trace(products) / 7 * np.eye(7), targets)
    fields = fields.reshape(7, 478, 3)
    mirror = canonical_face().mirror
    flipped = fields[:, mirror] * [-1, 1, 1]
    fields = (fields + flipped) / 2 * reach()[None, :, None]
    np.savez_compressed(ASSETS / "articulation.npz", fields=fields.astype(np.float16))
    print(f"{len(clips)} clips, {(ASSETS / 'articulation.npz').stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
