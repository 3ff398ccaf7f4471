"""Lips and sound: the measure, the training on toy mouths, and the bundled net on a portrait."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.api import talk
from mien.errors import InputError
from mien.evaluation.sync import SyncNet, mouths_of
from mien.face.crop import speech_crops
from mien.face.tracker import FaceTracker
from mien.media.audio import read_speech
from mien.media.read import VideoReader
from mien.pipelines.mesh_talk import TalkSettings
from mien.speech.features import FEATURES, MELS
from mien.speech.lip_sync import SHIFTS, agreement, surrounded

from ..conftest import DEMO, canonical_landmarks

FRAME = 640
"""Samples per frame."""


def test_agreement_finds_the_offset_and_ignores_what_is_missing() -> None:
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(60, 8)).astype(np.float32)
    lips = codes[20:50]
    found = agreement(lips, surrounded(codes[17:50], 30))  # the sound lags by three frames
    assert found.offset == -3
    assert found.distance == pytest.approx(0)
    assert found.confidence > 3
    assert agreement(lips, surrounded(codes[25:40], 30)).offset == 5
    nothing = agreement(lips, surrounded(codes[20:23], 30))
    assert np.isnan(nothing.distance)
    assert np.isnan(nothing.confidence)
    silent = agreement(lips, surrounded(codes[20:22], 30, silence=0.0))
    assert np.isfinite(silent.confidence)


def test_crops_follow_the_head_and_not_the_jaw() -> None:
    face = canonical_landmarks(300.0)
    face[:, :2] += 400
    still = speech_crops(face[None])[0]
    opened = face.copy()
    opened[[14, 17, 152], 1] += 40
    moved = speech_crops(opened[None])[0]
    assert (moved.x, moved.y, moved.side) == pytest.approx((still.x, still.y, still.side))
    jitter = face[None] + np.random.default_rng(0).normal(0, 3, (50, *face.shape)).astype("f4")
    assert np.std([c.side for c in speech_crops(jitter)]) < 0.6 * np.std(
        [speech_crops(frame[None])[0].side for frame in jitter]
    )


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    """Mouths and sound of a portrait that the mesh engine makes speak."""
    path = tmp_path_factory.mktemp("sync") / "talk.mp4"
    speech = DEMO / "speech.ogg"
    talk(DEMO / "woman2.jpg", speech, path, "neutral", settings=TalkSettings(rate=25, side=256))
    tracker = FaceTracker(max_faces=1)
    with VideoReader(path) as reader:
        images = [frame.picture.image() for _, frame in zip(range(90), reader, strict=False)]
    return mouths_of(images, [tracker(image)[0] for image in images]), read_speech(path)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [-9, -4, 0, 6, 12])
def test_the_bundled_net_finds_by_how_much_a_sound_was_moved(
    portrait: tuple[np.ndarray, np.ndarray], shift: int
) -> None:
    mouths, sound = portrait
    moved = np.roll(np.pad(sound, 16 * FRAME), -shift * FRAME)[16 * FRAME : -16 * FRAME]
    found = SyncNet().offset(mouths, moved)
    assert abs(found.offset - shift) <= 1
    backwards = SyncNet().offset(mouths, np.ascontiguousarray(sound[::-1]))
    assert found.confidence > backwards.confidence


def test_wrong_pictures_are_refused_and_short_clips_have_no_offset() -> None:
    net = SyncNet()
    with pytest.raises(InputError, match="48, 48"):
        net.offset(np.zeros((30, 40, 40), np.uint8), np.zeros(16_000, np.float32))
    short = net.offset(np.zeros((5, 48, 48), np.uint8), np.zeros(16_000, np.float32))
    assert np.isnan(short.confidence)


def test_training_learns_the_offset_of_toy_mouths(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from mien.training.sync import SyncConfig
    from mien.training.sync.data import SyncClip
    from mien.training.sync.net import export_sync, load_net
    from mien.training.sync.task import SyncTask, compare
    from mien.training.trainer import Trainer

    def clip(name: str, seed: int, lag: int = 0) -> SyncClip:
        rng = np.random.default_rng(seed)
        loud = np.convolve(rng.normal(size=400), np.hanning(9), "same").astype(np.float32)
        mouths = np.full((100, 60, 60), 150, np.uint8)
        for frame, opening in zip(mouths, loud[::4], strict=True):
            cv2.ellipse(frame, (30, 30), (15, max(1, int(3 + 3 * opening))), 0, 0, 360, 30, -1)
        rows = rng.normal(0, 0.05, (400, FEATURES)).astype(np.float32)
        rows[:, :MELS] += np.roll(loud, lag)[:, None] * np.linspace(0.2, 0.6, MELS)
        return SyncClip(name, True, mouths, rows, lag)

    clips = [clip(f"clip{i}", i) for i in range(8)] + [clip("held_out", 99, lag=16)]
    config = SyncConfig(
        manifest=Path("m"), labels=Path("l"), held_out=("held",), width=32, batch=8, frames=40,
        steps=60, measure_every=60, learning_rate=5e-3, average=0.9, device="cpu",
    )  # fmt: skip
    net, scores = Trainer(tmp_path).fit(SyncTask(config, clips))
    assert scores["clips within a frame"] == 1
    assert compare(net, clips[-1:])["held_out"].offset == -4
    export_sync(load_net(tmp_path / "sync.pt"), tmp_path)
    pictures = clips[0].mouths[:, 6:54, 6:54]
    rows = clips[0].rows[None, :, :MELS]
    with torch.no_grad():
        wanted = net(torch.from_numpy(pictures[None] / np.float32(255)), torch.from_numpy(rows))
    given = {"mouths": pictures[None].astype(np.float32) / 255, "rows": rows}
    for one, other in zip(SyncNet(tmp_path)._net.run(None, given), wanted, strict=True):
        assert np.abs(one - other.numpy()).max() < 0.02
    assert SHIFTS == 15
