"""Which clip is driven toward which emotion (section 4 of arXiv 2604.07786)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from mien.datasets.mead import EMOTIONS, TEST_PEOPLE
from mien.errors import InputError
from mien.media.output import whole_file

_LEVELS: Final = ("level_1", "level_2", "level_3")
_SAME: Final = range(1, 4)
_SHIFTED: Final = range(20, 31)
_SHIFT: Final = 10
"""MEAD's neutral sentences are counted ten further than the emotional ones they equal."""

_VOICES: Final = 10
"""Recordings of an emotion that are averaged."""

_CREMA_SENTENCES: Final = ("TAI", "IOM", "IWL")
_CREMA: Final = {
    "ANG": "angry", "DIS": "disgusted", "FEA": "fear", "HAP": "happy", "SAD": "sad",
}  # fmt: skip
_SEPARATOR: Final = "|"


@dataclass(frozen=True, slots=True)
class Pair:
    """One video to make.

    Attributes:
        name: of the video to make.
        source: neutral clip.
        emotion: to drive it to.
        truth: the same person saying the same with that emotion.
        voices: recordings of the emotion, without ``truth`` where there are others.
        neutral: recordings of the person speaking plainly.
    """

    name: str
    source: Path
    emotion: str
    truth: Path
    voices: tuple[Path, ...]
    neutral: tuple[Path, ...]


def mead_pairs(root: Path, people: Sequence[str] = TEST_PEOPLE) -> list[Pair]:
    """Every pair of MEAD (front view) whose two videos are there.

    Raises:
        InputError: when there is none.
    """
    out = []
    for person in people:
        front = root / person / "front"
        plain = _some(front / "neutral" / "level_1")
        for emotion in EMOTIONS:
            for level in _LEVELS if emotion != "neutral" else ():
                folder = front / emotion / level
                for number in (*_SAME, *_SHIFTED):
                    truth = folder / f"{number:03d}.mp4"
                    shift = _SHIFT if number in _SHIFTED else 0
                    source = front / "neutral" / "level_1" / f"{number + shift:03d}.mp4"
                    if truth.is_file() and source.is_file():
                        name = f"{person}_{emotion}_{level}_{number:03d}"
                        voices = _some(folder, without=truth)
                        out.append(Pair(name, source, emotion, truth, voices, plain))
    if not out:
        raise InputError(
            f"{root} holds no pair of <ID>/front/neutral/level_1/NNN.mp4 and "
            f"<ID>/front/<emotion>/level_N/NNN.mp4 of {', '.join(people)}."
        )
    return out


def crema_pairs(root: Path) -> list[Pair]:
    """Every pair of CREMA-D's test sentences, ``ACTOR_SENTENCE_EMOTION_LEVEL.*``.

    Raises:
        InputError: when there is none.
    """
    found: dict[tuple[str, str, str], list[Path]] = {}
    for path in sorted(root.rglob("*_*_*_*.*")):
        actor, sentence, emotion = path.stem.split("_")[:3]
        if path.suffix.lower() in (".mp4", ".flv", ".avi"):
            found.setdefault((actor, sentence, emotion), []).append(path)
    out = []
    for (actor, sentence, code), truths in found.items():
        sources = found.get((actor, sentence, "NEU"), [])
        if sentence not in _CREMA_SENTENCES or code not in _CREMA or not sources:
            continue
        for truth in truths:
            own = [p for (a, _, e), ps in found.items() if a == actor and e == code for p in ps]
            others = tuple(p for p in own if p != truth)[:_VOICES] or (truth,)
            plain = [p for (a, _, e), ps in found.items() if a == actor and e == "NEU" for p in ps]
            out.append(
                Pair(truth.stem, sources[0], _CREMA[code], truth, others, tuple(plain[:_VOICES]))
            )
    if not out:
        raise InputError(f"{root} holds no pair of ACTOR_SENTENCE_NEU_XX and ACTOR_SENTENCE_ANG….")
    return out


def _some(folder: Path, without: Path | None = None) -> tuple[Path, ...]:
    every = sorted(folder.glob("*.mp4"))
    others = [path for path in every if path != without]
    return tuple(others[:_VOICES] or every)


def write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """Write a table of pairs (CSV), whole or not at all."""
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Pair)])
        writer.writeheader()
        for pair in pairs:
            row = asdict(pair)
            for name in ("voices", "neutral"):
                row[name] = _SEPARATOR.join(map(str, row[name]))
            writer.writerow(row)


def read_pairs(path: Path) -> list[Pair]:
    """Read a table of pairs; its paths are relative to it.

    Raises:
        InputError: when it is missing, empty, or names files that are not there.
    """
    if not path.is_file():
        raise InputError(f"There is no table of pairs {path}; make it with mien evaluate pairs.")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [field.name for field in fields(Pair)]
    if not rows or set(rows[0]) != set(names):
        raise InputError(f"{path} should be a table with the columns {', '.join(names)}.")

    def several(text: str) -> tuple[Path, ...]:
        return tuple(path.parent / part for part in text.split(_SEPARATOR) if part)

    out = [
        Pair(
            row["name"],
            path.parent / row["source"],
            row["emotion"],
            path.parent / row["truth"],
            several(row["voices"]),
            several(row["neutral"]),
        )
        for row in rows
    ]
    missing = [str(file) for pair in out for file in (pair.source, pair.truth) if not file.exists()]
    if missing:
        raise InputError(f"{path} names files that are not there: {', '.join(missing[:5])}.")
    return out
