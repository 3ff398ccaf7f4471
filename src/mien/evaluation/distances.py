"""Metrics that compare two face clips frame by frame, and flicker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.evaluation.clips import FaceClip
from mien.face.topology import LIPS, MESH_POINTS
from mien.media.frame import RGBImage

_WINDOW: Final = 11
_SPREAD: Final = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
"""Window and constants of structural similarity (Wang et al. 2004)."""

_MOST_PSNR: Final = 100.0
"""What equal pictures get, in decibels, so that means stay finite."""

Points = npt.NDArray[np.floating[Any]]


def psnr(one: RGBImage, two: RGBImage) -> float:
    """Return the peak signal-to-noise ratio of ``uint8`` pictures, decibels; at most 100."""
    error = float(np.square(one.astype(np.float64) - two).mean())
    return min(_MOST_PSNR, float(10 * np.log10(255**2 / error))) if error else _MOST_PSNR


def ssim(one: RGBImage, two: RGBImage) -> float:
    """Return the structural similarity of ``uint8`` pictures, mean over channels and pixels."""
    x, y = one.astype(np.float64), two.astype(np.float64)

    def local(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(values, (_WINDOW, _WINDOW), _SPREAD))

    mx, my = local(x), local(y)
    vx, vy, cov = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
    above = (2 * mx * my + _C1) * (2 * cov + _C2)
    return float((above / ((mx**2 + my**2 + _C1) * (vx + vy + _C2))).mean())


@dataclass(frozen=True, slots=True)
class LandmarkDistances:
    """Mean distances of landmarks in pixels of the crops (256).

    Attributes:
        lips: LMD: of the lips, faces placed by the framing alone (Chen et al. 2018).
        face: F-LMD: of the whole face, each set moved to its own mean.
        mouth: M-LMD: of the lips, each set moved to its own mean.
    """

    lips: float
    face: float
    mouth: float


def landmark_distances(one: Points, two: Points) -> LandmarkDistances:
    """Compare landmarks ``(T, 478, 2 or 3)`` in pixels of their crops."""
    a, b = one[:, :MESH_POINTS, :2], two[:, :MESH_POINTS, :2]
    lips = list(LIPS)

    def distance(x: Points, y: Points) -> float:
        return float(np.linalg.norm(x - y, axis=-1).mean())

    def centred(x: Points) -> Points:
        return np.asarray(x - x.mean(1, keepdims=True))

    return LandmarkDistances(
        distance(a[:, lips], b[:, lips]),
        distance(centred(a), centred(b)),
        distance(centred(a[:, lips]), centred(b[:, lips])),
    )


def flicker(clip: FaceClip) -> float:
    """Return the mean second difference over time of the face's brightness, grey levels.

    A steady change has none; noise that comes and goes from frame to frame has. Only three frames
    in a row that show the face count. Not a number where there are none.
    """
    found = []
    for i in range(1, len(clip.images) - 1):
        if clip.seen[i - 1 : i + 2].all():
            a, b, c = (
                cv2.cvtColor(clip.images[k], cv2.COLOR_RGB2GRAY).astype(np.float32)
                for k in (i - 1, i, i + 1)
            )
            inside = np.zeros(b.shape, np.uint8)
            outline = cv2.convexHull(clip.landmarks[i, :MESH_POINTS, :2].round().astype(np.int32))
            cv2.fillConvexPoly(inside, outline, 1)
            found.append(float(np.abs(a - 2 * b + c)[inside > 0].mean()))
    return float(np.mean(found)) if found else float("nan")
