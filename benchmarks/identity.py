"""Measure identity after edits with a face-recognition network, which the user brings.

Reads what ``render_faces.py`` wrote. The network is an ONNX file of the ArcFace kind: RGB,
``(1, 3, 112, 112)``, (x - 127.5) / 127.5, one embedding out::

    python benchmarks/identity.py OUT --net recogniser.onnx --threshold 0.35
"""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from record import table, write_section

from mien.face.facs import BASIC_EMOTIONS
from mien.face.tracker import FaceTracker
from mien.media.still import read_still

TEMPLATE = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]])
"""Eyes, nose tip and mouth corners in the 112-pixel crop."""


def crop(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return the face crop that recognition networks expect."""
    points = np.array([landmarks[[33, 133], :2].mean(0), landmarks[[263, 362], :2].mean(0),
                       landmarks[1, :2], landmarks[61, :2], landmarks[291, :2]])  # fmt: skip
    matrix, _ = cv2.estimateAffinePartial2D(points, TEMPLATE)
    return cv2.warpAffine(image, matrix, (112, 112))


def main() -> None:
    """Run the benchmark."""
    import onnxruntime

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--net", type=Path, required=True)
    parser.add_argument(
        "--threshold", type=float, required=True, help="lowest cosine of one person"
    )
    args = parser.parse_args()
    session = onnxruntime.InferenceSession(str(args.net))
    entry = session.get_inputs()[0].name

    def embed(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        data = ((crop(image, landmarks).astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[
            None
        ]
        vector = session.run(None, {entry: data})[0][0]
        return vector / np.linalg.norm(vector)

    rows = []
    with closing(FaceTracker(still=True)) as tracker:
        people = {}
        for folder in sorted(p for p in args.out.iterdir() if p.is_dir()):
            image = read_still(folder / "input.png")
            found = tracker(image)
            if found:
                people[folder] = (found[0], embed(image, found[0]))
        for name in BASIC_EMOTIONS[1:]:
            same = [
                float(embed(read_still(folder / f"{name}.png"), landmarks) @ own)
                for folder, (landmarks, own) in people.items()
            ]
            share = float(np.mean(np.array(same) >= args.threshold))
            rows.append([name, float(np.mean(same)), min(same), share])
    head = ["emotion", "mean cosine", "lowest", "same person"]
    write_section(
        "Identity", f"Network {args.net.name}, threshold {args.threshold}.\n\n" + table(head, rows)
    )


if __name__ == "__main__":
    main()
