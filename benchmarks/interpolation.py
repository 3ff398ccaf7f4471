"""Measure how well frames between others are made: RIFE against their average.

python benchmarks/interpolation.py CLIP...

Every second frame of the first forty is left out and made again from its neighbours. The weights are
those of the store (mien weights fetch svd/interpolator).
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from record import table, write_section
from torch import Tensor

from mien.engines.svd.rife import MULTIPLE, FlowNet
from mien.media.read import VideoReader
from mien.weights.convert import load
from mien.weights.manifest import INTERPOLATOR
from mien.weights.store import Store

FRAMES = 41


def decibels(one: Tensor, other: Tensor) -> float:
    """Return the mean PSNR of pictures ``(N, 3, H, W)`` in 0..1."""
    errors = (one - other).square().mean((1, 2, 3)).clamp(min=1e-10)
    return float((-10 * errors.log10()).mean())


@torch.inference_mode()
def measured(net: FlowNet, path: Path) -> list[object]:
    """Return a row: the clip, the PSNR of averages and of interpolated frames."""
    with VideoReader(path) as reader:
        images = np.stack([frame.image for frame in islice(reader, FRAMES)])
    rows, columns = (side // (2 * MULTIPLE) * 2 * MULTIPLE for side in images.shape[1:3])
    made, averaged, true = [], [], []
    for k in range(1, len(images) - 1, 2):
        three = torch.from_numpy(images[k - 1 : k + 2, :rows, :columns]).permute(0, 3, 1, 2) / 255
        made.append(net(three[:1], three[2:]).middle)
        averaged.append((three[:1] + three[2:]) / 2)
        true.append(three[1:2])
    wanted = torch.cat(true)
    return [path.stem, decibels(torch.cat(averaged), wanted), decibels(torch.cat(made), wanted)]


def main() -> None:
    """Run the benchmark and write its section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    args = parser.parse_args()
    net = FlowNet().eval()
    net.load_state_dict(load(Store().locate(INTERPOLATOR))[0])
    rows = [measured(net, path) for path in args.clips]
    write_section("Interpolation", table(["clip", "average, dB", "RIFE 3.8, dB"], rows))


if __name__ == "__main__":
    main()
