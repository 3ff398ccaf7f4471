"""Films to cached clips, with tiny nets: on two workers as on one, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import mien
from mien.datasets.shards import ShardWriter
from mien.datasets.svd_clips import ARRAYS, find_clips
from mien.datasets.svd_encoding import ClipEncoder, EncoderSettings, cache_clips
from mien.engines.published_checkpoints import convert_file
from mien.engines.svd.preprocess import audio_windows, audio_windows_at
from mien.errors import InputError, OutputError, WeightsError
from mien.weights.manifest import EMOTION2VEC, entry
from mien.weights.store import Store

from ..conftest import DEMO
from ..published import write_emotion2vec
from ..speech.voices import buzz, write_sound
from ..svd import tiny_svd_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("svd")
    made = tiny_svd_store(folder)
    convert_file(entry(EMOTION2VEC), write_emotion2vec(folder / "model.pt"), made)
    return made


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    voice = write_sound(folder / "voice.wav", buzz(0.5, 230))
    for name in ("one", "two"):
        mien.talk(DEMO / "woman.jpg", voice, folder / f"{name}.mp4", "happy")
    (folder / "voice.wav").unlink()
    return folder


def test_two_workers_make_what_one_makes(store: Store, films: Path, tmp_path: Path) -> None:
    settings = EncoderSettings(store.folder, 64, "cpu")
    for name, workers in (("a", 1), ("b", 2)):
        done = cache_clips(films, tmp_path / name, settings, workers=workers, log=pytest.fail)
        assert (done.videos, done.left_out) == (2, 0)
    found = [find_clips(tmp_path / name) for name in "ab"]
    for one, two in zip(*found, strict=True):
        assert one.path.name == two.path.name
        for name in ARRAYS:
            assert np.array_equal(one.read(name), two.read(name)), name
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    cache_clips(films, tmp_path / "a", settings, log=pytest.fail)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()} == before
    with pytest.raises(InputError, match="holds clips of 64 pixels, such as one; got 128"):
        cache_clips(films, tmp_path / "a", replace(settings, side=128), log=pytest.fail)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="mien weights fetch"):
        cache_clips(films, tmp_path / "c", EncoderSettings(tmp_path / "empty"), log=pytest.fail)
    with pytest.raises(InputError, match="multiple of 64; got 65"):
        EncoderSettings(store.folder, 65)


def test_half_precision_stays_near_and_falls_back(store: Store, films: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    exact = ClipEncoder(EncoderSettings(store.folder, 64, "cpu"))
    half = ClipEncoder(EncoderSettings(store.folder, 64, "cpu", "bf16"))
    wanted, found = exact._encoded(pictures), half._encoded(pictures)
    assert half._dtype == torch.bfloat16
    assert 0 < np.abs(found - wanted).mean() < 0.02 * np.abs(wanted).mean()

    class Overflowing(torch.nn.Module):
        """A VAE that is only right in single precision."""

        def __init__(self, net: torch.nn.Module) -> None:
            super().__init__()
            self.net = net

        def encode(self, x: torch.Tensor) -> object:
            return self.net.encode(x if x.dtype == torch.float32 else x / 0)

    half._vae = Overflowing(half._vae)
    again = half._encoded(pictures)
    assert half._dtype == torch.float32
    assert np.abs(again - wanted).mean() < 0.02 * np.abs(wanted).mean()


def test_a_disk_that_fills_up_ends_the_run(
    store: Store, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = EncoderSettings(store.folder, 64, "cpu")
    put, count = ShardWriter._put, 0

    def full(self: ShardWriter, *args: object, **more: object) -> None:
        nonlocal count
        count += 1
        if count > 12:
            raise OutputError("The disk is full.")
        put(self, *args, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "_put", full)
        with pytest.raises(OutputError, match="full.*the same command continues"):
            cache_clips(films, tmp_path, settings, log=pytest.fail)
    assert [one.path.name for one in find_clips(tmp_path)] == ["one"]
    cache_clips(films, tmp_path, settings, log=pytest.fail)
    assert [one.path.name for one in find_clips(tmp_path)] == ["one", "two"]


def test_windows_of_a_voice_are_read_without_the_rest() -> None:
    states = torch.randn(203, 5, 3)
    every = audio_windows(states, 60)
    for first in (0, 1, 17, 45, 56):
        frames = torch.arange(first, first + 4)
        seen = []

        def read(a: int, b: int, seen: list[int] = seen) -> torch.Tensor:
            seen.append(b - a)
            return states[a:b]

        assert torch.equal(audio_windows_at(frames, len(states), read), every[frames])
        assert seen[0] <= 22
