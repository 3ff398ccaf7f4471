"""Pictures edited one by one, and a portrait that speaks while its voice arrives."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

import mien
from mien.media.audio import read_speech
from mien.media.read import VideoReader
from mien.media.still import read_still
from mien.speech.articulation import Articulator
from mien.speech.articulation_stream import ArticulationStream

from .conftest import DEMO


def small(name: str) -> np.ndarray:
    """A demo face of 256 x 256 pixels."""
    return cv2.resize(read_still(DEMO / f"{name}.jpg"), (256, 256), interpolation=cv2.INTER_AREA)


SMALL = mien.TalkSettings(side=128, seed=3)


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return small("woman")


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return read_speech(DEMO / "speech.ogg")[: 16_000 * 2]


def test_an_editor_edits_several_people_and_marks_them(face: np.ndarray) -> None:
    pair = np.hstack([face, small("man")])
    changes = {}
    for chosen in ("1", "2", "all", str(DEMO / "man.jpg")):
        with mien.Editor("happy", face=chosen, provenance=False) as editor:
            for _ in range(8):  # an edit fades in
                edited = editor(pair)
        change = np.abs(edited.astype(int) - pair).max((0, 2))
        changes[chosen] = (change[:256].max() > 20, change[256:].max() > 20)
    left, right, both, man = changes.values()
    assert (left, right, both, man) == ((True, False), (False, True), (True, True), (False, True))


def test_an_editor_marks_and_labels(face: np.ndarray) -> None:
    drawn = {}
    for name, options in {
        "mark": {}, "none": {"provenance": False}, "label": {"label": "de"},
    }.items():  # fmt: skip
        with mien.Editor("happy", **options) as editor:  # type: ignore[arg-type]
            for _ in range(8):
                drawn[name] = editor(face).astype(int)
    mark = np.abs(drawn["mark"] - drawn["none"])
    assert 1 <= mark.max() < 12
    label = np.abs(drawn["label"] - drawn["mark"])
    assert label[:40].max() > 60
    assert label[60:].max() == 0


def test_a_closed_editor_refuses_and_threads_take_turns(short_clip: Path) -> None:
    with VideoReader(short_clip) as reader:
        images = [frame.image for frame in reader][:8]
    with mien.Editor("sad") as editor, ThreadPoolExecutor(4) as pool:
        edited = list(pool.map(editor, images))
    assert {one.shape for one in edited} == {images[0].shape}
    editor.close()
    with pytest.raises(mien.InputError, match="closed"):
        editor(images[0])
    for wrong in ({"provenance": 1}, {"label": "xx"}, {"face": 3}, {"rate": True}, {"rate": 1e9}):
        with pytest.raises(mien.InputError):
            mien.Editor("sad", **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("piece", [700, 8000])
def test_articulation_of_a_stream_is_that_of_the_whole_voice(voice: np.ndarray, piece: int) -> None:
    whole = Articulator().articulate(voice)
    stream, codes = ArticulationStream(), []
    for start in range(0, len(voice), piece):
        codes.append(stream.feed(voice[start : start + piece]).codes)
        known = sum(map(len, codes)) / 50
        assert known > min(start + piece, len(voice)) / 16_000 - 0.28
    codes.append(stream.feed(voice[:0], last=True).codes)
    ours = np.concatenate(codes)
    assert ours.shape == whole.shape
    assert np.corrcoef(ours[:, 0], whole[:, 0])[0, 1] > 0.98
    assert np.abs(ArticulationStream().feed(np.zeros(16_000, np.float32)).codes).max() == 0


def test_a_talker_shows_what_a_clip_of_the_whole_voice_shows(
    face: np.ndarray, voice: np.ndarray
) -> None:
    def spoken(piece: int, rate: int) -> list[np.ndarray]:
        times = np.arange(int(len(voice) * rate / 16_000)) / rate
        samples = np.interp(times, np.arange(len(voice)) / 16_000, voice)
        samples = samples if rate == 16_000 else (samples * 32767).astype(np.int16)
        images = []
        with mien.Talker(face, "happy", settings=SMALL) as talker:
            for start in range(0, len(samples), piece):
                images += talker.speak(samples[start : start + piece], sample_rate=rate)
            assert len(images) >= 50 - 8
            images += talker.finish()
            with pytest.raises(mien.InputError, match="ended"):
                talker.speak(samples)
        return images

    fine, coarse = spoken(1600, 16_000), spoken(24_000, 48_000)
    assert len(fine) == len(coarse) == 50
    assert fine[0].shape == (128, 128, 3)
    moved = [np.abs(a.astype(int) - fine[0]).mean() for a in fine]
    assert max(moved) > 1
    differ = [np.abs(a.astype(int) - b).mean() for a, b in zip(fine, coarse, strict=True)]
    assert max(differ) < 0.35 * max(moved)


def test_a_talker_eases_into_a_new_emotion_and_rests_in_silence(face: np.ndarray) -> None:
    still = mien.TalkSettings(side=128, liveliness=0, variety=0)
    silence = np.zeros(16_000, np.float32)
    with mien.Talker(face, settings=still, provenance=False) as talker:
        calm = list(talker.speak(silence))
        talker.emotion = "surprised"
        late = [image.astype(int) for image in talker.speak(silence)]
    assert len(calm) >= 18
    assert all(np.array_equal(image, calm[0]) for image in calm)
    steps = [np.abs(image - calm[0]).mean() for image in late]
    assert 0 < steps[0] < 0.5 * steps[-1]
    assert steps[-1] > 0.5


def test_a_talker_refuses_what_it_cannot_use(face: np.ndarray) -> None:
    for wrong in (
        {"emotion": "auto"}, {"settings": mien.SvdSettings()}, {"face": "9"}, {"label": "xx"},
        {"portrait": 5}, {"portrait": "none.png"},
    ):  # fmt: skip
        with pytest.raises((mien.InputError, mien.FaceNotFoundError)):
            mien.Talker(**{"portrait": face, "settings": SMALL, **wrong})  # type: ignore[arg-type]
    talker = mien.Talker(face, settings=SMALL)
    for samples, rate in (
        ([0.0], 16_000), (np.zeros((2, 2, 2)), 16_000), (np.zeros(5, np.int32), 16_000),
        (np.full(5, np.nan), 16_000), (np.zeros(5), 0), (np.zeros(5), 44_100.5),
    ):  # fmt: skip
        with pytest.raises(mien.InputError):
            talker.speak(samples, sample_rate=rate)  # type: ignore[arg-type]
    list(talker.speak(np.zeros(5)))
    with pytest.raises(mien.InputError, match="one sample_rate"):
        talker.speak(np.zeros(5), sample_rate=8_000)
    assert not [one for one in threading.enumerate() if one.name.startswith("mien-draw")]
