"""Measure how far the demo faces are from the people they were made of, by dlib's network.

Needs ``dlib-bin``, ``face_recognition_models`` and ``opencv-python-headless`` in a separate
environment:

    python tools/check_demo_faces.py ../shared/data/highres src/mien/assets/demo

prints every face's nearest people; the network counts distances below 0.6 as the same person.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import dlib
import face_recognition_models as models
import numpy as np

FIND = dlib.get_frontal_face_detector()
ALIGN = dlib.shape_predictor(models.pose_predictor_five_point_model_location())
NET = dlib.face_recognition_model_v1(models.face_recognition_model_location())
MARGIN, JITTERS = 100, 10


def describe(path: Path) -> np.ndarray:
    """Return the descriptor of the largest face."""
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    image = cv2.copyMakeBorder(image, *[MARGIN] * 4, cv2.BORDER_REPLICATE)
    box = max(FIND(image, 0) or FIND(image, 1), key=lambda found: found.area())
    return np.array(NET.compute_face_descriptor(image, ALIGN(image, box), JITTERS))


def main(people: Path, faces: Path) -> None:
    """Print a line per face."""
    known = {p.stem.split("_")[1]: describe(p) for p in people.glob("london_*_neutral.jpg")}
    for path in sorted(faces.glob("*.jpg")):
        face = describe(path)
        far = sorted((float(np.linalg.norm(face - look)), name) for name, look in known.items())
        print(path.stem, *(f"{name} {distance:.3f}" for distance, name in far[:12]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
