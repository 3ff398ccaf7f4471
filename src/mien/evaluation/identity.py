"""Who a face is, by dlib's recognition network (King 2017); needs the extra ``metrics``.

The network's weights are in the public domain (CC0). Faces are aligned by mien's own landmarks.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mien.errors import FaceNotFoundError, WeightsError, needs_extra
from mien.face.crop import Crop, face_crop
from mien.face.topology import LEFT_EYE, RIGHT_EYE, Landmarks
from mien.face.tracker import FaceTracker
from mien.media.frame import RGBImage

Identity = npt.NDArray[np.float32]
"""``float32 (128,)``, length about 1.4; below 0.6 apart is the same person (dlib's threshold)."""

SAME_PERSON: Final = 0.6

_FILE: Final = "dlib_face_recognition_resnet_model_v1.dat"
_UNDER_NOSE: Final = 2
_CROP_PIXELS: Final = 400
_CHIP_PIXELS: Final = 150


class IdentityNet:
    """Computes identities of faces.

    Raises:
        MissingExtraError: without dlib and its weights.
        WeightsError: when the weights are missing or damaged.
    """

    def __init__(self) -> None:
        with needs_extra("metrics", "Identity"):
            import dlib
        self.file = weights_file()
        try:
            self._net = dlib.face_recognition_model_v1(str(self.file))
        except RuntimeError as error:
            raise WeightsError(f"The net {self.file} cannot be loaded ({error}).") from error
        self._dlib: Any = dlib
        self._tracker: FaceTracker | None = None

    def embed(self, image: RGBImage, landmarks: Landmarks | None = None) -> Identity:
        """Compute the identity of a face.

        Args:
            image: RGB ``uint8 (H, W, 3)``.
            landmarks: ``(478, 3)``, pixels; None: of the largest face that is found.

        Raises:
            FaceNotFoundError: when there is none.
        """
        if landmarks is None:
            self._tracker = self._tracker or FaceTracker(max_faces=1, still=True)
            found = self._tracker(image)
            if not found:
                raise FaceNotFoundError("There is no face whose identity could be computed.")
            landmarks = found[0]
        code = self._net.compute_face_descriptor(self.align(image, landmarks))
        return np.array(code, np.float32)

    def align(self, image: RGBImage, landmarks: Landmarks) -> RGBImage:
        """Return the face as the network takes it, ``uint8 (150, 150, 3)``: dlib's face chip."""
        crop = face_crop(landmarks)
        points = self._five(crop, landmarks)
        whole = self._dlib.rectangle(0, 0, _CROP_PIXELS, _CROP_PIXELS)
        face = self._dlib.full_object_detection(whole, points)
        window = crop.cut(image, _CROP_PIXELS, replicate_edges=True)
        chip: RGBImage = self._dlib.get_face_chip(window, face, _CHIP_PIXELS)
        return chip

    def _five(self, crop: Crop, landmarks: Landmarks) -> list[Any]:
        """Return outer and inner corners of the left and of the right eye, and below the nose."""
        order = [*LEFT_EYE.corners, *RIGHT_EYE.corners, _UNDER_NOSE]
        places = (crop.to_crop(landmarks[order, :2]) + 0.5) * _CROP_PIXELS - 0.5
        return [self._dlib.point(round(float(x)), round(float(y))) for x, y in places]


def weights_file() -> Path:
    """Return the file of dlib's network in the package ``face-recognition-models``.

    Raises:
        MissingExtraError: when the package is not there.
        WeightsError: when the file is missing.
    """
    with needs_extra("metrics", "Identity"):
        found = find_spec("face_recognition_models")
        if found is None or found.origin is None:
            raise ImportError("face_recognition_models", name="face_recognition_models")
    path = Path(found.origin).parent / "models" / _FILE
    if not path.is_file():
        raise WeightsError(f"{path} is missing; install face-recognition-models again.")
    return path


def likeness(one: Identity, two: Identity) -> float:
    """Return the cosine similarity of two identities, -1..1 (CSIM)."""
    product = float(one @ two)
    return product / max(float(np.linalg.norm(one) * np.linalg.norm(two)), 1e-9)
