"""Judge (b) for talking portraits: the emotion in the mean over talking frames.

Reads what ``render_talk.py`` wrote; environment and model as for ``judge_blendshapes.py``. Changes are
measured from the same portrait saying the same with a neutral face.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mediapipe as mp
import numpy as np
from judge_blendshapes import COMPONENTS, EMOTIONS, NEEDED, Scores, direction, signature, value
from mediapipe.tasks.python import BaseOptions, vision
from record import table, write_section


def mean_scores(landmarker: vision.FaceLandmarker, folder: Path) -> Scores | None:
    """Return mean scores over the frames of a clip; contempt is averaged frame by frame."""
    found = []
    for path in sorted(folder.glob("*.png")):
        shapes = landmarker.detect(mp.Image.create_from_file(str(path))).face_blendshapes
        if shapes:
            found.append({s.category_name: float(s.score) for s in shapes[0]})
    if not found:
        return None
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


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
    rows = []
    people = sorted(p for p in args.out.iterdir() if p.is_dir())
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        seen = {
            p: {e: mean_scores(landmarker, p / e) for e in ("neutral", *EMOTIONS)} for p in people
        }
    for emotion in EMOTIONS:
        rises, nearest, largest = [], [], []
        for scores in seen.values():
            before, after = scores["neutral"], scores[emotion]
            if before is None or after is None:
                nearest.append(False)
                largest.append(False)
                rises.append(-1.0)
                continue
            change = {e: signature(after, e) - signature(before, e) for e in EMOTIONS}
            parts = {n for group in COMPONENTS.values() for part in group for n in part}
            change |= {n: value(after, n) - value(before, n) for n in parts}
            rises.append(signature(after, emotion) if emotion == "contempt" else change[emotion])
            largest.append(max(EMOTIONS, key=lambda e: change[e]) == emotion)
            nearest.append(max(EMOTIONS, key=lambda e: direction(change, e)) == emotion)
        reached = float((np.array(rises) >= NEEDED[emotion]).mean())
        rows.append([emotion, reached, float(np.mean(largest)), float(np.mean(nearest))])
    rows.append(["mean", *np.mean([row[1:] for row in rows], 0).tolist()])
    head = ["asked", "signature rises enough", "largest rise is the asked", "nearest by direction"]
    write_section("Judge b: talking", f"{len(people)} portraits.\n\n{table(head, rows)}")


if __name__ == "__main__":
    main()
