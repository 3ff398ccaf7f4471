"""Measure the speed of a whole edit, from H.264 file to H.264 file, start-up included.

python benchmarks/speed.py [--seconds 24]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from clips import loop
from record import MEDIA, table, write_section

import mien
from mien.face.facs import BASIC_EMOTIONS

CLIPS = {
    "512 x 512, face 300 px": "hdtf_512_25fps.mp4",
    "1280 x 720, face 300 px": "wide_1280x720_30fps.mp4",
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=24.0)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for title, name in CLIPS.items():
            clip = loop(MEDIA / "videos" / name, Path(folder) / name, args.seconds)
            speeds = {
                emotion: mien.edit(clip, Path(folder) / "out.mp4", emotion, overwrite=True)
                for emotion in BASIC_EMOTIONS[1:]
            }
            values = {e: r.frames_per_second for e, r in speeds.items()}
            slowest = min(values, key=lambda e: values[e])
            frames = next(iter(speeds.values())).frames
            rows.append([title, frames, float(np.mean(list(values.values()))),
                         f"{values[slowest]:.1f} ({slowest})"])  # fmt: skip
    head = ["clip", "frames", "frames/s, mean of 7 emotions", "slowest"]
    write_section("Speed", "Start-up and loading of the nets included.\n\n" + table(head, rows))


if __name__ == "__main__":
    main()
