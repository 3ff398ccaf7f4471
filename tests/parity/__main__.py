"""Run every case whose file is in a folder; exit code 1 if one is out of tolerance."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from ..reference.reference_weights import waveform
from . import cmet, dice

CASES = (*cmet.CASES, *dice.CASES)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make parity", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of recorded .npz files")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and inputs")
    args = parser.parse_args()
    if not args.folder.is_dir():
        parser.error(f"{args.folder} is not a folder")
    found = sorted(path.stem for path in args.folder.glob("*.npz"))
    known = [case for case in CASES if case.file in found]
    if not known:
        parser.error(f"{args.folder} holds none of {', '.join(sorted({c.file for c in CASES}))}")
    inputs = _seed_of_inputs(args.folder, args.seed)
    failed = False
    for case in known:
        differences = list(case.check(args.folder, args.seed, inputs))
        worst = max(differences, key=lambda d: d.most / d.limit.most)
        good = all(d.good for d in differences)
        failed |= not good
        name = f"{case.name} {case.run.__name__}"
        print(
            f"{'ok  ' if good else 'OUT '} {name:40} {len(differences):3} arrays, largest error "
            f"{worst.most:.1e} of {worst.limit.most:.0e} ({worst.name})"
        )
        for bad in (d for d in differences if not d.good):
            print(f"     {bad.name}: most {bad.most:.2e}, mean {bad.mean:.2e}, {bad.limit}")
    for name in sorted(set(found) - {case.file for case in CASES}):
        print(f"--   {name}: not a part of mien yet")
    return int(failed)


def _seed_of_inputs(folder: Path, seed: int) -> int:
    """Return the seed of the recorded waveform: the weights', or 0 as in the public files."""
    path = folder / "audio2lip.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as golden:
            head = golden["waveform_a_head"]
        for one in (seed, 0):
            if np.abs(waveform("audio2lip.a", 10_240, one)[: len(head)] - head).max() < 1e-6:
                return one
    return seed


if __name__ == "__main__":
    sys.exit(main())
