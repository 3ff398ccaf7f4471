"""Cross-validate the linear connector over actors, beside the listener's labels alone.

Five times four of twenty RAVDESS actors are left out. The listener was trained on sixteen of them: only the
last fold is new to both.

    python benchmarks/connect_folds.py --data DATA --run FOLDER

FOLDER keeps features and embeddings.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from record import ROOT, table, write_section

from mien.cmet.connector import Connector, ConnectorSpec
from mien.face.facs import OPENFACE_UNITS
from mien.speech.listener import VOICE_EMOTIONS, Listener
from mien.training.connector.mesh import ConnectorConfig, fit_ridge
from mien.training.connector.objective import Case, FaceSpace, cases, rank, typical_of
from mien.training.voice_faces import VoiceFaces, load_voice_faces

FOLD = 4
DRAWS = 1000
METHODS = ("connector (ridge)", "listener's labels", "mean of both", "true label")

Scored = dict[str, list[tuple[np.ndarray, np.ndarray, str]]]
"""By method: predicted and true difference of every case, and the actor."""


def folds(data: VoiceFaces) -> Iterator[VoiceFaces]:
    """Yield the data with four actors held out each time."""
    actors = np.unique(data.speaker[data.seen])
    for start in range(0, len(actors), FOLD):
        held = np.isin(data.speaker, actors[start : start + FOLD])
        yield replace(data, train=data.seen & ~held)


def linear(data: VoiceFaces, config: ConnectorConfig) -> Connector:
    """Return a connector whose direct path is the ridge regression on the people trained on."""
    sizes = {"width": 64, "layers": 1, "feed_forward": 64}
    spec = ConnectorSpec(
        expression=len(OPENFACE_UNITS), speech=data.voices.shape[2], direct=True, **sizes
    )
    net = Connector(spec)
    fit_ridge(net, data, config)
    return net


@torch.no_grad()
def ridge(net: Connector, case: Case) -> np.ndarray:
    """Return the difference that the direct path predicts."""
    parts = (torch.from_numpy(np.float32(v))[None, None] for v in (case.vector, case.neutral))
    return net.direct_path(*parts)[0, 0].numpy()


def mixed(odds: np.ndarray, typical: dict[str, np.ndarray], without: str = "") -> np.ndarray:
    """Return the mean of typical faces, weighted by the probabilities of their labels."""
    names = [n for n in VOICE_EMOTIONS if n in typical and n != without]
    share = np.array([odds[VOICE_EMOTIONS.index(n)] for n in names])
    return share @ np.stack([typical[n] for n in names])


def scores(rows: list[tuple[np.ndarray, np.ndarray, str]]) -> list[str]:
    """Return correlations per action unit and per clip, with 95 % intervals over actors."""
    predicted, true = (np.stack([row[k] for row in rows]) for k in range(2))
    actor = np.array([row[2] for row in rows])
    groups = [np.flatnonzero(actor == name) for name in np.unique(actor)]
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS):
        some = np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        draws.append([alike(predicted[some].T, true[some].T), alike(predicted[some], true[some])])
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    means = (alike(predicted.T, true.T), alike(predicted, true))
    return [f"{m:.2f} ({a:.2f}-{b:.2f})" for m, a, b in zip(means, low, high, strict=True)]


def alike(one: np.ndarray, two: np.ndarray) -> float:
    """Return the mean correlation of the rows of two tables."""
    one, two = (v - v.mean(1, keepdims=True) for v in (one, two))
    size = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return float(((one * two).sum(1) / np.maximum(size, 1e-9)).mean())


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    config = ConnectorConfig.load(ROOT / "configs" / "connector.toml", data=args.data)
    data = load_voice_faces(replace(config, views=1, most=0), args.run)
    odds = Listener().classify(data.voices[:, 0, :-3])[0]
    found: dict[int, Scored] = {1: defaultdict(list), 4: defaultdict(list)}
    ranks: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for fold in folds(data):
        net, known = linear(fold, config), typical_of(cases(fold, train=True))
        for clips, by_method in found.items():
            for case in cases(fold, clips):
                heard = odds[case.clips].mean(0)
                one, two = ridge(net, case), mixed(heard, known)
                actor = str(data.speaker[case.clips[0]])
                faces = (one, two, (one + two) / 2, known[case.emotion])
                for name, face in zip(METHODS, faces, strict=True):
                    by_method[name].append((face, case.difference, actor))
        held = typical_of(cases(fold))
        for emotion in held:
            blind = linear(fold, replace(config, held_out_emotion=emotion))
            own = [case for case in cases(fold) if case.emotion == emotion]
            space = FaceSpace.of(fold, emotion)
            guesses = (
                np.mean([ridge(blind, case) for case in own], 0),
                np.mean([mixed(odds[case.clips].mean(0), known, emotion) for case in own], 0),
            )
            ranks[emotion].append(tuple(rank(g, emotion, held, space) for g in guesses))
    rows = [
        [name, *scores(found[1][name]), *scores(found[4][name]),
         *scores([row for row in found[1][name] if row[2] >= "ravdess17"])]
        for name in METHODS
    ]  # fmt: skip
    head = ["", "per unit", "per clip", "per unit, 4 clips", "per clip, 4 clips",
            "per unit, last fold", "per clip, last fold"]  # fmt: skip
    shots = [
        [emotion, *(", ".join(str(r[k]) for r in placed) for k in range(2))]
        for emotion, placed in ranks.items()
    ]
    good = [sum(np.median(r, 0)[k] <= 2 for r in ranks.values()) for k in range(2)]
    text = (
        "Correlation of predicted and true differences of 17 action units, with 95 % intervals over "
        "actors. The listener was trained on sixteen of the twenty actors, so that its labels "
        f"are too good in all folds but the last.\n\n{table(head, rows)}\n\nZero-shot: an emotion's "
        "faces are held out; rank of its "
        "real mean face among seven by the prediction from its voices, in the five folds.\n\n"
        f"{table(['held out', 'connector', 'labels'], shots)}\n\nMedian rank 1 or 2: connector "
        f"{good[0]} of 7, labels {good[1]} of 7."
    )
    write_section("Connector, cross-validated", text)


if __name__ == "__main__":
    main()
