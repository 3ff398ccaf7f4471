"""Do edits read equally well on people of different skin?

Edits the neutral portraits of the London Set (``HIGHRES/london_*_neutral.jpg``; its groups are not
published with the pictures, so people are split into quarters by the measured lightness of their
cheeks in its constant studio light) to the four emotions that the judge of
``judge_emotion_net.py`` knows, and writes how often it recognises each.

Needs mien and torch::

    python benchmarks/groups.py ../shared/data/highres --faces ../shared/data/faces
"""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from judge_emotion_net import JUDGED, LABELS, aligned, load_or_train, probabilities
from record import table, write_section

from mien.engines.mesh import MeshEngine, MeshSettings
from mien.engines.mesh.engine import removal
from mien.face.facs import RECIPES
from mien.face.follow import Face
from mien.face.tracker import FaceTracker
from mien.media.still import read_still

CHEEKS = (50, 101, 205, 280, 330, 425)
SIDE = 512
QUARTERS = ("darkest quarter", "second", "third", "lightest quarter")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("highres", type=Path)
    parser.add_argument("--faces", type=Path, default=Path("../shared/data/faces"))
    parser.add_argument("--weights", type=Path, default=Path("build/judge_emotion_net.pt"))
    parser.add_argument("--steps", type=int, default=1100)
    args = parser.parse_args()
    nets, _ = load_or_train(args)
    engine = MeshEngine(MeshSettings(still=True))
    lightness, crops = [], {name: [] for name in JUDGED}
    with closing(FaceTracker(still=True)) as tracker:
        for path in sorted(args.highres.glob("london_*_neutral.jpg")):
            picture = cv2.resize(read_still(path), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            face = Face(1, tracker(picture)[0])
            at = face.landmarks[list(CHEEKS), :2].astype(int)
            lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
            lightness.append(float(np.median(lab[at[:, 1], at[:, 0], 0])))
            own = removal(engine.encode(picture, face).expression[None])
            for name in JUDGED:
                delta = (RECIPES[name].expression() - own).astype(np.float32)
                grey = cv2.cvtColor(engine.render(picture, face, delta), cv2.COLOR_RGB2GRAY)
                crops[name].append(aligned(grey, face.landmarks))
    right = np.stack(
        [
            probabilities(nets, np.stack(crops[name])).argmax(1) == LABELS.index(name)
            for name in JUDGED
        ]
    )
    rows = [
        [title, len(chosen), *right[:, chosen].mean(1).tolist(), float(right[:, chosen].mean())]
        for title, chosen in zip(QUARTERS, np.array_split(np.argsort(lightness), 4), strict=True)
    ]
    rows.append(["all", len(lightness), *right.mean(1).tolist(), float(right.mean())])
    write_section("Edits by skin", table(["cheeks", "people", *JUDGED, "mean"], rows))


if __name__ == "__main__":
    main()
