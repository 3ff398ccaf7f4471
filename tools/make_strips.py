"""Make the pictures of the README: emotions of four demo faces, and moments of one that talks.

python tools/make_strips.py docs
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

import mien
from mien.cli.demo import DEMO_FACES, DEMO_SPEECH, demo_file
from mien.media.read import VideoReader
from mien.media.still import read_still

WIDTH, HEIGHT, QUALITY = 200, 210, 90
EMOTIONS = ("happy", "sad", "angry", "surprised", "fear", "disgusted", "contempt")
MOMENTS = 8


def tile(image: np.ndarray) -> np.ndarray:
    """Cut a 512-pixel picture to the face and shrink it."""
    return cv2.resize(image[8:504, 20:492], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def caption(text: str) -> np.ndarray:
    """Write a word in the middle of a white tile."""
    image = np.full((30, WIDTH, 3), 255, np.uint8)
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 1)
    at = ((WIDTH - width) // 2, 21)
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (60, 60, 60), 1, cv2.LINE_AA)
    return image


def save(path: Path, rows: list[list[np.ndarray]]) -> None:
    """Write tiles as one JPEG."""
    image = np.vstack([np.hstack(row) for row in rows])
    cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def main(docs: Path) -> None:
    """Write ``strip.jpg`` and ``talk.jpg``."""
    with TemporaryDirectory() as made:
        rows = [[caption(word) for word in ("input", *EMOTIONS)]]
        for name in DEMO_FACES[:4]:
            with demo_file(name) as face:
                rows.append([tile(read_still(face))])
                for emotion in EMOTIONS:
                    edited = Path(made) / f"{emotion}-{name}.png"
                    mien.edit(face, edited, emotion)
                    rows[-1].append(tile(read_still(edited)))
        save(docs / "strip.jpg", rows)
        film = Path(made) / "talk.mp4"
        with demo_file(DEMO_FACES[4]) as face, demo_file(DEMO_SPEECH) as speech:
            mien.talk(face, speech, film, "happy:0.6")
        with VideoReader(film) as reader:
            frames = [frame.image for frame in reader]
        moments = np.linspace(6, len(frames) - 12, MOMENTS).round().astype(int)
        save(docs / "talk.jpg", [[tile(frames[i]) for i in moments]])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
