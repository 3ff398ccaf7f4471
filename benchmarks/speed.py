"""Measure `mien edit` against plain decoding and encoding of the same clip: CPU time, peak memory.

Both run as processes of their own, with the same encoder settings, start-up included.

python benchmarks/speed.py [--seconds 24] [--emotion happy]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import av
import cv2
from clips import loop
from record import MEDIA, table, write_section

from mien.media.encode import QUALITY

SMALL = "hdtf_512_25fps.mp4"
WIDE = "wide_1280x720_30fps.mp4"
SIZES = {"512 x 512": (SMALL, None), "1280 x 720": (WIDE, None),
         "1920 x 1080": (WIDE, (1920, 1080)), "3840 x 2160": (WIDE, (3840, 2160))}  # fmt: skip
PLAIN = f"""
import av, sys
with av.open(sys.argv[1]) as source, av.open(sys.argv[2], "w") as target:
    clip = source.streams.video[0]
    clip.thread_type = "AUTO"
    options = {{"crf": "{QUALITY}", "preset": "veryfast"}}
    stream = target.add_stream("libx264", rate=clip.average_rate, options=options)
    stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, clip.pix_fmt
    stream.codec_context.thread_count, stream.codec_context.time_base = 2, clip.time_base
    for frame in source.decode(clip):
        frame.pict_type = 0
        target.mux(stream.encode(frame))
    target.mux(stream.encode(None))
"""


class Cost(NamedTuple):
    """CPU seconds, wall-clock seconds and peak memory (MB) of a process."""

    cpu: float
    wall: float
    memory: float


def cost(command: list[str]) -> Cost:
    """Run a command."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command[:4])} … failed.")
    wall = time.perf_counter() - started
    return Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024)


def in_larger_frame(source: Path, target: Path, size: tuple[int, int]) -> Path:
    """Put a clip, in its own size, into the middle of its enlarged self."""
    with av.open(str(source)) as clip, av.open(str(target), "w") as out:
        picture = clip.streams.video[0]
        stream = out.add_stream("libx264", rate=picture.average_rate, options={"crf": "16"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for index, frame in enumerate(clip.decode(picture)):
            image = frame.to_ndarray(format="rgb24")
            large = cv2.resize(image, size)
            top, left = (size[1] - image.shape[0]) // 2, (size[0] - image.shape[1]) // 2
            large[top : top + image.shape[0], left : left + image.shape[1]] = image
            drawn = av.VideoFrame.from_ndarray(large, "rgb24")
            drawn.pts, drawn.time_base = index, 1 / Fraction(picture.average_rate)
            out.mux(stream.encode(drawn))
        out.mux(stream.encode(None))
    return target


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=24.0)
    parser.add_argument("--emotion", default="happy")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, (source, size) in SIZES.items():
            clip = MEDIA / "videos" / source
            if size is not None:
                # Not here: Linux counts the memory of a process towards its children's peak.
                with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                    large = folder / f"large{size[1]}.mp4"
                    clip = pool.submit(in_larger_frame, clip, large, size).result()
            clip = loop(clip, folder / f"clip {title}.mp4", args.seconds)
            plain = cost([sys.executable, "-c", PLAIN, str(clip), str(folder / "plain.mp4")])
            edit = cost([sys.executable, "-m", "mien", "edit", str(clip), "--overwrite",
                         "--emotion", args.emotion, "-o", str(folder / "edit.mp4")])  # fmt: skip
            row = [title, plain.cpu, edit.cpu, edit.cpu / plain.cpu, edit.wall, edit.memory]
            rows.append([row[0], *(f"{value:.2f}" for value in row[1:])])
    head = ["clip, face 300 px", "plain, CPU s", "edit, CPU s", "ratio", "edit, wall s", "peak MB"]
    text = f"{args.seconds:.0f} s of each; start-up and loading of the nets included.\n\n"
    write_section("Speed", text + table(head, rows))


if __name__ == "__main__":
    main()
