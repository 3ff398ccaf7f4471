"""Do talking portraits show, from the start, what their voice says?

Renders portraits with the emotion ``auto`` and, for comparison, neutral, from voices of held-out RAVDESS
actors::

    python benchmarks/talk_auto.py render ../shared OUT [--voices 24] [--portraits 2]

and judges them in the environment of ``judge_blendshapes.py``::

    judge/bin/python benchmarks/talk_auto.py judge OUT --model face_landmarker.task
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from record import table, write_section

RATE = 25
EVERY = 4
SIDE = 320
SPEAKING_RANGE = 1.2
"""Level under the loudest row that still is speech, in the features' unit."""
PORTRAITS = (
    "hallo_4", "c-met_ChatGPT_man_crop", "c-met_ChatGPT_woman2_crop", "liveportrait_s5", "hallo_6",
    "dice-talk_female", "c-met_ChatGPT_woman_crop", "anitalker_aiface1",
)  # fmt: skip


def render(shared: Path, out: Path, voices: int, portraits: int) -> None:
    """Let each of so many voices speak through some of the portraits, which take turns.

    Writes ``OUT/<portrait>__<clip>/<auto|neutral>/NN.png`` and ``OUT/cases.json``.
    """
    from render_talk import frames
    from render_voices import BASIC

    import mien
    from mien.datasets.manifest import read_manifest
    from mien.media.audio import read_speech
    from mien.media.still import write_still
    from mien.pipelines.mesh_talk import TalkSettings
    from mien.speech.features import FEATURES_PER_SECOND, features, loudness

    listed = read_manifest(shared / "data" / "speech" / "manifest.csv")
    held = [u for u in listed if u.corpus == "ravdess" and u.split == "test"]
    groups = {name: [u for u in held if u.emotion == name] for name in BASIC}
    rng, cases = np.random.default_rng(1), []
    out.mkdir(parents=True, exist_ok=True)
    for k in range(voices):
        same = groups[BASIC[k % len(BASIC)]]
        voice = same.pop(rng.integers(len(same)))
        first = k // len(BASIC) * portraits
        level = loudness(features(read_speech(voice.path)))[:: FEATURES_PER_SECOND * EVERY // RATE]
        speaking = np.flatnonzero(level > level.max() - SPEAKING_RANGE).tolist()
        for i in range(first, first + portraits):
            name = PORTRAITS[i % len(PORTRAITS)]
            portrait = next((shared / "media" / "portraits").glob(f"{name}.*"))
            case = f"{name}__{voice.path.stem}"
            for emotion in ("auto", "neutral"):
                film = out / "clip.mp4"
                mien.talk(portrait, voice.path, film, emotion, overwrite=True,
                          settings=TalkSettings(rate=RATE, side=SIDE))  # fmt: skip
                (out / case / emotion).mkdir(parents=True, exist_ok=True)
                for number, image in enumerate(frames(film)[::EVERY]):
                    write_still(out / case / emotion / f"{number:02d}.png", image)
            cases.append([case, voice.emotion, speaking])
    (out / "cases.json").write_text(json.dumps(cases))


def judge(out: Path, model: str) -> None:
    """Measure which emotion's signature rises most from the neutral clip to the other."""
    import mediapipe as mp
    from judge_blendshapes import EMOTIONS, Scores, signature
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=model),
        output_face_blendshapes=True,
        min_face_detection_confidence=0.3,
    )
    hits: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    with vision.FaceLandmarker.create_from_options(options) as landmarker:

        def scores(path: Path) -> Scores | None:
            shapes = landmarker.detect(mp.Image.create_from_file(str(path))).face_blendshapes
            return {s.category_name: float(s.score) for s in shapes[0]} if shapes else None

        for case, emotion, speaking in json.loads((out / "cases.json").read_text()):
            rises = {}
            for path in sorted((out / case / "auto").glob("*.png")):
                after, before = scores(path), scores(out / case / "neutral" / path.name)
                if after and before:
                    rises[int(path.stem)] = [
                        signature(after, e) - signature(before, e) for e in EMOTIONS
                    ]
            spoken = [rise for i, rise in rises.items() if i in speaking]
            first = [rise for i, rise in rises.items() if i * EVERY < RATE]
            hits[emotion].append(
                tuple(
                    bool(some) and EMOTIONS[int(np.mean(some, 0).argmax())] == emotion
                    for some in (spoken, first)
                )
            )
    rows = [[name, len(v), *np.mean(v, 0).tolist()] for name, v in hits.items()]
    every = [hit for v in hits.values() for hit in v]
    rows.append(["all", len(every), *np.mean(every, 0).tolist()])
    head = [
        "the voice's label",
        "clips",
        "largest while it speaks",
        "largest over the first second",
    ]
    write_section("Talking as the voice feels", table(head, rows))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("render", "judge"))
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--voices", type=int, default=24)
    parser.add_argument("--portraits", type=int, default=2, help="that each voice speaks through")
    parser.add_argument("--model")
    args = parser.parse_args()
    if args.step == "render":
        render(*args.folders, args.voices, args.portraits)
    else:
        judge(args.folders[0], args.model)


if __name__ == "__main__":
    main()
