"""Edit portraits to the emotion of held-out voices, for the judge and for inspection.

Writes ``OUT/<portrait>.png``, ``OUT/<portrait>__<clip>.png``, ``OUT/cases.json`` and sheets.

    python benchmarks/render_voices.py ../shared OUT [--clips 60 --portraits 2] [--neutral]
"""

from __future__ import annotations

import argparse
import json
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
from render_faces import tile

from mien.datasets.manifest import read_manifest
from mien.emotion.request import Emotion
from mien.media.still import read_still, write_still
from mien.pipelines.job import Job
from mien.pipelines.mesh_edit import edit

CLIPS = 20
BASIC = ("happy", "sad", "angry", "surprised", "fear", "disgusted")
PORTRAITS = (
    "hallo_4", "hallo_6", "c-met_ChatGPT_man_crop", "c-met_ChatGPT_woman2_crop", "dice-talk_female",
    "liveportrait_s5",
)  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--portraits", type=int, default=len(PORTRAITS), help="edited by each clip")
    parser.add_argument("--neutral", action="store_true", help="with the speaker's neutral clips")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    utterances = read_manifest(args.shared / "data" / "speech" / "manifest.csv")
    held = [u for u in utterances if u.corpus == "ravdess" and u.split == "test"]
    rng = np.random.default_rng(0)
    clips = []
    for k in range(args.clips):
        same = [u for u in held if u.emotion == BASIC[k % len(BASIC)] and u not in clips]
        clips.append(same[rng.integers(len(same))])
    folder = args.shared / "media" / "portraits"
    portraits = [next(folder.glob(f"{name}.*")) for name in PORTRAITS]
    turns = cycle(portraits)
    rows, cases = [np.hstack([tile(read_still(p)) for p in portraits])], []
    for portrait in portraits:
        write_still(args.out / f"{portrait.stem}.png", read_still(portrait))
    for clip in clips:
        plain = [u.path for u in held if u.speaker == clip.speaker and u.emotion == "neutral"]
        neutral = plain[:1] if args.neutral else None
        tiles = []
        for portrait in islice(turns, args.portraits):
            target = args.out / f"{portrait.stem}__{clip.path.stem}.png"
            request = Emotion.parse(like=clip.path, neutral=neutral)
            edit(Job(portrait, target, request, overwrite=True))
            cases.append([portrait.stem, clip.path.stem, clip.emotion])
            tiles.append(tile(read_still(target)))
        row = np.hstack([*tiles, *[np.zeros_like(tiles[0])] * (len(portraits) - len(tiles))])
        cv2.putText(row, clip.emotion, (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 0), 2)
        rows.append(row)
    (args.out / "cases.json").write_text(json.dumps(cases))
    for start in range(0, len(rows), 7):
        write_still(args.out / f"sheet{start // 7}.png", np.vstack(rows[start : start + 7]))


if __name__ == "__main__":
    main()
