"""Show what the emotions of several voices do to one face, side by side.

python examples/compare_voices.py PICTURE OUT.png VOICE [VOICE...]
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

import mien


def main(picture: str, output: str, *voices: str) -> None:
    """Name the emotion of every voice, and draw the face with it."""
    faces = []
    for voice, feeling in zip(voices, mien.feel(voices), strict=True):
        name, share = max(feeling.emotion.items(), key=lambda item: item[1])
        print(f"{voice}: {name} ({share:.0%}), intensity {feeling.intensity:.2f}")
        result = mien.edit(picture, like=voice)
        if not faces:
            faces.append(result.original)
        faces.append(result.image)
    cv2.imwrite(output, np.hstack(faces)[..., ::-1])


if __name__ == "__main__":
    main(*sys.argv[1:])
