"""Sounds made on the spot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mien.media import audio

RATE = 16_000


def buzz(seconds: float, pitch: float = 140.0, *, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Something like a voice: a pulse train through two resonances, with syllables."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    glide = pitch * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time))
    phase = np.cumsum(glide) / rate
    voice = sum(np.sin(2 * np.pi * k * phase) / k for k in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * 3 * time) + 0.3, 0, 1)
    out = 0.2 * voice * syllables + 0.002 * rng.standard_normal(len(time))
    return out.astype(np.float32)


def write_sound(path: Path, samples: np.ndarray, rate: int = RATE, *, channels: int = 1) -> Path:
    soundfile.write(path, np.repeat(samples[:, None], channels, 1), rate)
    return path


def count_decodings(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """Count how often the sound of every file is decoded from here on."""
    opened: Counter[Path] = Counter()
    decode = audio._blocks

    def counted(path: Path, *clock: object) -> Iterator[tuple[audio.Samples, int]]:
        opened[path] += 1
        return decode(path, *clock)

    monkeypatch.setattr(audio, "_blocks", counted)
    return opened


def write_corpus(folder: Path, speakers: Sequence[str], per_emotion: int = 3) -> Path:
    """A tiny corpus whose emotions are pitches; the last speaker is held out."""
    pitches = {"neutral": 120.0, "happy": 240.0, "sad": 90.0, "angry": 180.0}
    lines = ["file,corpus,speaker,emotion,intensity,sentence,split"]
    for s, speaker in enumerate(speakers):
        (folder / "toy").mkdir(parents=True, exist_ok=True)
        for emotion, pitch in pitches.items():
            for k in range(per_emotion):
                name = f"toy/{speaker}-{emotion}-{k}.wav"
                sound = buzz(0.9 + 0.1 * k, pitch * (1 + 0.05 * s), seed=k)
                write_sound(folder / name, sound)
                split = "val" if s == len(speakers) - 1 else "train"
                lines.append(f"{name},toy,{speaker},{emotion},2,{k},{split}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest
