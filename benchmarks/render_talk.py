"""Make every portrait of a folder talk with every emotion; measure the speed.

Writes ``OUT/<portrait>/<emotion>/NN.png`` (every fourth frame), ``neutral`` among the emotions.

    python benchmarks/render_talk.py ../shared/media/portraits SPEECH OUT [--side 384] [--speed]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from record import table, write_section

import mien
from mien.face.facs import BASIC_EMOTIONS
from mien.media.audio import read_speech
from mien.media.read import VideoReader
from mien.media.still import write_still
from mien.pipelines.mesh_talk import TalkSettings
from mien.speech.articulation import Articulator

EVERY = 4


def frames(path: Path) -> list[np.ndarray]:
    """Read every frame of a clip."""
    with VideoReader(path) as reader:
        return [frame.image for frame in reader]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--speed", action="store_true", help="measure only the speed")
    args = parser.parse_args()
    sources = sorted(p for p in args.portraits.iterdir() if p.is_file())
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        for source in sources:
            for emotion in () if args.speed else BASIC_EMOTIONS:
                mien.talk(source, args.speech, clip, emotion, overwrite=True,
                          settings=TalkSettings(side=args.side))  # fmt: skip
                place = args.out / source.stem / emotion
                place.mkdir(parents=True, exist_ok=True)
                for i, image in enumerate(frames(clip)[2::EVERY]):
                    write_still(place / f"{i:02d}.png", image)
        speeds = []
        for source in sources:
            report = mien.talk(source, args.speech, clip, "happy", overwrite=True,
                               settings=TalkSettings(side=512))  # fmt: skip
            speeds.append(report.frames_per_second)
        quiet = Articulator().articulate(np.zeros(32_000, np.float32))
        spoken = Articulator().articulate(read_speech(args.speech))
    rows = [
        ["frames/s at 512 pixels, start included, median", float(np.median(speeds))],
        ["slowest portrait", float(np.min(speeds))],
        ["motion of the mouth in silence by that in speech", float(quiet.std() / spoken.std())],
    ]
    body = f"{len(sources)} portraits, {args.speech.name}.\n\n" + table(["", ""], rows)
    write_section("Talking", body)


if __name__ == "__main__":
    main()
