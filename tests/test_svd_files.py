"""Whole files through the engine svd, with tiny nets: commands, weights, errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from diffusers import UNetSpatioTemporalConditionModel

import mien as package
from mien.emotion.request import Emotion, Request, Timeline
from mien.emotion.resolve_svd import SvdResolver
from mien.engines.published_checkpoints import convert_file
from mien.engines.svd.preprocess import prepare_portrait
from mien.engines.svd.settings import SvdSettings
from mien.errors import CancelledError, InputError, WeightsError
from mien.media.read import VideoReader
from mien.media.still import read_still, write_still
from mien.speech.analysis import VoiceAnalysis
from mien.speech.listener import VOICE_EMOTIONS, Listener
from mien.weights.manifest import ADAPTERS, AUDIO, PRIORS, UNET, entry
from mien.weights.store import CACHE_VARIABLE, Store

from .command import mien, mien_process
from .speech.voices import buzz, count_decodings, write_sound
from .svd import NAMES, PRIOR, SIZES, published_files, tiny_svd_store, wicked_prior

QUICK = SvdSettings(shorter_side=64, num_inference_steps=2, allow_slow=True, device="cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tiny_svd_store(tmp_path_factory.mktemp("svd"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return published_files(tmp_path_factory.mktemp("files") / "published")


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    return write_sound(tmp_path / "voice.wav", buzz(0.5, 230))


def pictures(path: Path) -> list[np.ndarray]:
    with VideoReader(path) as reader:
        return [frame.image.astype(int) for frame in reader]


def gap(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """Mean difference of pictures, of 255."""
    return float(np.mean([np.abs(a - b).mean() for a, b in zip(one, other, strict=True)]))


def test_a_portrait_talks(store: Store, demo_face: Path, voice: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    done = mien_process(
        "talk", demo_face, voice, "-o", out, "-e", "angry", "--engine", "svd", "--side", 64,
        "--steps", 2, "--seed", 3, "--json", cache=store.folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"engine": "svd"' in done.stdout
    assert "should be kept in float32" not in done.stderr
    with VideoReader(out) as reader:
        assert (reader.info.width, reader.info.height) == (64, 64)
        assert reader.info.rate == 25
        assert reader.info.has_audio
        frames = [frame.image for frame in reader]
    assert len(frames) == 14, "0.5 s are seven made frames, doubled"


def test_every_option_changes_something(
    store: Store, demo_face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(store.folder))
    voice = write_sound(tmp_path / "short.wav", buzz(0.3, 230))
    single = replace(QUICK, num_inference_steps=1, interpolate=False)

    def run(emotion: str = "happy", **more: object) -> list[np.ndarray]:
        settings = replace(single, **more)  # type: ignore[arg-type]
        report = package.talk(
            demo_face, voice, tmp_path / "o.mp4", emotion, engine="svd", options=settings,
            overwrite=True,
        )  # fmt: skip
        assert report.engine == "svd"
        assert {w.name for w in report.weights} >= {UNET, ADAPTERS, PRIORS}
        return pictures(tmp_path / "o.mp4")

    first = run()
    # Matrix products may differ in the last bit from run to run; no more than that.
    assert gap(first, run()) < 0.5
    for change in (
        {"seed": 1},
        {"num_inference_steps": 2},
        {"preset": "fast", "num_inference_steps": None},
        {"preset": "turbo", "num_inference_steps": 2},
        {"image_guidance": 1.0},
        {"audio_guidance": 1.0},
        {"emotion_guidance": 1.0},
        {"crop": 0.1},
        {"audio_scale": 0.0},
        {"emotion_scale": 0.0},
        {"retrieval": True},
        {"clamp_mask": True},
        {"even_padding": True},
    ):
        other = run(**change)
        assert gap(first, other) > 1, change
    assert len(first) == 4
    assert len(run(interpolate=True)) == 8
    assert run(shorter_side=128)[0].shape == (128, 128, 3)
    with pytest.raises(InputError, match="smaller side"):
        run(max_memory_gb=1e-4)


SLOW = """
import os, sys
import torch
from diffusers import UNetSpatioTemporalConditionModel as UNet

calls, quick = open(sys.argv.pop(1), "w", buffering=1), UNet.forward

def slow(self, *given, **more):
    print("call", file=calls)
    for _ in range(20):
        BIG @ BIG
    return quick(self, *given, **more)

BIG = torch.rand(1200, 1200)
UNet.forward = slow
from mien.cli.app import main
main()
"""
"""The command line with a UNet whose calls take a second or so."""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_within_a_call(
    store: Store, demo_face: Path, voice: Path, tmp_path: Path, number: int
) -> None:
    calls = tmp_path / "calls"
    work = tmp_path / "work"
    work.mkdir()
    command = [
        *(sys.executable, "-c", SLOW, calls, "talk", demo_face, voice, "-o", work / "o.mp4"),
        *("-e", "happy", "--engine", "svd", "--side", "64", "--steps", "20", "--yes"),
    ]

    def count() -> int:
        return len(calls.read_text()) // 5 if calls.exists() else 0

    with subprocess.Popen(
        [str(word) for word in command],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, CACHE_VARIABLE: str(store.folder)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        seen, times = 0, []
        while len(times) < 3:
            assert process.poll() is None
            if count() > seen:
                seen, times = count(), [*times, time.monotonic()]
            time.sleep(0.01)
        process.send_signal(number)
        sent = time.monotonic()
        _, errors = process.communicate(timeout=60)
    ended = time.monotonic() - sent
    assert process.returncode == 128 + number
    assert errors.endswith("Interrupted.\n")
    assert not list(work.iterdir())
    assert ended < 1.2 * max(b - a for a, b in pairwise(times)), "no longer than a call"
    assert count() <= 4


def test_cancelling_and_progress_are_by_calls(
    store: Store, demo_face: Path, voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven frames and 25 pads are two windows; two steps are four calls."""
    monkeypatch.setenv(CACHE_VARIABLE, str(store.folder))
    calls: list[int] = []
    seen: list[tuple[int, int | None]] = []
    forward = UNetSpatioTemporalConditionModel.forward

    def counted(*given: object, **more: object) -> object:
        calls.append(1)
        return forward(*given, **more)

    monkeypatch.setattr(UNetSpatioTemporalConditionModel, "forward", counted)

    def run(**more: Any) -> None:
        package.talk(
            demo_face, voice, tmp_path / "o.mp4", "sad", engine="svd", options=QUICK, **more
        )

    with pytest.raises(CancelledError):
        run(cancel=lambda: len(calls) == 3)
    assert len(calls) == 3
    assert not list(tmp_path.glob("o*"))
    calls.clear()
    run(progress=lambda done, total: seen.append((done, total)))
    assert len(calls) == 4
    assert [done for done, _ in seen[:4]] == [1, 2, 3, 4]
    totals = {total for _, total in seen}
    assert len(totals) == 1
    assert seen[-1][0] == seen[-1][1]
    assert all(a[0] <= b[0] for a, b in pairwise(seen))
    assert len(seen) > 6, "decoding and interpolation too"


def test_a_crop_shows_the_face(
    store: Store, demo_face: Path, voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(store.folder))
    face = read_still(demo_face)[::2, ::2]
    wide = np.pad(face, ((0, 500), (300, 600), (0, 0)), mode="edge")
    write_still(tmp_path / "wide.png", wide)
    shown = []

    def prepare(image: np.ndarray, box: Any, **more: Any) -> Any:
        shown.append((image, box))
        return prepare_portrait(image, box, **more)

    monkeypatch.setattr("mien.engines.svd.engine.prepare_portrait", prepare)
    short = replace(QUICK, num_inference_steps=1, interpolate=False)
    for crop in (None, 0.5):
        report = package.talk(
            tmp_path / "wide.png", voice, tmp_path / "o.mp4", "sad", engine="svd",
            options=replace(short, crop=crop), overwrite=True,
        )  # fmt: skip
        assert any("--crop 0.5" in warning for warning in report.warnings) == (crop is None)
    (whole, _), (cropped, (x, y, w, h)) = shown
    assert whole.shape == wide.shape
    assert cropped.shape[0] == cropped.shape[1] < 2.1 * max(w, h)
    assert 0 < x < x + w < cropped.shape[1]
    assert 0 < y < y + h < cropped.shape[0]


def test_what_cannot_be_is_said(
    store: Store, demo_face: Path, demo_clip: Path, voice: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.mp4"
    base = ("talk", demo_face, voice, "-o", out, "--engine", "svd")
    for more, message in (
        (("--au", "12=1"), "Action units belong to the mesh"),
        (("-e", "romantic"), f"Valid: {', '.join(sorted(NAMES))}"),
        (("--like", demo_face), "embedder"),
        (("-e", "happy", "--svd-preset", "best"), "exact, fewer, fast, turbo"),
        (("-e", "happy", "--face", "all"), "choose one"),
        (("-e", "happy", "--offload", "--device", "cpu"), "--offload needs a GPU"),
        (("-e", "happy", "--fps", "50"), "engine mesh"),
        (("-e", "happy", "--compile"), "belong to --engine edtalk"),
        (("-e", "happy", "--restorer", "x.onnx"), "belong to --engine edtalk"),
        (("-e", "happy", "--side", "2048", "--steps", "200"), "pass --yes"),
        (("-e", "happy", "--side", "100"), "nearest are 64 and 128"),
    ):
        done = mien(*base, *more, cache=store.folder)
        assert done.returncode == 2, (more, done.stderr)
        assert message in done.stderr.replace("\n", " "), (more, done.stderr)
        assert not out.exists()
    done = mien("talk", demo_clip, voice, "-o", out, "--engine", "svd", cache=store.folder)
    assert "is a video" in done.stderr
    done = mien("talk", demo_face, voice, "-o", out, "--svd-preset", "fast", cache=store.folder)
    assert "only for --engine svd" in done.stderr
    done = mien(*base, "-e", "happy", cache=tmp_path / "empty")
    assert done.returncode != 0
    assert "mien weights" in done.stderr


def test_other_checkpoints_are_recognised(files: dict[str, Path], tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(WeightsError, match="is not DICE-Talk's audio projection"):
        convert_file(entry(AUDIO), files[UNET], store)
    weights = torch.load(files[ADAPTERS], weights_only=True)
    name = next(key for key in weights if "to_k_ip" in key)
    torch.save({k: v for k, v in weights.items() if k != name}, tmp_path / "less.pth")
    with pytest.raises(WeightsError, match="1 missing .*to_k_ip"):
        convert_file(entry(ADAPTERS), tmp_path / "less.pth", store, SIZES[ADAPTERS])
    torch.save({**weights, "more.weight": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(WeightsError, match="1 unknown .*more.weight"):
        convert_file(entry(ADAPTERS), tmp_path / "more.pth", store, SIZES[ADAPTERS])
    torch.save({**weights, name: torch.zeros(3, 3)}, tmp_path / "shape.pth")
    with pytest.raises(WeightsError, match="of another shape"):
        convert_file(entry(ADAPTERS), tmp_path / "shape.pth", store, SIZES[ADAPTERS])
    assert not list(tmp_path.rglob("*.safetensors"))


def test_priors_are_read_without_running_them(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store")
    folder = tmp_path / "priors"
    folder.mkdir()
    with pytest.raises(InputError, match="no folder with EMOTION.npy"):
        convert_file(entry(PRIORS), folder, store)
    for path in files[PRIORS].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    wicked_prior(folder / "sad.npy")
    with pytest.raises(WeightsError, match="would call builtins.print"):
        convert_file(entry(PRIORS), folder, store)
    assert "executed" not in capsys.readouterr().out
    np.save(folder / "sad.npy", np.zeros(PRIOR, np.float32))
    convert_file(entry(PRIORS), folder, store)
    np.save(folder / "sad.npy", np.zeros(3, np.float32))
    with pytest.raises(WeightsError, match="differ in size"):
        convert_file(entry(PRIORS), folder, store)
    np.save(folder / "sad.npy", np.full(PRIOR, np.nan, np.float32))
    with pytest.raises(WeightsError, match="no numbers"):
        convert_file(entry(PRIORS), folder, store)
    (folder / "sad.npy").unlink()
    (folder / "neutral.npy").unlink()
    with pytest.raises(WeightsError, match="no neutral.npy"):
        convert_file(entry(PRIORS), folder, store)


def test_requests_become_priors(voice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = count_decodings(monkeypatch)
    rng = np.random.default_rng(0)
    known = {name: rng.normal(size=PRIOR).astype(np.float32) for name in NAMES}
    offsets = {name: known[name] - known["neutral"] for name in NAMES}

    def resolver(request: Request, **more: object) -> SvdResolver:
        return SvdResolver(request, VoiceAnalysis(voice), known, **more)  # type: ignore[arg-type]

    def at(spec: str, **more: float) -> np.ndarray:
        return resolver(Emotion.parse(spec, **more)).at(0.0) - known["neutral"]

    assert np.allclose(at("happy"), offsets["happy"], atol=1e-5)
    assert np.allclose(at("neutral"), 0)
    assert np.allclose(at("happy:0.5"), 0.5 * offsets["happy"], atol=1e-5)
    mixed = 0.7 * offsets["happy"] + 0.4 * offsets["sad"]
    assert np.allclose(at("happy:0.7,sad:0.4"), mixed, atol=1e-5)
    assert np.allclose(at("angry", intensity=1.5), 1.5 * offsets["angry"], atol=1e-5)
    timeline = resolver(
        Timeline.from_data(
            [
                {"at": 0, "emotion": "happy"},
                {"at": 2, "emotion": "sad", "fade": 1.0, "easing": "linear"},
            ]
        )
    )
    track = timeline.track(50, 12.5) - known["neutral"]
    assert np.allclose(track[20], offsets["happy"], atol=1e-5)
    assert np.allclose(track[-1], offsets["sad"], atol=1e-5)
    middle = 0.5 * offsets["happy"] + 0.5 * offsets["sad"]
    assert np.allclose(timeline.at(2.5) - known["neutral"], middle, atol=1e-4)
    steady = resolver(Emotion.parse("happy")).track(9, 12.5)
    assert (steady == steady[0]).all()
    assert not opened, "names need no voice"
    like, auto = Emotion.parse(like=voice), Emotion.parse("auto")
    for request in (like, auto):
        opened.clear()
        of_voice = resolver(request)
        of_voice.check()
        assert np.isfinite(of_voice.at(0.2)).all()
        assert opened == {voice: 1}
        embedded = resolver(request, embed=lambda path, samples: known["sad"])
        assert np.allclose(embedded.at(0.0), known["sad"], atol=1e-5)
    with pytest.raises(InputError, match="no prior of 'romantic'"):
        resolver(Emotion.parse("romantic")).check()
    with pytest.raises(InputError, match="mesh engine"):
        resolver(Emotion.parse(au="12=1")).check()


def test_voices_count_beside_their_neutral(voice: Path, tmp_path: Path) -> None:
    plain = write_sound(tmp_path / "plain.wav", buzz(2.0, 120))
    silent = write_sound(tmp_path / "silent.wav", np.zeros(32_000, np.float32))
    rng = np.random.default_rng(0)
    known = {name: rng.normal(size=PRIOR).astype(np.float32) for name in NAMES}
    own = {path: rng.normal(size=PRIOR).astype(np.float32) for path in (voice, plain)}

    def at(request: Request, **more: object) -> np.ndarray:
        return SvdResolver(request, VoiceAnalysis(voice), known, **more).at(0.5)  # type: ignore[arg-type]

    def embed(path: Path, samples: object) -> np.ndarray:
        return own[path]

    for alone, beside in (
        (Emotion.parse(like=voice), Emotion.parse(like=voice, neutral=plain)),
        (Emotion.parse("auto"), Emotion.parse("auto", neutral=plain)),
    ):
        assert np.abs(at(alone) - at(beside)).max() > 0.01, "the listener compares"
        expected = known["neutral"] + own[voice] - own[plain]
        assert np.allclose(at(beside, embed=embed), expected, atol=1e-5)
    listener = Listener()
    voices = [listener.analyse(path) for path in (voice, plain)]
    shares = listener.classify(voices[0].embedding[None], voices[1].embedding)[0][0]
    offsets = [
        s * (known[n] - known["neutral"])
        for n, s in zip(VOICE_EMOTIONS, shares, strict=True)
        if n in known
    ]
    like = at(Emotion.parse(like=voice, neutral=plain)) - known["neutral"]
    assert np.allclose(like, np.sum(offsets, 0), atol=1e-5)
    with pytest.raises(InputError, match="Nobody speaks"):
        at(Emotion.parse(like=voice, neutral=silent))


def test_the_speech_is_decoded_once(
    store: Store, demo_face: Path, voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(store.folder))
    opened = count_decodings(monkeypatch)
    report = package.talk(demo_face, voice, tmp_path / "o.mp4", engine="svd", options=QUICK)
    assert report.emotion["looks"][0]["voice"] == str(voice)
    assert opened == {voice: 1}
