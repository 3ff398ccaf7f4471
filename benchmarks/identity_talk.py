"""Measure identity of talking portraits with dlib's recognition network (public domain).

Reads what ``render_talk.py`` wrote; needs ``dlib-bin`` and ``face_recognition_models`` (for the files of
the network and of the five-point aligner) in a separate environment::

    python benchmarks/identity_talk.py ../shared/media/portraits judge

The network's author counts distances under 0.6 as one person.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

import dlib
import numpy as np
from record import table, write_section

THRESHOLD = 0.6
LONGEST = 512


class Recogniser:
    """Embeddings of face pictures, 128 numbers each."""

    def __init__(self) -> None:
        found = find_spec("face_recognition_models")
        if found is None or not found.submodule_search_locations:
            raise SystemExit("face_recognition_models is missing")
        folder = Path(found.submodule_search_locations[0]) / "models"
        self._find = dlib.get_frontal_face_detector()
        self._align = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
        self._net = dlib.face_recognition_model_v1(
            str(folder / "dlib_face_recognition_resnet_model_v1.dat")
        )

    def __call__(self, path: Path) -> np.ndarray | None:
        """Return the embedding of the largest face."""
        image = dlib.load_rgb_image(str(path))
        scale = LONGEST / max(image.shape[:2])
        if scale < 1:
            image = dlib.resize_image(image, scale)
        found = self._find(image, 1)
        if not found:
            return None
        box = max(found, key=lambda one: one.area())
        return np.array(self._net.compute_face_descriptor(image, self._align(image, box)))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    recognise = Recogniser()
    sources = {path.stem: path for path in sorted(args.portraits.iterdir()) if path.is_file()}
    gaps: dict[str, list[float]] = {}
    unknown, people, own = [], [], []
    for folder in sorted(p for p in args.out.iterdir() if p.is_dir()):
        source = recognise(sources[folder.name])
        if source is None:
            unknown.append(folder.name)
            continue
        people.append(folder.name)
        own.append(source)
        for emotion in sorted(p for p in folder.iterdir() if p.is_dir()):
            for path in sorted(emotion.glob("*.png"))[::3]:
                seen = recognise(path)
                if seen is not None:
                    gaps.setdefault(emotion.name, []).append(float(np.linalg.norm(seen - source)))
    rows = [
        [name, float(np.mean(values)), max(values), float(np.mean(np.array(values) < THRESHOLD))]
        for name, values in gaps.items()
    ]
    everything = np.concatenate(list(gaps.values()))
    rows.append(["all", float(everything.mean()), float(everything.max()),
                 float((everything < THRESHOLD).mean())])  # fmt: skip
    vectors = np.stack(own)
    between = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)[np.triu_indices(len(own), 1)]
    body = (
        f"{len(people)} portraits, every third picture that was written; two different portraits lie "
        f"{between.mean():.2f} apart ({(between < THRESHOLD).mean():.2f} of the pairs under "
        f"{THRESHOLD})."
    )
    if unknown:
        body += f" dlib sees no face in {', '.join(unknown)}."
    head = ["asked", "mean distance", "largest", f"under {THRESHOLD}"]
    write_section("Identity while talking", f"{body}\n\n{table(head, rows)}")


if __name__ == "__main__":
    main()
