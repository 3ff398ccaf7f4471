"""The svd engine's training on the corpus in miniature: its clips, readers of them, and swaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mien.datasets.mead import EMOTIONS
from mien.datasets.miniature import PEOPLE, make_miniature
from mien.datasets.svd_clips import find_clips
from mien.datasets.svd_encoding import EncoderSettings, cache_clips
from mien.engines.svd.networks import SvdNetworks
from mien.engines.svd.pipeline import DiceTalkPipeline
from mien.engines.svd.sampler import sample
from mien.engines.svd.settings import Guidance, Sampling, Windows
from mien.training.emotion_prior.embedder import EmbedderConfig
from mien.training.svd.data import DiffusionConfig, WindowSampler
from mien.training.svd.strips import inputs_of
from mien.weights.store import Store

from .stock import SIDE

HELD_OUT = PEOPLE[-1].mead
FRAMES = 2
Array = np.ndarray


def miniature_clips(folder: Path, store: Store, sentences: int = 2, seconds: float = 0.4) -> Path:
    """Draw the miniature of MEAD and cache its clips, as ``mien features --engine svd`` does."""
    make_miniature(
        "mead", folder / "mead", sentences=sentences, seconds=seconds, side=2 * SIDE, close=True
    )
    settings = EncoderSettings(store.folder, side=SIDE, device="cpu", threads=1)
    done = cache_clips(folder / "mead", folder / "clips", settings, log=print)
    assert not done.failed
    return folder / "clips"


def stage_one(clips: Path, **more: Any) -> EmbedderConfig:
    """Settings of a small embedder, trained in seconds."""
    settings = {"width": 16, "heads": 2, "layers": 1, "frames": 4, "batch": 32, "steps": 200,
                "measure_every": 200, "learning_rate": 1e-3, "device": "cpu", **more}  # fmt: skip
    return EmbedderConfig(features=clips, **settings)


def stage_two(clips: Path, priors: Path, **more: Any) -> DiffusionConfig:
    """Settings of a short run of stage 2; the bank learns more slowly than the adapters."""
    steps = more.get("steps", 300)
    settings = {"frames": FRAMES, "batch": 2, "steps": steps, "measure_every": steps,
                "measured": 16, "learning_rate": 1e-2, "warm_up": 10, "average": 0.95,
                "device": "cpu", "sample_steps": 0, "sigma_mean": 1.0, "sigma_spread": 1.0,
                "rates": {"bank": 0.1, "audio": 0.1, "guider": 0.1}, **more}  # fmt: skip
    return DiffusionConfig(labelled=clips, priors=priors, **settings)


@dataclass(frozen=True)
class Readers:
    """Read the emotion of somebody from the means of the others, and who it is.

    Attributes:
        means: of the features of a person's emotion.
    """

    means: Mapping[tuple[str, str], Array]

    @classmethod
    def of(cls, clips: Path, name: str = "latents") -> Readers:
        """Read the means of cached clips."""
        found = find_clips(clips)
        return cls(
            {
                (person, emotion): np.concatenate(
                    [one.read(name).astype(np.float32) for one in found
                     if (one.person, one.emotion) == (person, emotion)]
                ).mean(0)
                for person in {one.person for one in found}
                for emotion in EMOTIONS
            }
        )  # fmt: skip

    @property
    def people(self) -> list[str]:
        """Names."""
        return sorted({person for person, _ in self.means})

    def usual(self, person: str) -> Array:
        """Return the mean over a person's emotions."""
        out: Array = np.mean([self.means[person, name] for name in EMOTIONS], 0)
        return out

    def change(self, person: str, emotion: str) -> Array:
        """Return how a person's emotion differs from the mean over all."""
        return self.means[person, emotion] - self.usual(person)

    def emotion(self, change: Array, person: str) -> str:
        """Return the emotion whose change in the other people is likest."""
        others = [one for one in self.people if one != person]
        known = {name: np.mean([self.change(one, name) for one in others], 0) for name in EMOTIONS}
        return max(known, key=lambda name: cosine(change, known[name]))

    def person(self, features: Array) -> str:
        """Return whose mean is nearest."""
        return min(self.people, key=lambda one: float(np.linalg.norm(features - self.usual(one))))


def cosine(one: Array, other: Array) -> float:
    """Return the cosine of two arrays."""
    return float((one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other))


class Swap(NamedTuple):
    """What a change of the prior does to somebody held out.

    Attributes:
        cosine: mean cosine of the change with that of the person's own clips.
        size: of the change, relative to theirs.
        right: share of emotions that are read as asked for.
        person: share of pictures in which the person is read.
    """

    cosine: float
    size: float
    right: float
    person: float


def swap(
    nets: SvdNetworks, sampler: WindowSampler, readers: Readers, seeds: int = 2, *,
    retrieval: bool = False,
) -> Swap:  # fmt: skip
    """Sample windows of the person held out with every emotion's prior and the same noise."""
    rows = []
    for seed in range(seeds):
        made = _swapped(nets, sampler, seed, retrieval=retrieval)
        usual = np.mean(list(made.values()), 0)
        for name, latents in made.items():
            change, true = latents - usual, readers.change(HELD_OUT, name)
            rows.append(
                (
                    cosine(change, true),
                    float(np.linalg.norm(change) / np.linalg.norm(true)),
                    float(readers.emotion(change, HELD_OUT) == name),
                    float(readers.person(latents) == HELD_OUT),
                )
            )
    return Swap(*np.mean(rows, 0).tolist())


@torch.no_grad()
def _swapped(
    nets: SvdNetworks, sampler: WindowSampler, seed: int, *, retrieval: bool
) -> dict[str, Array]:
    """Sample a window of the person held out with every emotion: mean latents by emotion."""
    pipeline = DiceTalkPipeline(nets, device=torch.device("cpu"), offload=True)
    window = sampler.draw(np.random.default_rng(100 + seed), held_out=True)
    noise = torch.randn(window.latents.shape, generator=torch.Generator().manual_seed(seed))
    sampling = Sampling(8, guidance=Guidance(1, 3, 3), windows=Windows(FRAMES, shift=0, pad=0))
    out = {}
    for name in EMOTIONS:
        prior = torch.from_numpy(sampler.priors[name])
        inputs = replace(
            inputs_of(nets, pipeline, window, prior),
            emotion=pipeline.emotion_tokens(prior[None], retrieval=retrieval),
        )
        latents = sample(nets.unet, nets.conditioning, inputs, noise, sampling)
        out[name] = latents.mean(0).numpy()
    return out
