"""Make the demo clip: an average face that sways, blinks and moves its lips as in speech.

python tools/make_demo_clip.py src/mien/assets/demo/both.jpg src/mien/assets/demo/clip.mp4
"""

from __future__ import annotations

import sys
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from mien.engines.mesh import MeshEngine, MeshSettings
from mien.face.facs import expression
from mien.face.follow import Face
from mien.face.tracker import FaceTracker
from mien.media.frame import ColorSpec
from mien.media.read import VideoInfo
from mien.media.still import read_still
from mien.media.write import VideoWriter

RATE, SECONDS = 25, 4
SYLLABLES = ((0.5, 0.7), (0.72, 0.4), (0.95, 0.9), (1.25, 0.5), (1.7, 0.8), (1.95, 0.5),
             (2.2, 0.9), (2.5, 0.6), (2.75, 0.3), (3.1, 0.7), (3.35, 0.5))  # fmt: skip
BLINKS = (0.35, 2.05, 3.6)


def bump(time: float, at: float, width: float) -> float:
    """Return a smooth bump around ``at``."""
    return float(np.exp(-(((time - at) / width) ** 2)))


def main(source: Path, out: Path) -> None:
    """Write the clip."""
    image = read_still(source)
    height, width = image.shape[:2]
    engine = MeshEngine(MeshSettings(still=True, wrinkles=0))
    with closing(FaceTracker(still=True)) as tracker:
        face = Face(1, tracker(image)[0])
    info = VideoInfo(
        source, width, height, Fraction(RATE), Fraction(1, 12800), None, None, 0, False,
        ColorSpec("bt601", False),
    )  # fmt: skip
    with VideoWriter(out, info, overwrite=True, quality=21) as writer:
        for i in range(RATE * SECONDS):
            t = i / RATE
            talk = min(1.0, sum(a * bump(t, at, 0.075) for at, a in SYLLABLES))
            round_lips = sum(0.35 * bump(t, at, 0.1) for at, _ in SYLLABLES[1::3])
            blink = max(bump(t, at, 0.07) for at in BLINKS)
            drawn = engine.render(
                image,
                face,
                expression({
                    "26": 0.34 * talk, "25": 0.45 * talk, "18": round_lips,
                    "43": min(1.0, 1.15 * blink),
                    "1": 0.12 * talk, "2": 0.12 * talk,
                }),
            )  # fmt: skip
            angle = 1.1 * np.sin(2 * np.pi * t / SECONDS) + 0.5 * np.sin(4 * np.pi * t / SECONDS)
            sway = cv2.getRotationMatrix2D((width / 2, height * 0.95), angle, 1.02)
            sway[1, 2] += 1.5 * np.sin(2 * np.pi * t / SECONDS + 1)
            drawn = cv2.warpAffine(
                drawn, sway, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
            )
            writer.write(drawn, Fraction(i, RATE))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
