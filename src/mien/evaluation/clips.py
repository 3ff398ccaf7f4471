"""Face clips: what metrics look at, at 25 frames per second in EDTalk's training framing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.datasets.prepare import read_track
from mien.engines.edtalk.framing import training_crop
from mien.errors import FaceNotFoundError
from mien.face.crop import Crop
from mien.face.topology import Landmarks
from mien.face.tracker import FaceTracker
from mien.media.frame import RGBImage
from mien.media.read import VideoReader

FRAMES_PER_SECOND: Final = 25
CROP_PIXELS: Final = 256
CROP: Final = "each film's own largest face in EDTalk's training framing, 25 frames per second"


@dataclass(frozen=True, slots=True)
class FaceClip:
    """The largest face of a film; where it is not seen, the nearest earlier picture stands in.

    Attributes:
        images: crops ``uint8 (T, 256, 256, 3)``, RGB.
        landmarks: in pixels of the crops, ``float32 (T, 478, 3)``.
        seen: whether the face was found, ``bool (T,)``.
    """

    images: npt.NDArray[np.uint8]
    landmarks: npt.NDArray[np.float32]
    seen: npt.NDArray[np.bool_]

    def every(self, step: int) -> Iterator[tuple[RGBImage, Landmarks]]:
        """Yield every ``step``-th picture that shows the face, and its landmarks."""
        for i in np.flatnonzero(self.seen)[::step].tolist():
            yield self.images[i], self.landmarks[i]


def read_clip(path: Path, seconds: float | None = None, track: Path | None = None) -> FaceClip:
    """Read the face clip of a film.

    Args:
        path: the film.
        seconds: how much of it; None for all.
        track: its face as :mod:`mien.datasets.prepare` tracked it; None to track it now.

    Raises:
        InputError: when the film or the track cannot be read.
        FaceNotFoundError: when no frame shows a face.
    """
    images: list[RGBImage] = []
    points: list[Landmarks] = []
    seen: list[bool] = []
    shown = waiting = 0
    longest = None if seconds is None else round(seconds * FRAMES_PER_SECOND)
    known = None if track is None else read_track(track)
    with VideoReader(path) as reader, closing(FaceTracker(max_faces=1)) as tracker:
        step = 1 / reader.info.rate
        for number, frame in enumerate(reader):
            until = int((frame.time + step) * FRAMES_PER_SECOND + step / 1000)
            count = (until if longest is None else min(until, longest)) - shown
            if count <= 0:
                continue
            found = tracker(frame.picture) if known is None else known.at(number)
            if found:
                crop = training_crop(found[0])
                image = crop.cut(frame.picture, CROP_PIXELS, replicate_edges=True)
                marks = _in_pixels(crop, found[0])
                images += [image] * (waiting + count)
                points += [marks] * (waiting + count)
                seen += [False] * waiting + [True] * count
                waiting = 0
            elif images:
                images += images[-1:] * count
                points += points[-1:] * count
                seen += [False] * count
            else:
                waiting += count
            shown += count
            if shown == longest:
                break
    if not images:
        raise FaceNotFoundError(f"No usable face was found in {path}.")
    return FaceClip(np.stack(images), np.stack(points), np.array(seen))


def _in_pixels(crop: Crop, landmarks: Landmarks) -> Landmarks:
    scale = np.array([CROP_PIXELS] * 3, np.float32)
    centre = np.array([0.5, 0.5, 0.0], np.float32)
    return ((crop.to_crop(landmarks) + centre) * scale).astype(np.float32)
