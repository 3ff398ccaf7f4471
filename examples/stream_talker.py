"""Let a portrait speak while its voice arrives, as from a text-to-speech program.

python examples/stream_talker.py PORTRAIT SPEECH
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import av
import numpy as np

import mien


def pieces(speech: str, seconds: float = 0.1) -> Iterator[tuple[np.ndarray, int]]:
    """Yield a voice piece by piece, as a program that speaks would."""
    with av.open(speech) as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler("fltp", "mono", rate, frame_size=round(seconds * rate))
        for frame in container.decode(audio=0):
            for piece in resampler.resample(frame):
                yield piece.to_ndarray()[0], rate


def main(portrait: str, speech: str) -> None:
    """Count the pictures that every piece of the voice completes."""
    settings = mien.TalkSettings(side=256)
    shown = 0
    with mien.Talker(portrait, "happy:0.6", settings=settings) as talker:
        for number, (piece, rate) in enumerate(pieces(speech), 1):
            for _ in talker.speak(piece, sample_rate=rate):
                shown += 1  # show the picture here
            print(f"piece {number}: {shown / talker.rate:.2f} s shown")
        shown += sum(1 for _ in talker.finish())
    print(f"{shown} pictures, {talker.rate} per second")


if __name__ == "__main__":
    main(*sys.argv[1:])
