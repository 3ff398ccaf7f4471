"""Make the demo clip: four seconds of a demo face that talks, without sound.

python tools/make_demo_clip.py src/mien/assets/demo woman2
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import mien
from mien.media.encode import EncodingSettings
from mien.media.read import VideoReader
from mien.media.write import VideoWriter

FRAMES = 100


def main(folder: Path, face: str) -> None:
    """Write ``clip.mp4``."""
    settings = EncodingSettings(quality=21)
    with TemporaryDirectory() as made:
        talking = Path(made) / "talking.mp4"
        # An input for examples and tests, which must not find the mark of an earlier edit in it.
        mien.talk(folder / f"{face}.jpg", folder / "speech.ogg", talking, provenance=False)
        with (
            VideoReader(talking) as reader,
            VideoWriter(
                folder / "clip.mp4", reader.info, overwrite=True, settings=settings
            ) as writer,
        ):
            for frame in islice(reader, FRAMES):
                writer.write(frame.image, frame.time)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
