"""Landmarks of one face in a crop: the whole face first, then lips and eyes from their own crops.

The nets take upright crops (see :mod:`mien.face.crop`) and answer in the crop's coordinates. What
the face net says of lips, lids, irises and brows only says where to look closer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mien.face.box import mesh_distance
from mien.face.canonical import canonical_face
from mien.face.crop import Crop, eye_crop, face_crop, mouth_crop
from mien.face.parts import EYE, EYE_POINTS, FACE, LIPS, MOUTH
from mien.face.types import Landmarks
from mien.media.frame import RGBImage
from mien.weights.bundled import open_net

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True, slots=True)
class Marked:
    """What the nets say of a crop.

    Attributes:
        landmarks: ``float32 (478, 3)``, pixels of the picture.
        presence: how sure a face is in the crop, 0..1.
        doubt: distance of the landmarks from those of the mirrored crop, eye distances; 0 where
            that was not looked at.
    """

    landmarks: Landmarks
    presence: float
    doubt: float = 0.0


class Landmarker:
    """The three landmark nets.

    Args:
        folder: where the nets are; None: with the package.

    Raises:
        WeightsError: when a net is missing or damaged.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._face, self._mouth, self._eye = (
            open_net(f"tracker_{part.name}.onnx", folder=folder) for part in (FACE, MOUTH, EYE)
        )

    def mark(self, image: RGBImage, crop: Crop) -> Marked:
        """Landmarks of the face in ``crop``: one look, for video."""
        picture = crop.cut(image, FACE.pixels)
        points, logits = self._face.run(None, {"images": picture[None]})
        landmarks = self._closer(image, crop.outside(points[0]))
        return Marked(landmarks, _sure(logits[0]))

    def mark_twice(self, image: RGBImage, crop: Crop) -> Marked:
        """Landmarks as the mean of the crop and its mirror: slower, more exact, with a doubt."""
        twin = replace(crop, mirrored=not crop.mirrored)
        pictures = np.stack([c.cut(image, FACE.pixels) for c in (crop, twin)])
        points, logits = self._face.run(None, {"images": pictures})
        one = crop.outside(points[0])
        other = twin.outside(points[1])[canonical_face().mirror]
        doubt = mesh_distance(one, other)
        landmarks = self._closer(image, _mean(one, other), both=True)
        return Marked(landmarks, _sure(float(np.min(logits))), doubt)

    def _closer(self, image: RGBImage, rough: Landmarks, *, both: bool = False) -> Landmarks:
        """Replace lips and eyes by what their own nets see.

        ``both``: the mouth is looked at mirrored as well. (Eyes have one net for both sides.)
        """
        out = rough.copy()
        face = face_crop(rough)
        crop = mouth_crop(rough, face)
        crops = [crop, replace(crop, mirrored=True)] if both else [crop]
        found = self._part(self._mouth, image, crops, MOUTH.pixels)
        lips = crop.outside(found[0])
        if both:
            lips = _mean(lips, crops[1].outside(found[1])[_MIRRORED_LIPS])
        out[list(LIPS)] = lips
        crops = [eye_crop(rough, face, side) for side in EYE_POINTS]
        found = self._part(self._eye, image, crops, EYE.pixels)
        for crop, points, index in zip(crops, found, EYE_POINTS.values(), strict=True):
            out[list(index)] = crop.outside(points)
        return out

    @staticmethod
    def _part(
        net: onnxruntime.InferenceSession, image: RGBImage, crops: list[Crop], pixels: int
    ) -> npt.NDArray[np.float32]:
        pictures = np.stack([crop.cut(image, pixels) for crop in crops])
        points: npt.NDArray[np.float32] = net.run(None, {"images": pictures})[0]
        return points


def _mean(one: Landmarks, other: Landmarks) -> Landmarks:
    return (np.float32(0.5) * (one + other)).astype(np.float32)


def _sure(logit: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(logit, -30, 30))))


_MIRRORED_LIPS: Final = [LIPS.index(int(canonical_face().mirror[p])) for p in LIPS]
"""Places in ``LIPS`` of the points on the other side."""
