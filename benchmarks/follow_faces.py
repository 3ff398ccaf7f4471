"""Do faces follow the voice within a clip, and can the voice's moments say how?

The project's tracker reads the action units of the real clips of talking faces, second by second;
the listener reads the two seconds of the voice around each. The clip's own mean is taken away from
both, so that only what changes over time counts.

    python benchmarks/follow_faces.py DATA --tracks FOLDER

Units of the lips that speech moves are left out. FOLDER keeps what was read.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from record import table, write_section

from mien.cmet.mesh import MeshConnector
from mien.cmet.semantic import semantic_vector, voice_of
from mien.face.facs import INDEX, read_landmarks
from mien.face.tracker import FaceTracker
from mien.media.audio import SAMPLE_RATE_HZ, read_speech
from mien.media.read import VideoReader
from mien.speech.analysis import PROSODY_SECONDS, VoiceAnalysis
from mien.speech.features import FEATURES_PER_SECOND, features
from mien.speech.listener import Listener

SHORTEST_SECONDS = 4
FEWEST_FRAMES = 8
REACH_ROWS = FEATURES_PER_SECOND
"""Half of the span of the voice that a moment is read from."""

FOREIGN_SOUND = ("_d3", "_d9", "_d14", "_d18", "_d19", "_s18", "_s20")
"""Clips whose sound does not belong to the picture."""

PEOPLE = ("obama", "andrew", "feifei", "reagan", "kristinoem", "furious_talk1", "furious_talk2")
"""Parts of names of the people who are in several clips."""

UNITS = ("1", "2", "4", "5", "7", "12", "15")
PENALTIES = (10.0, 100.0, 1000.0, 10000.0)
FOLDS = 5
RESAMPLES = 1000

PER_SECOND = round(1 / PROSODY_SECONDS)


def face_seconds(film: Path) -> dict[int, np.ndarray]:
    """Return the mean action units ``(D,)`` of every second in which a face is seen long enough."""
    seen: dict[int, list[np.ndarray]] = {}
    with closing(FaceTracker()) as tracker, VideoReader(film) as frames:
        for frame in frames:
            for face in tracker(frame.picture)[:1]:
                units = read_landmarks(face)
                seen.setdefault(int(frame.time), []).append(units)
    return {s: np.mean(v, 0) for s, v in seen.items() if len(v) >= FEWEST_FRAMES}


def read_voice(
    sound: Path,
    samples: np.ndarray,
    seconds: list[int],
    listener: Listener,
    connector: MeshConnector,
) -> dict[str, np.ndarray]:
    """Return what a voice, a file and its samples, says in some of its seconds, one row each."""
    rows = features(samples)
    prosody = VoiceAnalysis(sound, "prosody").prosody
    middles = [int((s + 0.5) * FEATURES_PER_SECOND) for s in seconds]
    voices = listener.embed([rows[max(m - REACH_ROWS, 0) : m + REACH_ROWS] for m in middles])
    shown = []
    for one in voices:
        vector = semantic_vector(voice_of(listener, one[None]), connector.neutral_voice)
        odds = listener.classify(one[None])[0][0]
        shown.append(connector.expression(vector, odds, speaking=True))
    pieces = [slice(s * PER_SECOND, (s + 1) * PER_SECOND) for s in seconds]
    loudness = [[v[p].mean() for v in (prosody.level, prosody.movement)] for p in pieces]
    return {"voices": voices, "shown": np.array(shown), "loudness": np.array(loudness)}


def both_sides(units: np.ndarray) -> np.ndarray:
    """Return the mean of left and right of :data:`UNITS`, ``(N, len(UNITS))``."""
    return np.stack([(units[:, INDEX[f"{u}L"]] + units[:, INDEX[f"{u}R"]]) / 2 for u in UNITS], 1)


def ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Return the slopes from ``x (N, P)`` to ``y (N, U)``, both without a mean."""
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)


def held_out(x: np.ndarray, y: np.ndarray, person: np.ndarray, penalty: float) -> np.ndarray:
    """Predict ``y`` of every fifth of the people from the others."""
    out = np.zeros_like(y)
    for fold in range(FOLDS):
        test = person % FOLDS == fold
        out[test] = x[test] @ ridge(x[~test], y[~test], penalty)
    return out


def agreement(guess: np.ndarray, truth: np.ndarray, clip: np.ndarray) -> list[str]:
    """Return the correlation per unit and their mean with its 95 % interval over clips."""

    def correlations(rows: np.ndarray) -> np.ndarray:
        a, b = guess[rows], truth[rows]
        scale = np.sqrt((a**2).sum(0) * (b**2).sum(0))
        return (a * b).sum(0) / np.maximum(scale, 1e-9)

    rng = np.random.default_rng(0)
    groups = [np.flatnonzero(clip == c) for c in np.unique(clip)]
    draws = [
        correlations(
            np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        )
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(np.mean(draws, 1), [2.5, 97.5])
    found = correlations(np.arange(len(guess)))
    return [*(f"{r:.2f}" for r in found), f"{found.mean():.2f} ({low:.2f}-{high:.2f})"]


def clips_of(data: Path, folder: Path) -> list[dict[str, np.ndarray]]:
    """Read every clip; faces from ``folder`` where they were read before."""
    folder.mkdir(parents=True, exist_ok=True)
    talking = data / "talking"
    with (talking / "manifest.csv").open(newline="", encoding="utf-8") as file:
        listed = [row["clip"] for row in csv.DictReader(file)
                  if row["kind"] == "real" and row["audio"] == "1"
                  and float(row["seconds"]) >= SHORTEST_SECONDS]  # fmt: skip
    listener, connector, out = Listener(), MeshConnector(), []
    for name in (name for name in listed if not name.endswith(FOREIGN_SOUND)):
        path, sound = folder / f"{name}.npz", talking / "audio" / f"{name}.ogg"
        if not path.exists():
            faces = face_seconds(talking / "video" / f"{name}.mp4")
            np.savez(path, seconds=sorted(faces), faces=[faces[s] for s in sorted(faces)])
        with np.load(path) as stored:
            seconds, faces = stored["seconds"].tolist(), stored["faces"]
        samples = read_speech(sound)
        last = len(samples) // SAMPLE_RATE_HZ
        kept = [i for i, second in enumerate(seconds) if second < last]
        if len(kept) >= SHORTEST_SECONDS:
            spoken = [seconds[i] for i in kept]
            said = read_voice(sound, samples, spoken, listener, connector)
            person = next((part for part in PEOPLE if part in name.lower()), name)
            out.append({"faces": faces[kept], "person": np.array([person]), **said})
    return out


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tracks", type=Path, required=True)
    args = parser.parse_args()
    clips = clips_of(args.data, args.tracks)
    lengths = [len(c["faces"]) for c in clips]
    clip = np.repeat(np.arange(len(clips)), lengths)
    _, number = np.unique([c["person"][0] for c in clips], return_inverse=True)
    person = np.repeat(number, lengths)

    def changes(name: str, of: Callable[[np.ndarray], np.ndarray] = lambda v: v) -> np.ndarray:
        return np.concatenate([(v := of(c[name])) - v.mean(0) for c in clips])

    truth = changes("faces", both_sides)
    truth /= truth.std(0)
    loudness, voices = changes("loudness"), changes("voices")
    rows = [
        [
            "what the engine shows for the moment",
            *agreement(changes("shown", both_sides), truth, clip),
        ]
    ]
    for name, values in (("loudness and pitch movement, fitted", loudness), ("embedding, fitted", voices),
                         ("both, fitted", np.hstack([loudness / loudness.std(0), voices / voices.std()]))):  # fmt: skip
        x = values / values.std(0)
        tries = [held_out(x, truth, person, penalty) for penalty in PENALTIES]
        best = max(tries, key=lambda guess: float((guess * truth).sum() / np.linalg.norm(guess)))
        rows.append([name, *agreement(best, truth, clip)])
    text = (
        f"{len(truth)} seconds of {len(clips)} clips. Correlation of changes within a clip, people left "
        "out in fifths, the best of four penalties; the mean over units with its 95 % interval over "
        f"clips.\n\n{table(['', *(f'unit {u}' for u in UNITS), 'mean'], rows)}"
    )
    write_section("Faces that follow the voice", text)


if __name__ == "__main__":
    main()
