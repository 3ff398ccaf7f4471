"""Head pose: a similarity transform from the canonical face to the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.face.topology import RIGID, canonical_face

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Similarity transform: ``image = scale * rotation @ head + translation``.

    Attributes:
        scale: pixels per eye distance.
        rotation: ``float64 (3, 3)``.
        translation: ``float64 (3,)``, pixels.
    """

    scale: float
    rotation: Points
    translation: Points

    def to_image(self, head: Points) -> Points:
        """Map points ``(N, 3)`` from the head frame (eye distances) to the image (pixels)."""
        out: Points = self.scale * (head @ self.rotation.T) + self.translation
        return out

    def to_head(self, points: npt.NDArray[np.floating[Any]]) -> Points:
        """Map points ``(N, 3)`` from the image (pixels) to the head frame (eye distances)."""
        out: Points = (points - self.translation) @ self.rotation / self.scale
        return out

    def rotate(self, displacement: Points) -> Points:
        """Map displacements ``(N, 3)`` from the head frame to the image."""
        out: Points = self.scale * (displacement @ self.rotation.T)
        return out

    @property
    def yaw(self) -> float:
        """Rotation to the side, radians; 0 is frontal."""
        return float(np.arctan2(self.rotation[0, 2], self.rotation[2, 2]))


def fit_similarity(source: Points, target: Points) -> HeadPose:
    """Fit the least-squares similarity between points ``(N, 3)`` (Umeyama 1991)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    scale = float((singular * signs).sum() / (a * a).sum())
    return HeadPose(scale, rotation, target_mean - scale * rotation @ source_mean)


def head_pose(landmarks: npt.NDArray[np.floating[Any]]) -> HeadPose:
    """Estimate the head pose from the landmarks ``(478, 3)``, pixels, that no action unit moves."""
    rigid = list(RIGID)
    return fit_similarity(canonical_face().points[rigid], landmarks[rigid].astype(np.float64))


@dataclass(frozen=True, slots=True)
class Motion:
    """How one face moves in one frame, split as in C-MET (arXiv 2604.07786, section 3).

    Attributes:
        lip: articulation code, ``float32 (L,)``.
        pose: head pose in the engine's own code, ``float32 (P,)``.
        expression: expression code, ``float32 (D,)``, in the engine's own units.
    """

    lip: npt.NDArray[np.float32]
    pose: npt.NDArray[np.float32]
    expression: npt.NDArray[np.float32]
