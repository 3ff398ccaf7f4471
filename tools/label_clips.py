"""Label the frames of clips with the teacher's 478 landmarks, for training.

The teacher is MediaPipe's FaceLandmarker; it needs ``mediapipe >= 0.10.30``, numpy and av in a
separate environment:

    python tools/label_clips.py TEACHER.task VIDEOS_DIR OUT_DIR

writes ``OUT_DIR/CLIP.npz`` with ``landmarks`` ``float16 (T, 478, 3)`` in pixels of the frame and
``missing`` ``bool (T,)``; existing files are kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

import av
import mediapipe as mp
import numpy as np


def main(teacher: Path, videos: Path, out: Path) -> None:
    """Label every ``*.mp4`` of a folder."""
    out.mkdir(parents=True, exist_ok=True)
    vision = mp.tasks.vision
    for video in sorted(p for p in videos.iterdir() if p.suffix in (".mp4", ".mpg")):
        target = out / f"{video.stem}.npz"
        if target.exists():
            continue
        options = vision.FaceLandmarkerOptions(
            base_options=mp.tasks.BaseOptions(model_asset_path=str(teacher)),
            running_mode=vision.RunningMode.VIDEO,
        )
        landmarks, missing = [], []
        with vision.FaceLandmarker.create_from_options(options) as marker, av.open(video) as file:
            for number, frame in enumerate(file.decode(video=0)):
                image = np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
                height, width = image.shape[:2]
                picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=image)
                faces = marker.detect_for_video(picture, number * 40).face_landmarks
                points = np.zeros((478, 3))
                if faces:
                    points[:] = [(p.x, p.y, p.z) for p in faces[0]]
                landmarks.append(points * (width, height, width))
                missing.append(not faces)
        part = target.with_suffix(".part.npz")
        np.savez_compressed(
            part, landmarks=np.array(landmarks, np.float16), missing=np.array(missing, bool)
        )
        part.replace(target)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
