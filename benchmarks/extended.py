"""Do synthetic voices of extended emotions get the faces of their names?

For every recording of the synthetic speaker, the expression that ``--like`` gives is compared with
all recipes by its cosine.

    python benchmarks/extended.py DATA
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from record import table, write_section

from mien.cmet.mesh import MeshConnector
from mien.cmet.semantic import semantic_vector, voice_of
from mien.datasets.manifest import read_manifest
from mien.face.facs import NAMED
from mien.speech.listener import EXTENDED_VOICES, Listener


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    listener, connector = Listener(), MeshConnector()
    names = [name for name, recipe in NAMED.items() if np.abs(recipe.expression()).any()]
    faces = np.stack([NAMED[name].expression() for name in names])
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)

    def places(embeddings: np.ndarray, name: str) -> tuple[int, str]:
        vector = semantic_vector(voice_of(listener, embeddings), connector.neutral_voice)
        odds = listener.classify(embeddings)[0].mean(0)
        order = np.argsort(-(faces @ connector.expression(vector, odds)))
        ranked = [names[i] for i in order]
        return ranked.index(name) + 1, ranked[0]

    listed = [u for u in read_manifest(args.data / "speech" / "manifest.csv") if u.corpus == "tts"]
    rows = []
    for name in EXTENDED_VOICES:
        paths = [u.path for u in listed if u.emotion == name]
        voices = np.stack([listener.analyse(path).embedding for path in paths])
        rank, nearest = places(voices, name)
        single = [places(one[None], name)[0] for one in voices]
        rows.append([name, len(paths), rank, nearest, float(np.mean(np.array(single) == 1))])
    head = ["voice", "recordings", "rank of its own recipe, all together", "nearest recipe",
            "single recordings of rank 1"]  # fmt: skip
    text = (
        f"Among {len(names)} recipes, by cosine. All recordings were examples in the listener's fit, so "
        f"this says that names and faces agree, not how strangers do.\n\n{table(head, rows)}"
    )
    write_section("Extended emotions", text)


if __name__ == "__main__":
    main()
