"""Edit a picture and a clip in memory.

python examples/arrays.py PICTURE CLIP
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

import mien


def main(picture: str, clip: str) -> None:
    """Edit one picture, then the pictures of a clip one after another."""
    image = cv2.imread(picture)[..., ::-1]  # OpenCV reads BGR, mien takes RGB
    result = mien.edit(image, emotion="happy:0.7")
    changed = np.abs(result.image.astype(int) - image).max(2) > 8
    print(f"{picture}: {changed.mean():.0%} of the pixels changed")

    capture = cv2.VideoCapture(clip)
    images = (image[..., ::-1] for _, image in iter(capture.read, (False, None)))
    edited = mien.edit(images, emotion="sad", rate=capture.get(cv2.CAP_PROP_FPS))
    for number, image in enumerate(edited.frames, 1):
        print(f"\rframe {number}: mean brightness {image.mean():.1f}", end="")
    print(f"\n{clip}: {edited.report.frames} frames, {edited.report.faces} people")


if __name__ == "__main__":
    main(*sys.argv[1:])
