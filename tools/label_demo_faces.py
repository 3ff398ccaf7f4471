"""Label the demo faces with the teacher's 478 landmarks, which tests compare the tracker with.

The teacher is MediaPipe's FaceLandmarker; it needs ``mediapipe >= 0.10.30`` in a separate
environment:

    python tools/label_demo_faces.py TEACHER.task src/mien/assets/demo \
        tests/reference/demo_landmarks.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import mediapipe as mp
import numpy as np


def main(teacher: Path, faces: Path, out: Path) -> None:
    """Write ``float32 (478, 3)`` pixels under the name of each face."""
    vision = mp.tasks.vision
    options = vision.FaceLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=str(teacher))
    )
    found = {}
    with vision.FaceLandmarker.create_from_options(options) as marker:
        for path in sorted(faces.glob("*.jpg")):
            picture = mp.Image.create_from_file(str(path))
            points = [(p.x, p.y, p.z) for p in marker.detect(picture).face_landmarks[0]]
            size = (picture.width, picture.height, picture.width)
            found[path.stem] = np.float32(points) * np.float32(size)
    np.savez_compressed(out, **found)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
