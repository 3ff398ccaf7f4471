"""Losses and choices of DICE-Talk's stage 2 switched off one at a time, on the miniature of MEAD.

    python -m benchmarks.dice_svd_losses build/dice-svd-losses --seeds 2

Draws the miniature and caches its clips where they are not there, trains one embedder per seed and
one svd engine, with the tests' small nets, per row and seed. Figures are of the person held out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from benchmarks.dice_losses import table
from tests.miniature import Readers, miniature_clips, stage_one, stage_two, swap
from tests.stock import stock_store

from mien.training.emotion_prior.embedder import train_embedder
from mien.training.svd.data import WITHHELD, WindowSampler
from mien.training.svd.diffusion import initial_nets, train_diffusion
from mien.training.trainer import Trainer
from mien.weights.store import Store

ROWS: dict[str, dict[str, Any]] = {
    "all": {},
    "without quantiser": {"quantiser": 0.0},
    "without discrimination": {"discrimination": 0.0},
    "without withholding": dict.fromkeys(WITHHELD, 0.0),
    "reference from the same clip": {"reference": "same"},
    "priors of labels alone": {"own_prior": 0.0},
}
"""What a row changes in the settings."""


def main() -> None:  # noqa: D103
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    folder, weights = args.folder, args.folder / "weights"
    store = Store(weights / "cache") if weights.exists() else stock_store(weights)
    clips = miniature_clips(folder, store)
    readers = Readers.of(clips)

    def run(name: str, seed: int) -> list[float]:
        first = folder / f"embedder{seed}"
        if not (first / "embedder.safetensors").exists():
            train_embedder(stage_one(clips, seed=seed), Trainer(first))
        config = stage_two(
            clips, first / "priors", embedder=first / "embedder.safetensors", seed=seed,
            steps=args.steps, **ROWS[name],
        )  # fmt: skip
        nets, sampler = initial_nets(config, store), WindowSampler(config, 16)
        with TemporaryDirectory() as place:
            scores = train_diffusion(config, Trainer(Path(place)), nets)
        priors = torch.from_numpy(np.stack(list(sampler.priors.values())))
        entries = len(nets.emotion_bank.codebook(priors).codes.unique())
        made = swap(nets, sampler, readers)
        nearest = swap(nets, sampler, readers, retrieval=True)
        return [scores["diffusion"], scores["quantiser"], scores["recognised"], made.cosine,
                made.size, made.right, made.person, nearest.cosine, float(entries)]  # fmt: skip

    table(
        "stage 2 | error | quantiser | recognised | cosine | size | read | person | cosine by retrieval | "
        "entries", ROWS, run, args.seeds,
    )  # fmt: skip


if __name__ == "__main__":
    main()
