"""Make the film of the README: two demo faces that talk, unedited and with four emotions.

python tools/make_film.py docs/film.webp
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from make_strips import caption, tile

import mien
from mien.cli.demo import DEMO_SPEECH, demo_file
from mien.media.output import whole_file
from mien.media.read import VideoReader

FACES = ("woman2.jpg", "man.jpg")
EMOTIONS = ("happy", "sad", "angry", "surprised")
FRAMES, STEP, RATE = 100, 2, Fraction(25, 2)
"""Of four seconds every second frame."""
QUALITY = 60


def pictures(film: Path) -> Iterator[np.ndarray]:
    """Read the tiles of a film."""
    with VideoReader(film) as reader:
        for frame in islice(reader, 0, FRAMES, STEP):
            yield tile(frame.image)


def films(folder: Path) -> list[list[Path]]:
    """Make each face talk, and give the result each emotion; a list per face."""
    made = []
    for name in FACES:
        talking = folder / f"{name}.mp4"
        with demo_file(name) as face, demo_file(DEMO_SPEECH) as speech:
            mien.talk(face, speech, talking, "neutral")
        made.append([talking])
        for emotion in EMOTIONS:
            edited = folder / f"{name}-{emotion}.mp4"
            mien.edit(talking, edited, emotion)
            made[-1].append(edited)
    return made


def main(path: Path) -> None:
    """Write an animated WebP."""
    head = np.hstack([caption(word) for word in ("input", *EMOTIONS)])
    with TemporaryDirectory() as made:
        rows = [zip(*map(pictures, row), strict=True) for row in films(Path(made))]
        images = [np.vstack([head, *map(np.hstack, row)]) for row in zip(*rows, strict=True)]
    with whole_file(path) as part, av.open(str(part), "w", "webp", options={"loop": "0"}) as out:
        stream = out.add_stream("libwebp_anim", rate=RATE)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"quality": str(QUALITY), "compression_level": "6"}
        for image in images:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        out.mux(stream.encode(None))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
