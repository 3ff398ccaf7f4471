"""What DICE-Talk's training learns from the corpus in miniature: emotions swap, people stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from mien.datasets.svd_clips import find_clips
from mien.engines.svd.networks import load_network
from mien.engines.svd.sampler import SCALING_FACTOR
from mien.training.emotion_prior.embedder import train_embedder
from mien.training.svd.data import WindowSampler
from mien.training.svd.diffusion import initial_nets, train_diffusion
from mien.training.trainer import Trainer
from mien.weights.manifest import VAE
from mien.weights.store import Store

from ..miniature import HELD_OUT, Readers, miniature_clips, stage_one, stage_two, swap
from ..stock import FILE, SIDE, latents_of, stock_store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return stock_store(tmp_path_factory.mktemp("stock"))


@pytest.fixture(scope="module")
def clips(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniature_clips(tmp_path_factory.mktemp("miniature"), store)


def test_the_encoder_projects_patches(store: Store) -> None:
    picture = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        made = load_network(store, VAE).encode(picture).latent_dist.mode() * SCALING_FACTOR
    with np.load(FILE) as known:
        projections, mean = (torch.from_numpy(known[name]) for name in ("projections", "mean"))
    wanted = latents_of(picture, projections, mean)
    assert float((made - wanted).abs().max()) < 0.02 * float(wanted.std())


def test_latents_tell_the_emotion_of_a_new_person_and_who_it_is(clips: Path) -> None:
    readers, found = Readers.of(clips), find_clips(clips)
    right = []
    for one in found:
        latents = one.read("latents").astype(np.float32).mean(0)
        change = latents - readers.usual(one.person)
        right.append(readers.emotion(change, one.person) == one.emotion)
        assert readers.person(latents) == one.person
    assert np.mean(right) > 0.8, "an eighth would be chance"


def test_a_prior_swaps_the_emotion_and_keeps_the_person(
    store: Store, clips: Path, tmp_path: Path
) -> None:
    train_embedder(stage_one(clips), Trainer(tmp_path / "one"))
    config = stage_two(clips, tmp_path / "one" / "priors", measured=96)
    nets, sampler = initial_nets(config, store), WindowSampler(config, 16)
    assert {one.person for one in find_clips(clips)} > {HELD_OUT}
    before = swap(nets, sampler, Readers.of(clips), seeds=1)
    scores = train_diffusion(config, Trainer(tmp_path / "two"), nets)
    assert scores["recognised"] > 0.17, "an eighth would be chance"
    made = swap(nets, sampler, Readers.of(clips))
    assert made.cosine > 0.2
    assert made.size > 0.2
    assert made.person == 1
    assert before.cosine < 0.15
    assert before.size < 0.01
