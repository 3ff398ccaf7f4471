"""C-MET's losses switched off one at a time, on the corpus in miniature and a toy backbone.

    python -m benchmarks.cmet_losses build/mini --seeds 2

Draws the miniature MEAD into the folder if it is not there, reads its expressions with eigenfaces
(``tests/eigenfaces.py``) and its voices with mien's listener, and trains one connector per row and
seed on two people. Figures are of the third, over all pairs of two emotions, without a reference.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from tests.eigenfaces import open_eigenfaces, train_eigenfaces
from torch.nn import functional as F

from mien.cmet.connector import Connector
from mien.cmet.losses import LossWeights
from mien.datasets.edtalk_features import extract_features, read_features
from mien.datasets.mead import EMOTIONS
from mien.datasets.miniature import make_miniature
from mien.pipelines.cmet_models import CmetModels
from mien.speech.features import features
from mien.speech.listener import Listener
from mien.training.connector.edtalk import EDTalkConnectorConfig, EDTalkConnectorTask, MeadSampler
from mien.training.trainer import Trainer
from mien.weights.store import Store

TRAIN, TEST = ("M005", "W011"), "M003"
PAIRS = 256

ROWS = {
    "all three": LossWeights(),
    "without reconstruction": LossWeights(reconstruction=0.0),
    "without contrast": LossWeights(contrastive=0.0),
    "without direction": LossWeights(directional=0.0),
    "reconstruction alone": LossWeights(contrastive=0.0, directional=0.0),
}


def main() -> None:  # noqa: D103
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=150)
    args = parser.parse_args()
    table = prepared(args.folder)
    print("| losses | cosine | error | emotion right (of 7) | voice finds face | opposed |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, weights in ROWS.items():
        rows = [measured(table, weights, seed, args.steps) for seed in range(args.seeds)]
        means, spans = np.mean(rows, 0), np.ptp(rows, 0) / 2
        cells = (f"{m:.2f} ± {s:.2f}" for m, s in zip(means, spans, strict=True))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def prepared(folder: Path) -> Path:
    """Draw the corpus and extract its features where they are not there."""
    films, table = folder / "mead", folder / "features"
    make_miniature("mead", films, sentences=1)
    faces = folder / "eigenfaces.pt"
    if not faces.exists():
        train_eigenfaces(films, TRAIN, faces)
    listener = Listener()
    nets = CmetModels(
        open_eigenfaces(faces, folder),
        Store(folder / "cache"),
        speech_encoder=lambda samples: 10 * listener.embed([features(samples)])[0],
    )
    extract_features(films, table, nets, log=print)
    return table


def measured(table: Path, weights: LossWeights, seed: int, steps: int) -> list[float]:
    """Train, and measure the held-out person."""
    config = EDTalkConnectorConfig(
        features=table, train=TRAIN, test=(TEST,), width=64, layers=1, feed_forward=64, batch=32,
        steps=steps, measure_every=steps, learning_rate=1e-3, no_reference=0.5, loss=weights,
        device="cpu", seed=seed,
    )  # fmt: skip
    with TemporaryDirectory() as run:
        net, _ = Trainer(Path(run)).fit(EDTalkConnectorTask(config), keep=False)
    return figures(net, table)


@torch.no_grad()
def figures(net: Connector, table: Path) -> list[float]:
    """Cosine, relative error, accuracy of the emotion, of the voice's token, and opposition."""
    recordings = read_features(table, (TEST,))
    batch = MeadSampler(recordings, PAIRS, 1.0).draw(np.random.default_rng(0))
    there = net(batch["reference"], batch["speech"], batch["first"])
    back = net(-batch["reference"], -batch["speech"], batch["second"])
    found, true = there.delta.mean(1), batch["target"].mean(1)
    faces = {one.emotion: torch.from_numpy(one.expression.mean(0)) for one in recordings}
    kinds = torch.stack([faces[name] for name in EMOTIONS])
    # Of the directions from the first face to every other emotion, which is nearest?
    ways = kinds[None] - batch["first"].mean(1)[:, None]
    near = F.cosine_similarity(found[:, None], ways, dim=2)
    near[torch.arange(PAIRS), ways.norm(dim=2).argmin(1)] = -2  # the emotion that is left
    # The published pairing: the tokens of the first face minus those of the second.
    change = F.normalize((there.expression - back.expression).mean(1), dim=1)
    voice = F.normalize(there.speech[:, 0], dim=1)
    likest = (voice @ change.T).argmax(1)
    return [
        float(F.cosine_similarity(found, true, dim=1).mean()),
        float((found - true).square().mean().sqrt() / true.square().mean().sqrt()),
        float((near.argmax(1) == batch["label"]).float().mean()),
        float((batch["label"][likest] == batch["label"]).float().mean()),
        float(-F.cosine_similarity(found, back.delta.mean(1), dim=1).mean()),
    ]


if __name__ == "__main__":
    main()
