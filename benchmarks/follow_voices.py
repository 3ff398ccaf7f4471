"""Is a change of emotion found where two voices are joined, and nowhere else?

Joins recordings of held-out speakers: two of one emotion, then two of another by the same speaker;
and, as a control, four of the same emotion.

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

GROUPS = (
    ("RAVDESS 17-20", ("ravdess",), "test"),
    ("nEMO EB0, EmoDB 15 and 16", ("nemo", "emodb"), "val"),
)
"""Speakers on whom the listener was not trained: name, corpora, split."""


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


def measure(listener: Listener, some: list[Utterance], pairs: int) -> list[float]:
    """Return how often a change is found, others per voice, and the same for voices without one."""
    rng = np.random.default_rng(0)
    speakers = sorted({u.speaker for u in some})
    found, elsewhere, steady = [], [], []
    for k in range(pairs):
        own = [u for u in some if u.speaker == speakers[k % len(speakers)]]
        one, two = rng.choice(
            [e for e in BASIC if any(u.emotion == e for u in own)], 2, replace=False
        )
        first, second = ([u for u in own if u.emotion == name] for name in (one, two))
        pick = [rng.permutation(len(group)) for group in (first, second)]
        sound, middle = joined([first[i] for i in pick[0][:2]] + [second[i] for i in pick[1][:2]])
        near = [abs(t - middle) <= TOLERANCE_SECONDS for t in changes(listener, sound)]
        found.append(any(near))
        elsewhere.append(len(near) - sum(near))
        steady.append(len(changes(listener, joined([first[i] for i in pick[0][:4]])[0])))
    none = np.array(steady) == 0
    return [float(np.mean(values)) for values in (found, elsewhere, steady, none)]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pairs", type=int, default=48)
    args = parser.parse_args()
    utterances = read_manifest(args.data / "speech" / "manifest.csv")
    listener, rows = Listener(), []
    for name, corpora, split in GROUPS:
        some = [u for u in utterances if u.corpus in corpora and u.split == split]
        rows.append([name, *measure(listener, some, args.pairs)])
    head = ["speakers", "the change is found within 1 s", "other changes per joined voice",
            "changes per voice of one emotion", "voices of one emotion without any"]  # fmt: skip
    write_section("Changes within a voice", f"{args.pairs} voices of each.\n\n{table(head, rows)}")


if __name__ == "__main__":
    main()
