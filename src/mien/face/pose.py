"""How the head is held: a similarity between the canonical face and the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.face.canonical import canonical_face
from mien.face.topology import RIGID

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HeadPose:
    """``picture = scale * rotation @ head + translation``.

    Attributes:
        scale: pixels per eye distance.
        rotation: ``float64 (3, 3)``.
        translation: ``float64 (3,)``, pixels.
    """

    scale: float
    rotation: Points
    translation: Points

    def to_picture(self, head: Points) -> Points:
        """Map points ``(N, 3)`` from the head frame (eye distances) to the picture (pixels)."""
        out: Points = self.scale * (head @ self.rotation.T) + self.translation
        return out

    def to_head(self, picture: npt.NDArray[np.floating[Any]]) -> Points:
        """Map points ``(N, 3)`` from the picture (pixels) to the head frame (eye distances)."""
        out: Points = (picture - self.translation) @ self.rotation / self.scale
        return out

    def turn(self, displacement: Points) -> Points:
        """Map displacements ``(N, 3)`` from the head frame to the picture."""
        out: Points = self.scale * (displacement @ self.rotation.T)
        return out

    @property
    def yaw(self) -> float:
        """Turn to the side, radians; 0 is frontal."""
        return float(np.arctan2(self.rotation[0, 2], self.rotation[2, 2]))


def fit_similarity(source: Points, target: Points) -> HeadPose:
    """Least-squares similarity from ``source`` to ``target``, both ``(N, 3)`` (Umeyama 1991)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    scale = float((singular * signs).sum() / (a * a).sum())
    return HeadPose(scale, rotation, target_mean - scale * rotation @ source_mean)


def head_pose(landmarks: npt.NDArray[np.floating[Any]]) -> HeadPose:
    """Head pose from landmarks ``(478, 3)`` in pixels, by points that no action unit moves."""
    rigid = list(RIGID)
    return fit_similarity(canonical_face().points[rigid], landmarks[rigid].astype(np.float64))
