"""Judge whether faces show the emotion of the voice, on output of ``render_voices.py``.

Needs the environment of ``judge_blendshapes.py``::

    judge/bin/python benchmarks/judge_voices.py OUT --model face_landmarker.task
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import mediapipe as mp
from judge_blendshapes import COMPONENTS, EMOTIONS, Scores, direction, signature, value
from mediapipe.tasks.python import BaseOptions, vision
from record import table, write_section


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", required=True)
    args = parser.parse_args()
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=args.model),
        output_face_blendshapes=True,
        min_face_detection_confidence=0.3,
    )
    hits: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    with vision.FaceLandmarker.create_from_options(options) as landmarker:

        def scores(name: str) -> Scores | None:
            found = landmarker.detect(mp.Image.create_from_file(str(args.out / f"{name}.png")))
            shapes = found.face_blendshapes
            return {s.category_name: float(s.score) for s in shapes[0]} if shapes else None

        for portrait, clip, emotion in json.loads((args.out / "cases.json").read_text()):
            before, after = scores(portrait), scores(f"{portrait}__{clip}")
            if before is None or after is None:
                hits[emotion].append((False, False))
                continue
            change = {e: signature(after, e) - signature(before, e) for e in EMOTIONS}
            parts = {n for group in COMPONENTS.values() for part in group for n in part}
            change |= {n: value(after, n) - value(before, n) for n in parts}
            hits[emotion].append(
                (
                    max(EMOTIONS, key=lambda e: direction(change, e)) == emotion,
                    max(EMOTIONS, key=lambda e: change[e]) == emotion,
                )
            )
    rows = [
        [name, len(v), *(sum(hit[k] for hit in v) / len(v) for k in range(2))]
        for name, v in hits.items()
    ]
    every = [hit for v in hits.values() for hit in v]
    rows.append(["all", len(every), *(sum(h[k] for h in every) / len(every) for k in range(2))])
    head = ["the voice's label", "edits", "nearest by direction", "largest rise"]
    write_section(f"Voices on faces ({args.out.name})", table(head, rows))


if __name__ == "__main__":
    main()
