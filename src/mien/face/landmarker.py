"""Landmarks of one face in a crop: the whole face first, then lips and eyes from their own crops.

The nets take upright crops (see :mod:`mien.face.crop`) and return points in the crop's coordinates.
Lips and eyes found by the face net decide where the mouth and eye nets look, and are averaged with
what these find, whose errors are others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mien.face.crop import Crop, eye_crop, face_crop, mesh_distance, mouth_crop
from mien.face.topology import (
    EYE_POINTS,
    EYES,
    IRISES,
    LANDMARK_COUNT,
    LIDS,
    LIPS,
    LOWER_LIP,
    UPPER_LIP,
    Landmarks,
    canonical_face,
)
from mien.media.frame import Image
from mien.weights.bundled import open_net

if TYPE_CHECKING:
    import onnxruntime

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """Input and output of one landmark net.

    Attributes:
        name: ``face``, ``mouth`` or ``eye``.
        points: the landmarks it finds, in the order of its output.
        gaps: pairs of positions in ``points`` whose distance is an opening.
        fine: positions in ``points`` that matter most.
        pixels: side of its input.
    """

    name: str
    points: tuple[int, ...]
    gaps: Pairs
    fine: tuple[int, ...]
    pixels: int


def _positions(pairs: Pairs, points: tuple[int, ...]) -> Pairs:
    return tuple((points.index(a), points.index(b)) for a, b in pairs)


_LIP_GAPS: Final = tuple(zip(UPPER_LIP[3][1:-1], LOWER_LIP[3][1:-1], strict=True))
_LID_GAPS: Final = {
    side: tuple(zip(eye.upper_lid, eye.lower_lid, strict=True)) for side, eye in EYES.items()
}
_EYE: Final = EYES["R"]

FACE: Final = Part(
    "face",
    tuple(range(LANDMARK_COUNT)),
    (*_LIP_GAPS, *_LID_GAPS["R"], *_LID_GAPS["L"]),
    (*LIPS, *LIDS, *IRISES),
    128,
)
MOUTH: Final = Part("mouth", LIPS, _positions(_LIP_GAPS, LIPS), tuple(range(len(LIPS))), 64)
EYE: Final = Part(
    "eye",
    EYE_POINTS["R"],
    _positions(_LID_GAPS["R"], EYE_POINTS["R"]),
    tuple(EYE_POINTS["R"].index(p) for p in (*_EYE.upper_lid, *_EYE.lower_lid, *_EYE.iris)),
    64,
)
PARTS: Final = {part.name: part for part in (FACE, MOUTH, EYE)}

_MIRRORED_LIPS: Final = [LIPS.index(int(canonical_face().mirror[p])) for p in LIPS]
"""Positions in ``LIPS`` of the corresponding points on the other side."""


_LIPS_SHARE: Final = 0.65
_EYE_SHARE: Final = np.array([1.0 if p in IRISES else 0.8 for p in EYE_POINTS["R"]], np.float32)[
    :, None
]
"""Weight of the mouth net and of the eye net in the mean with the face net; the latter does not see
irises well."""


@dataclass(frozen=True, slots=True)
class Located:
    """Landmarks found in a crop.

    Attributes:
        landmarks: ``float32 (478, 3)``, pixels of the image.
        presence: confidence that the crop shows a face, 0..1.
        disagreement: distance from the landmarks of the mirrored crop, eye distances; 0 where the
            mirrored crop was not used.
    """

    landmarks: Landmarks
    presence: float
    disagreement: float = 0.0


class Landmarker:
    """The three landmark nets.

    Args:
        folder: where the nets are; the bundled ones by default.

    Raises:
        WeightsError: when a net is missing or damaged.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._face, self._mouth, self._eye = (
            open_net(f"tracker_{part.name}.onnx", folder=folder) for part in (FACE, MOUTH, EYE)
        )

    def locate(self, image: Image, crop: Crop) -> Located:
        """Find the landmarks of the face in ``crop`` in one pass, for video."""
        points, logits = self._face.run(None, {"images": crop.cut(image, FACE.pixels)[None]})
        landmarks = self._refined(image, crop.to_image(points[0]))
        return Located(landmarks, _sigmoid(logits[0]))

    def locate_mirrored(self, image: Image, crop: Crop) -> Located:
        """Average the landmarks of the crop and its mirror image: slower, more exact."""
        mirrored = replace(crop, mirrored=not crop.mirrored)
        images = np.stack([c.cut(image, FACE.pixels) for c in (crop, mirrored)])
        points, logits = self._face.run(None, {"images": images})
        one = crop.to_image(points[0])
        other = mirrored.to_image(points[1])[canonical_face().mirror]
        disagreement = mesh_distance(one, other)
        landmarks = self._refined(image, _mean(one, other), mirror=True)
        return Located(landmarks, _sigmoid(float(np.min(logits))), disagreement)

    def _refined(self, image: Image, rough: Landmarks, *, mirror: bool = False) -> Landmarks:
        """Improve lips and eyes by the output of their own nets.

        ``mirror``: average the mouth with its mirror image. (Both eyes share one net already.)
        """
        out = rough.copy()
        face = face_crop(rough)
        crop = mouth_crop(rough, face)
        crops = [crop, replace(crop, mirrored=True)] if mirror else [crop]
        found = self._part(self._mouth, image, crops, MOUTH.pixels)
        lips = crop.to_image(found[0])
        if mirror:
            lips = _mean(lips, crops[1].to_image(found[1])[_MIRRORED_LIPS])
        out[list(LIPS)] += _LIPS_SHARE * (lips - rough[list(LIPS)])
        crops = [eye_crop(rough, face, side) for side in EYE_POINTS]
        found = self._part(self._eye, image, crops, EYE.pixels)
        for crop, points, index in zip(crops, found, EYE_POINTS.values(), strict=True):
            out[list(index)] += _EYE_SHARE * (crop.to_image(points) - rough[list(index)])
        return out

    @staticmethod
    def _part(
        net: onnxruntime.InferenceSession, image: Image, crops: list[Crop], pixels: int
    ) -> npt.NDArray[np.float32]:
        images = np.stack([crop.cut(image, pixels) for crop in crops])
        points: npt.NDArray[np.float32] = net.run(None, {"images": images})[0]
        return points


def _mean(one: Landmarks, other: Landmarks) -> Landmarks:
    return (np.float32(0.5) * (one + other)).astype(np.float32)


def _sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(logit, -30, 30))))
