"""Look for the mark of :mod:`mien.provenance.mark` in a file, with a bound on false alarms.

Faces are tracked and laid onto the mark's canvas; local contrast is evened out, and the phases of
the sum over frames are compared with the key's. For a picture that is independent of the key, the
score at one place is a sum of independent cosines, each times a weight w, of phases that are
uniformly distributed. By Chernoff's bound, with E exp(a w cos) = I0(a w) <= exp(a^2 w^2 / 4), it
exceeds t with a probability below exp(-t^2 / sum w^2). The threshold makes this the false-alarm
rate divided by the number of places and people looked at.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from mien.face.follow import FaceFollower
from mien.face.pose import head_pose
from mien.face.topology import Landmarks
from mien.face.tracker import FaceTracker
from mien.media.frame import ArrayPicture, Picture, to_8_bits
from mien.media.read import VideoReader
from mien.media.still import is_still, read_still
from mien.provenance.mark import CANVAS, Plane, canvas_box, canvas_to_image, face_mask, key_phases

FALSE_ALARMS: Final = 1e-6
"""Bound on the probability that a file without the mark is said to carry it."""

_FRAMES: Final = 32
_SECONDS: Final = 60.0
_DETAIL: Final = 2.0
_CONTRAST: Final = 3.0
"""Canvas samples: what is coarser is no detail; the neighbourhood that contrast is evened out in.
"""

_SHIFT: Final = 4
"""Canvas samples that the tracker may be off."""

_SCALES: Final = (0.98, 1.0, 1.02)
_TURNS: Final = (-1.5, 0.0, 1.5)
"""Degrees."""

_PLACES: Final = (2 * _SHIFT + 1) ** 2 * len(_SCALES) * len(_TURNS)


@dataclass(frozen=True, slots=True)
class MarkReading:
    """What was found of the mark.

    Attributes:
        faces: number of people whose faces were looked at.
        score: best score by its threshold; from 1 on the mark is there.
    """

    faces: int
    score: float

    @property
    def present(self) -> bool:
        """Whether the mark is there, with a false-alarm rate below :data:`FALSE_ALARMS`."""
        return self.score >= 1


def read_mark(path: str | Path) -> MarkReading:
    """Look for the mark in a picture or video.

    Raises:
        InputError: when it cannot be decoded.
    """
    path = Path(path)
    if is_still(path):
        picture = ArrayPicture(read_still(path))
        with closing(FaceTracker(still=True)) as tracker:
            return score([evened(picture, points) for points in tracker(picture)])
    sums: dict[int, Plane] = {}
    with VideoReader(path) as reader, closing(FaceTracker()) as tracker:
        follower = FaceFollower(tracker)
        for index, frame in enumerate(reader.first_look(_FRAMES, _SECONDS)):
            for face in follower.update(frame, Fraction(index)):
                seen = evened(frame, face.landmarks)
                sums[face.id] = sums[face.id] + seen if face.id in sums else seen
    return score(list(sums.values()))


def score(faces: list[Plane]) -> MarkReading:
    """Compare faces, as :func:`evened` or sums of it, with the key."""
    bound = np.log(_PLACES * max(1, len(faces)) / FALSE_ALARMS)
    best = max((_best_match(face) for face in faces), default=0.0)
    return MarkReading(len(faces), float(best / np.sqrt(2 * bound)))


def evened(picture: Picture, landmarks: Landmarks) -> Plane:
    """Return the detail of a face on the canvas, contrast evened out, ``(CANVAS, CANVAS)``."""
    placed = canvas_to_image(head_pose(landmarks))
    box = canvas_box(placed).within(picture.box)
    if box.empty:
        return np.zeros((CANVAS, CANVAS), np.float32)
    placed[:, 2] -= (box.left, box.top)
    window = cv2.cvtColor(to_8_bits(picture.read(box)), cv2.COLOR_RGB2GRAY).astype(np.float32)
    step = float(np.sqrt(abs(np.linalg.det(placed[:, :2]))))
    if step > 1.2:  # pixels per sample
        window = cv2.GaussianBlur(window, (0, 0), step / 2)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    canvas = cv2.warpAffine(
        window, placed, (CANVAS, CANVAS), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    detail = canvas - cv2.GaussianBlur(canvas, (0, 0), _DETAIL)
    spread = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), _CONTRAST)) + 0.5
    out: Plane = np.tanh(2 * detail / spread) * face_mask()
    return out


def _best_match(face: Plane) -> float:
    """Return the best score by its root mean square over keys, over all places."""
    key, best = key_phases(), 0.0
    half = key[:, : CANVAS // 2 + 1].conj().astype(np.complex64)
    steps = np.arange(-_SHIFT, _SHIFT + 1)
    if not face.any():
        return best
    for scale in _SCALES:
        for turn in _TURNS:
            turned = cv2.getRotationMatrix2D((CANVAS / 2, CANVAS / 2), turn, scale)
            spectrum = np.fft.rfft2(cv2.warpAffine(face, turned, (CANVAS, CANVAS)))
            matched = spectrum / np.maximum(np.abs(spectrum), 1e-12) * half
            near = np.fft.irfft2(matched)[np.ix_(steps, steps)]
            best = max(best, float(near.max()))
    return best * CANVAS**2 / float(np.sqrt(np.count_nonzero(key)))
