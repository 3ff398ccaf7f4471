"""DICE-Talk's losses switched off one at a time, in both stages of the mesh engine's prior.

    python -m benchmarks.dice_losses MANIFEST ACTION_UNITS build/dice-losses --seeds 3

Trains the embedder and then bank and decoder of ``mien train dice-mesh`` on the recordings whose
faces are in the table, once per row and seed. Figures are of people held out by the manifest,
except that the speaker is recognised among those trained on.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.nn import functional as F

from mien.dicetalk.bank import MeshDice, perplexity
from mien.dicetalk.embedder import EmotionEmbedder
from mien.training.emotion_prior.mesh import (
    DecoderTask,
    Differences,
    EmbedderTask,
    EmotionPriorConfig,
    differences_of,
    embed,
    without_style,
)
from mien.training.emotion_prior.probes import probe
from mien.training.trainer import Losses, Trainer
from mien.training.voice_faces import load_voice_faces

EMBEDDER: dict[str, tuple[str, ...]] = {
    "all": (),
    "without emotion": ("emotion",),
    "without contrast": ("contrast",),
    "without person": ("person",),
    "without divergence": ("divergence",),
    "emotion alone": ("contrast", "person", "divergence"),
    "without prototypes": (),
}
"""Losses of stage 1 that are switched off, by row; the last keeps all and mixes no prototypes."""

DECODER: dict[str, dict[str, float]] = {
    "all": {},
    "without discrimination": {"discrimination": 0.0},
    "without quantiser": {"quantiser": 0.0},
    "reconstruction alone": {"discrimination": 0.0, "quantiser": 0.0},
}


class Without(EmbedderTask):
    """The embedder's training without some of its losses."""

    def __init__(self, config: EmotionPriorConfig, data: Differences, off: tuple[str, ...]) -> None:
        super().__init__(config, data)
        self._off = off

    def losses(self, net: EmotionEmbedder, batch: dict[str, torch.Tensor], step: int) -> Losses:
        """Leave out what is switched off."""
        parts = super().losses(net, batch, step).parts
        left = {name: value for name, value in parts.items() if name not in self._off}
        return Losses(sum(left.values(), torch.zeros(())), left)


def main() -> None:  # noqa: D103
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("action_units", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    config = EmotionPriorConfig(
        manifest=seen_alone(args.manifest, args.action_units, args.folder / "manifest.csv"),
        action_units=args.action_units, views=2, steps=args.steps, decoder_steps=args.steps,
        measure_every=args.steps, device="cpu",
    )  # fmt: skip
    data = differences_of(load_voice_faces(config, args.folder, log=print))
    embedders: list[EmotionEmbedder] = []

    def first(name: str, seed: int) -> list[float]:
        task = Without(replace(config, seed=seed), data, EMBEDDER[name])
        with TemporaryDirectory() as run:
            net, _ = Trainer(Path(run)).fit(task, keep=False)
        if name == "all":
            embedders.append(net)  # the decoder learns from people as they differ
        if name != "without prototypes":
            net = without_style(net, data)
        scores = task.measure(net)
        return embedder_figures(net, scores, data)

    def second(name: str, seed: int) -> list[float]:
        changed = replace(config, seed=seed, **DECODER[name])  # type: ignore[arg-type]
        with TemporaryDirectory() as run:
            net, _ = Trainer(Path(run)).fit(DecoderTask(changed, data, embedders[seed]), keep=False)
        return decoder_figures(net, embedders[seed], data)

    table("stage 1 | emotion | likest of others | style, trained on | style, held out | divergence",
          EMBEDDER, first, args.seeds)  # fmt: skip
    table("stage 2 | error | by retrieval | emotion of the feature | entries in use",
          DECODER, second, args.seeds)  # fmt: skip


def table(
    heads: str, rows: Iterable[str], run: Callable[[str, int], list[float]], seeds: int
) -> None:
    """Print mean and half the range over the seeds of every row."""
    print(f"\n| {heads} |\n|{' --- |' * (heads.count('|') + 1)}")
    for name in rows:
        found = [run(name, seed) for seed in range(seeds)]
        means, spans = np.mean(found, 0), np.ptp(found, 0) / 2
        cells = (f"{m:.2f} ± {s:.2f}" for m, s in zip(means, spans, strict=True))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def seen_alone(manifest: Path, action_units: Path, out: Path) -> Path:
    """Write the part of a manifest whose faces are known."""
    with action_units.open(newline="", encoding="utf-8") as file:
        known = {row["file"] for row in csv.DictReader(file)}
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["file"] in known]
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "file": (manifest.parent / row["file"]).resolve()})
    return out


@torch.no_grad()
def embedder_figures(
    net: EmotionEmbedder, scores: Mapping[str, float], data: Differences
) -> list[float]:
    """Emotion by probe and by the likest recording of another person, people by style, divergence."""
    test = np.flatnonzero(~data.train)
    gaussian = embed(net, data, test)
    near = F.normalize(gaussian.mean, dim=1) @ F.normalize(gaussian.mean, dim=1).T
    person = torch.from_numpy(data.person[test])
    likest = near.masked_fill(person[:, None] == person, -2).argmax(1).numpy()
    return [
        scores["emotion by a linear probe"],
        float((data.emotion[test][likest] == data.emotion[test]).mean()),
        scores["speakers trained on by style"],
        scores["speakers held out by style"],
        float(gaussian.divergence()),
    ]


@torch.no_grad()
def decoder_figures(net: MeshDice, embedder: EmotionEmbedder, data: Differences) -> list[float]:
    """Error of the face through all entries and through one, emotion of the feature, entries."""
    train, test = data.rows, np.flatnonzero(~data.train)
    known, prior = (embed(embedder, data, rows).mean for rows in (train, test))
    face = torch.from_numpy(data.face[test])
    errors = [
        float((net(prior, retrieval=one).face - face).norm() / face.norm()) for one in (False, True)
    ]
    features = [net(some).feature.numpy() for some in (known, prior)]
    emotion = probe(features[0], data.emotion[train], features[1], data.emotion[test])
    codes = net.bank.codebook(prior).codes
    return [*errors, emotion, perplexity(codes, net.spec.bank.entries)]


if __name__ == "__main__":
    main()
