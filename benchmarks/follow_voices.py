"""Is a change of emotion found where two voices are joined, and nowhere else?

Joins recordings of held-out RAVDESS actors: two of one emotion, then two of another by the same
actor; and, as a control, four of the same emotion.

    python benchmarks/follow_voices.py DATA [--pairs 48]
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
from record import table, write_section

from mien.datasets.manifest import Utterance, read_manifest
from mien.media.audio import SAMPLE_RATE_HZ, read_speech
from mien.speech.listener import VOICE_EMOTIONS, Listener

BASIC = ("happy", "sad", "angry", "surprised", "fear", "disgusted")
TOLERANCE_SECONDS = 1.0


def joined(clips: list[Utterance]) -> tuple[np.ndarray, float]:
    """Return the sound of clips one after the other, and the second at which its half begins."""
    sounds = [read_speech(clip.path) for clip in clips]
    middle = sum(map(len, sounds[: len(sounds) // 2])) / SAMPLE_RATE_HZ
    return np.concatenate(sounds), middle


def changes(listener: Listener, sound: np.ndarray) -> list[float]:
    """Return the seconds at which the likeliest emotion of the curve changes."""
    spoken = [m for m in listener.analyse(sound).curve if m.embedding is not None]
    return [
        (one.time + two.time) / 2
        for one, two in pairwise(spoken)
        if VOICE_EMOTIONS[int(one.emotion.argmax())] != VOICE_EMOTIONS[int(two.emotion.argmax())]
    ]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pairs", type=int, default=48)
    args = parser.parse_args()
    utterances = read_manifest(args.data / "speech" / "manifest.csv")
    held = [u for u in utterances if u.corpus == "ravdess" and u.split == "test"]
    rng, listener = np.random.default_rng(0), Listener()
    speakers = sorted({u.speaker for u in held})
    found, elsewhere, steady = [], [], []
    for k in range(args.pairs):
        one, two = rng.choice(BASIC, 2, replace=False)
        own = [u for u in held if u.speaker == speakers[k % len(speakers)]]
        first, second = ([u for u in own if u.emotion == name] for name in (one, two))
        pick = [rng.permutation(len(group)) for group in (first, second)]
        sound, middle = joined([first[i] for i in pick[0][:2]] + [second[i] for i in pick[1][:2]])
        near = [abs(t - middle) <= TOLERANCE_SECONDS for t in changes(listener, sound)]
        found.append(any(near))
        elsewhere.append(len(near) - sum(near))
        steady.append(len(changes(listener, joined([first[i] for i in pick[0][:4]])[0])))
    rows = [
        ["the change is found within 1 s", float(np.mean(found))],
        ["other changes per joined voice", float(np.mean(elsewhere))],
        ["changes per voice of one emotion", float(np.mean(steady))],
        ["voices of one emotion without any", float(np.mean(np.array(steady) == 0))],
    ]
    write_section("Changes within a voice", f"{args.pairs} voices.\n\n{table(['', ''], rows)}")


if __name__ == "__main__":
    main()
