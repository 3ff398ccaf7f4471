"""What stage 2 of DICE-Talk's training learns: another emotion's prior, the same person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from mien.datasets.svd_clips import find_clips
from mien.engines.svd.pipeline import DiceTalkPipeline
from mien.engines.svd.sampler import sample
from mien.engines.svd.settings import Sampling, Windows
from mien.training.svd.data import WindowSampler
from mien.training.svd.diffusion import initial_nets, train_diffusion
from mien.training.svd.strips import inputs_of
from mien.training.trainer import Trainer

from ..svd import PRIOR, tiny_svd_store
from .test_svd_training import cached, priors_of, stage_two

HELD_OUT = "M002"
SWAPPED = ("angry", "neutral")


@pytest.mark.slow
def test_a_prior_swaps_the_emotion_and_keeps_the_person(tmp_path: Path) -> None:
    """On somebody held out; the clips' own means read emotion and person."""
    clips, priors = cached(tmp_path / "clips", looks=0.8), priors_of(tmp_path / "priors")
    config = stage_two(
        clips, priors, frames=2, batch=2, steps=200, measure_every=200, measured=12,
        temporal=True, sigma_mean=0.0, padded=0.0, average=0.9, rates={"bank": 0.3},
    )  # fmt: skip
    nets = initial_nets(config, tiny_svd_store(tmp_path / "svd"))
    scores = train_diffusion(config, Trainer(tmp_path / "run"), nets)
    assert scores["recognised"] > 0.6, "a third would be chance"
    found = find_clips(clips / "mead")
    people = sorted({one.person for one in found})

    def mean(person: str | None = None, emotion: str | None = None) -> np.ndarray:
        chosen = [
            one.read("latents").astype(np.float32)
            for one in found
            if person in (None, one.person) and emotion in (None, one.emotion)
        ]
        return np.concatenate(chosen).mean(0)

    wanted = mean(emotion=SWAPPED[0]) - mean(emotion=SWAPPED[1])
    pipeline = DiceTalkPipeline(nets, device=torch.device("cpu"), offload=True)
    sampler = WindowSampler(config, PRIOR)
    for seed in range(3):
        window = sampler.draw(np.random.default_rng(100 + seed), held_out=True)
        noise = torch.randn(window.latents.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            made = [
                sample(
                    nets.unet, nets.conditioning,
                    inputs_of(nets, pipeline, window, torch.from_numpy(sampler.priors[name])),
                    noise, Sampling(8, windows=Windows(2, shift=0, pad=0)),
                ).mean(0).numpy()
                for name in SWAPPED
            ]  # fmt: skip
        change = made[0] - made[1]
        cosine = float((change * wanted).sum() / np.linalg.norm(change) / np.linalg.norm(wanted))
        assert cosine > 0.2, cosine
        for one, emotion in zip(made, SWAPPED, strict=True):
            gaps = [float(np.linalg.norm(one - mean(person, emotion))) for person in people]
            assert people[int(np.argmin(gaps))] == HELD_OUT
