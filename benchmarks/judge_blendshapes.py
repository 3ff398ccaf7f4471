"""Judge (b): does a blendshape network see the requested emotion?

Reads what ``render_faces.py`` wrote. Needs a separate environment with the Tasks API
(``pip install 'mediapipe>=0.10.30'``, without mien) and the model file::

    judge/bin/python benchmarks/judge_blendshapes.py OUT --model face_landmarker.task

The signature of an emotion is the mean of its components (sides averaged). Two notes: this network
never raises noseSneer (its maximum over 11,665 labelled faces is 0.00), so disgust rests on lip and
brows; and contempt is a difference between the sides and counts from 0.25.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision
from record import table, write_section

COMPONENTS = {
    "happy": (("mouthSmile",), ("eyeSquint",)),
    "sad": (("browInnerUp",), ("mouthFrown",)),
    "angry": (("browDown",), ("eyeSquint", "mouthPress")),
    "surprised": (("browInnerUp",), ("browOuterUp",), ("eyeWide",), ("jawOpen",)),
    "fear": (("browInnerUp",), ("eyeWide",), ("mouthStretch",)),
    "disgusted": (("noseSneer",), ("mouthUpperUp",), ("browDown",)),
}
"""Each entry of a signature counts as its largest member."""

ONE_SIDED = ("mouthSmile", "mouthDimple")
EMOTIONS = (*COMPONENTS, "contempt")
NEEDED = {name: 0.25 if name == "contempt" else 0.15 for name in EMOTIONS}

Scores = dict[str, float]


def value(scores: Scores, name: str) -> float:
    """Return a score, averaged over both sides."""
    if name in scores:
        return scores[name]
    return (scores[f"{name}Left"] + scores[f"{name}Right"]) / 2


def signature(scores: Scores, emotion: str) -> float:
    """Return how strongly the scores show an emotion."""
    if emotion == "contempt":
        return max(abs(scores[f"{n}Left"] - scores[f"{n}Right"]) for n in ONE_SIDED)
    return float(np.mean([max(value(scores, n) for n in part) for part in COMPONENTS[emotion]]))


def direction(change: Scores, emotion: str) -> float:
    """Return the cosine between a change of all signature scores and an emotion's own."""
    names = sorted({n for parts in COMPONENTS.values() for part in parts for n in part})
    got = np.array([change[n] for n in names] + [change["contempt"] * 1.4])
    ideal = np.zeros(len(got))
    if emotion == "contempt":
        ideal[-1] = 1
    else:
        for part in COMPONENTS[emotion]:
            for name in part:
                ideal[names.index(name)] = 1 / len(part)
    return float(got @ ideal / (np.linalg.norm(got) * np.linalg.norm(ideal) + 1e-9))


def judge(out: Path, model: str) -> dict[str, dict[str, Scores | None]]:
    """Return the scores of every picture, by portrait and emotion."""
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=model),
        output_face_blendshapes=True,
        min_face_detection_confidence=0.3,
    )
    scores: dict[str, dict[str, Scores | None]] = {}
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        for folder in sorted(p for p in out.iterdir() if p.is_dir()):
            for name in ("input", *EMOTIONS):
                found = landmarker.detect(mp.Image.create_from_file(str(folder / f"{name}.png")))
                shapes = found.face_blendshapes
                scores.setdefault(folder.name, {})[name] = (
                    {s.category_name: float(s.score) for s in shapes[0]} if shapes else None
                )
    return scores


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", required=True)
    args = parser.parse_args()
    scores = judge(args.out, args.model)
    (args.out / "blendshapes.json").write_text(json.dumps(scores))
    rows, every = [], []
    for emotion in EMOTIONS:
        rises, largest, nearest = [], [], []
        for person in scores.values():
            before, after = person["input"], person[emotion]
            if before is None:
                continue
            if after is None:
                rises.append(-1.0)
                nearest.append(False)
                largest.append(False)
                continue
            change = {e: signature(after, e) - signature(before, e) for e in EMOTIONS}
            parts = {n for group in COMPONENTS.values() for part in group for n in part}
            change |= {n: value(after, n) - value(before, n) for n in parts}
            rises.append(signature(after, emotion) if emotion == "contempt" else change[emotion])
            largest.append(max(EMOTIONS, key=lambda e: change[e]) == emotion)
            nearest.append(max(EMOTIONS, key=lambda e: direction(change, e)) == emotion)
        reached = float(np.mean(np.array(rises) >= NEEDED[emotion]))
        rows.append([emotion, reached, float(np.median(rises)), float(np.mean(largest)),
                     float(np.mean(nearest))])  # fmt: skip
        every.append(rows[-1][1:])
    rows.append(["mean", *np.mean(every, 0).tolist()])
    head = ["asked", "signature rises enough", "median rise", "largest rise is the asked",
            "nearest by direction"]  # fmt: skip
    write_section("Judge b: blendshapes", f"{len(scores)} portraits.\n\n{table(head, rows)}")


if __name__ == "__main__":
    main()
