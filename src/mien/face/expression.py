"""What a face expresses: probabilities of eight emotions, valence and arousal.

The net is described in assets/expression.md. Nothing that draws faces is tuned with this reader: it
measures them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.face.crop import face_crop
from mien.face.pose import head_pose
from mien.face.topology import LANDMARK_COUNT, MESH_POINTS, Landmarks, canonical_face
from mien.media.frame import Image, RGBImage
from mien.utils.affect import AFFECT
from mien.weights.bundled import open_net

EXPRESSIONS: Final = (
    "neutral", "happy", "sad", "angry", "surprised", "fear", "disgusted", "contempt",
)  # fmt: skip

FACE_PIXELS: Final = 64
"""Side of the grey picture that the net sees."""

_AFFECTS: Final = np.array([AFFECT[name][:2] for name in EXPRESSIONS])


@dataclass(frozen=True, slots=True)
class Reading:
    """What one face expresses.

    Attributes:
        probabilities: by name of the emotion; they sum to 1.
        valence, arousal: -1 (unpleasant, calm) .. 1 (pleasant, excited): the mean of the emotions'
            ratings in the literature, weighted by their probabilities.
    """

    probabilities: dict[str, float]
    valence: float
    arousal: float

    @classmethod
    def of(cls, odds: npt.NDArray[np.floating[Any]]) -> Reading:
        """Return the reading of probabilities ``(8,)`` in the order of :data:`EXPRESSIONS`."""
        valence, arousal = (float(value) for value in odds @ _AFFECTS)
        named = {name: float(p) for name, p in zip(EXPRESSIONS, odds, strict=True)}
        return cls(named, valence, arousal)

    @property
    def emotion(self) -> str:
        """The likeliest emotion."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    @property
    def confidence(self) -> float:
        """Probability of the likeliest emotion, 0 .. 1."""
        return self.probabilities[self.emotion]


class ExpressionReader:
    """Reads expressions with the bundled net.

    Args:
        folder: where ``expression.onnx`` is; None: bundled with the package.

    Raises:
        WeightsError: when it is missing or damaged.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._net = open_net("expression.onnx", folder=folder)

    def read(self, image: Image, landmarks: Landmarks) -> Reading:
        """Read one face.

        Args:
            image: RGB ``uint8 (H, W, 3)``.
            landmarks: ``float32 (478, 3)``, pixels of ``image``.

        Raises:
            InputError: for landmarks of another form.
        """
        return Reading.of(self.probabilities([image], [landmarks])[0])

    def probabilities(
        self, images: Sequence[Image], landmarks: Sequence[Landmarks]
    ) -> npt.NDArray[np.float32]:
        """Return the probabilities ``float32 (N, 8)`` of faces, one in each picture.

        Raises:
            InputError: for landmarks of another form.
        """
        for points in landmarks:
            if np.shape(points) != (LANDMARK_COUNT, 3):
                raise InputError(f"Landmarks must be (478, 3); got {np.shape(points)}.")
        faces = [face_view(image, points) for image, points in zip(images, landmarks, strict=True)]
        shapes = np.stack([face_shape(points) for points in landmarks])
        given = {"faces": np.stack(faces).astype(np.float32) / 255, "shapes": shapes}
        out: npt.NDArray[np.float32] = self._net.run(None, given)[0]
        return out


def face_view(image: Image, landmarks: Landmarks, pixels: int = FACE_PIXELS) -> RGBImage:
    """Return a face upright and in grey, ``uint8 (pixels, pixels)``."""
    cut = face_crop(landmarks).cut(image, pixels, replicate_edges=True)
    return np.asarray(cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY), np.uint8)


def face_shape(landmarks: Landmarks) -> npt.NDArray[np.float32]:
    """Return by how much the mesh of a face differs from the mean face, ``float32 (468, 3)``.

    Eye distances, in the head frame: pose does not count.
    """
    head = head_pose(landmarks).to_head(landmarks)
    return (head - canonical_face().points)[:MESH_POINTS].astype(np.float32)
