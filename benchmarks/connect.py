"""Evaluate the connector on held-out actors: baselines, ablation, zero-shot.

python benchmarks/connect.py --data DATA --run FOLDER    # a run of ``mien train connector``; trees need scikit-learn
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from listen import statistics
from record import ROOT, table, write_section

from mien.cmet.losses import LossWeights
from mien.datasets.manifest import present, read_manifest
from mien.training.connector.export import load_connector
from mien.training.connector.mesh import ConnectorConfig, train_connector
from mien.training.connector.objective import (
    Case,
    FaceSpace,
    cases,
    correlations,
    measure,
    predictor,
    rank,
    typical_of,
)
from mien.training.listener.data import build_cache
from mien.training.listener.sampling import Excerpts
from mien.training.trainer import Trainer
from mien.training.voice_faces import VoiceFaces, load_voice_faces, read_faces

SEVERAL = 4
HEAD_SHOTS = (
    "held out",
    "rank, mean of its clips",
    "clips of rank 1 or 2",
    "rank, raw",
    "clips, raw",
)


def voice_statistics(config: ConnectorConfig, run: Path) -> np.ndarray:
    """Return simple statistics of the recordings that have a face, in the order of the pairs."""
    utterances, _ = present(read_manifest(config.manifest))
    excerpts = Excerpts(build_cache(utterances, run / "features"))
    known = np.isfinite(read_faces(config.action_units, utterances)).all(1)
    return np.stack([statistics(excerpts.get(i)) for i in np.flatnonzero(known)])


def simple_rows(
    pairs: VoiceFaces, values: np.ndarray, train: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return differences of voice statistics and of faces to the speaker's neutral."""
    seen = np.flatnonzero(pairs.seen)
    x, y = [], []
    for person in np.unique(pairs.speaker[seen]):
        own = pairs.speaker[seen] == person
        if pairs.train[seen][own][0] != train:
            continue
        plain = own & (pairs.emotion[seen] == "neutral")
        for place in np.flatnonzero(own & ~plain):
            x.append(values[place] - values[plain].mean(0))
            y.append(pairs.faces[seen[place]] - pairs.faces[seen[plain]].mean(0))
    return np.stack(x), np.stack(y)


def ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> Callable[[np.ndarray], np.ndarray]:
    """Predict by ridge regression with a constant."""
    mean, centre = x.mean(0), y.mean(0)
    inner = (x - mean).T @ (x - mean) + penalty * np.eye(x.shape[1])
    weights = np.linalg.solve(inner, (x - mean).T @ (y - centre))
    return lambda new: (new - mean) @ weights + centre


def yardsticks(config: ConnectorConfig, pairs: VoiceFaces, run: Path) -> list[list[object]]:
    """Evaluate ridge and trees on simple statistics, and the mean face of the true label."""
    values = voice_statistics(config, run)
    train = pairs.train[pairs.seen]
    values = (values - values[train].mean(0)) / (values[train].std(0) + 1e-6)
    x, y = simple_rows(pairs, values, train=True)
    new, true = simple_rows(pairs, values, train=False)
    best = max(
        (correlations(ridge(x, y, penalty)(new), true) for penalty in (100, 1e3, 3e3, 1e4, 3e4)),
        key=sum,
    )
    rows: list[list[object]] = [["ridge on voice statistics, best of five penalties", *best]]
    try:
        from sklearn.ensemble import ExtraTreesRegressor

        trees = ExtraTreesRegressor(300, min_samples_leaf=3, max_features=0.33, random_state=0)
        rows.append(["extra trees on the same", *correlations(trees.fit(x, y).predict(new), true)])
    except ImportError:
        print("scikit-learn is not installed: trees are left out")
    typical = pairs.typical()
    some = cases(pairs)
    label = np.stack([typical[case.emotion] for case in some])
    true = np.stack([case.difference for case in some])
    rows.append(["mean face of the true label", *correlations(label, true)])
    return rows


def zero_shot(config: ConnectorConfig, pairs: VoiceFaces) -> list[list[object]]:
    """Hold out each emotion in turn and rank its real face among seven by the prediction."""
    some = cases(pairs)
    typical = typical_of(some)
    rows: list[list[object]] = []
    for emotion in typical:
        plan = replace(config, held_out_emotion=emotion, measure_every=config.steps)
        with tempfile.TemporaryDirectory() as folder:
            train_connector(plan, Trainer(Path(folder)), pairs)
            net = load_connector(Path(folder) / "connector.pt")
        predict = predictor(net)
        own: list[Case] = [case for case in some if case.emotion == emotion]
        faces = np.stack([predict(case.vector, case.neutral) for case in own])
        row: list[object] = [emotion]
        for space in (FaceSpace.of(pairs, emotion), None):
            ranks = [rank(face, emotion, typical, space) for face in faces]
            row += [rank(faces.mean(0), emotion, typical, space), np.mean(np.array(ranks) <= 2)]
        rows.append(row)
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    config = ConnectorConfig.load(ROOT / "configs" / "connector.toml", data=args.data)
    pairs = load_voice_faces(config, args.run)
    net = load_connector(args.run / "connector.pt")
    head = ["", "per action unit", "per clip"]
    rows = yardsticks(config, pairs, args.run)
    rows.append(["**connector**", *measure(predictor(net), cases(pairs))])
    several = cases(pairs, SEVERAL)
    typical = pairs.typical()
    label = np.stack([typical[case.emotion] for case in several])
    true = np.stack([case.difference for case in several])
    rows.append([f"mean face of the true label, {SEVERAL} clips", *correlations(label, true)])
    rows.append([f"**connector**, {SEVERAL} clips", *measure(predictor(net), several)])
    plain = replace(config, measure_every=config.steps)
    long = {"direct": False, "steps": 400, "learning_rate": 1e-3, "measure_every": 400}
    variants = {
        "ridge alone": replace(config, steps=1, measure_every=1, learning_rate=0.0),
        "ridge + reconstruction": replace(plain, loss=LossWeights(1, 0, 0)),
        "ridge + reconstruction + contrastive": replace(plain, loss=LossWeights(1, 0.1, 0)),
        "ridge + all three losses (bundled)": plain,
        "no ridge, reconstruction": replace(config, **long, loss=LossWeights(1, 0, 0)),
        "no ridge, + contrastive": replace(config, **long, loss=LossWeights(1, 0.1, 0)),
        "no ridge, + directional (the paper's three)": replace(config, **long),
        "no ridge, reference always given": replace(config, **long, no_reference=0.0),
        "no ridge, published pairing": replace(config, **long, published_pairing=True),
    }
    ablation = []
    for name, plan in variants.items():
        with tempfile.TemporaryDirectory() as folder:
            scores = train_connector(plan, Trainer(Path(folder)), pairs)
        ablation.append([name, *scores.values()])
        print(ablation[-1], flush=True)
    shots = zero_shot(config, pairs)
    text = (
        "Four held-out RAVDESS actors, differences to the actor's own neutral, code of 17 action "
        "units. Correlation over the clips, averaged over the action units; correlation over the "
        f"action units, averaged over the clips.\n\n{table(head, rows)}\n\n"
        "Ablation (single clips, then four clips averaged):\n\n"
        f"{table(['', *head[1:], 'per action unit, 4 clips', 'per clip, 4 clips'], ablation)}\n\n"
        "Zero-shot: the net never sees faces of the held-out emotion. The rank is that of the emotion's "
        "real mean face among seven, by correlation with the prediction from its voices; units are "
        "standardised and the mean emotional face subtracted (first two columns), or raw (last two)."
        "\n\n"
        f"{table(HEAD_SHOTS, shots)}"
    )
    write_section("Connector", text)


if __name__ == "__main__":
    main()
