"""Films whose people speak with another voice: geometry, length, what stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mien
from mien.engines.mesh import lips
from mien.engines.mesh.dub import MouthSample, OwnMouth
from mien.engines.mesh.portrait import speech_motion
from mien.errors import InputError
from mien.face.pose import head_pose
from mien.face.topology import LEFT_EYE, RIGHT_EYE, canonical_face
from mien.face.tracker import FaceTracker
from mien.media.audio import read_speech
from mien.media.read import VideoReader
from mien.speech.articulation import NAMES

from .speech.voices import RATE, buzz, write_sound

LOSSLESS = mien.EncodingSettings(lossless=True)


def code(opening: float) -> np.ndarray:
    out = np.zeros(len(NAMES), np.float32)
    out[:3] = opening, 0.1 * opening, 0.4 * opening
    return out


def sample(opening: float) -> MouthSample:
    head = canonical_face().points
    return MouthSample(head + speech_motion(head, code(opening)), 0.0, None)


def test_the_mouth_opens_as_asked_whatever_it_did() -> None:
    own = OwnMouth.of([sample(opening) for opening in (0.0, 0.1, 0.0, 0.3, 0.2, 0.25, 0.1, 0.15)])
    rng = np.random.default_rng(0)
    before, asked = rng.uniform(0, 0.35, (2, 60))
    drawn = []
    for old, new in zip(before, asked, strict=True):
        head = sample(old).head
        drawn.append(lips.opening(head + own.spoken(head, code(new))))
    assert np.corrcoef(drawn, asked)[0, 1] > 0.99
    assert abs(np.corrcoef(drawn, before)[0, 1] - np.corrcoef(asked, before)[0, 1]) < 0.05
    assert np.abs(own.spoken(own.rest, code(0))).max() < 0.02, "rest stays rest"


def test_only_the_lower_face_is_dubbed() -> None:
    own = OwnMouth.of([sample(0.0)])
    moved = np.abs(own.spoken(sample(0.3).head, code(0.0))).max(1)
    eyes = [*LEFT_EYE.upper_lid, *RIGHT_EYE.lower_lid, *LEFT_EYE.iris, *RIGHT_EYE.brow_upper]
    assert moved[eyes].max() < 1e-6
    assert moved[[13, 14]].max() > 0.1


def openings(path: Path) -> np.ndarray:
    tracker = FaceTracker()
    with VideoReader(path) as reader:
        found = [tracker(frame.picture)[0] for frame in reader]
    tracker.close()
    return np.array([lips.opening(head_pose(points).to_head(points)) for points in found])


def test_a_film_speaks_with_another_voice(short_clip: Path, tmp_path: Path) -> None:
    voice = write_sound(tmp_path / "voice.wav", buzz(1.0, 200))
    out = tmp_path / "out.mkv"
    seen: list[tuple[int, int | None]] = []
    report = mien.talk(
        short_clip,
        voice,
        out,
        "neutral",
        encoding=LOSSLESS,
        provenance=False,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (report.frames, report.rate, report.faces, report.warnings) == (25, 25.0, 1, ())
    assert seen[-1] == (25, 25)
    assert {"articulator.onnx", "appearance.onnx"} <= {weights.name for weights in report.weights}
    with VideoReader(short_clip) as before, VideoReader(out) as after:
        pairs = [(a.image.astype(int), b.image) for a, b in zip(before, after, strict=True)]
    for a, b in pairs:
        assert (a[:240] == b[:240]).all(), "brow and forehead stay"
    assert max(np.abs(a - b).max() for a, b in pairs) > 40
    assert abs(len(read_speech(out)) - RATE) < 400


def test_a_longer_voice_swings_the_end_and_a_silent_one_shuts_the_mouth(
    short_clip: Path, tmp_path: Path
) -> None:
    voice = write_sound(tmp_path / "voice.wav", np.zeros(round(1.4 * RATE), np.float32))
    out = tmp_path / "out.mkv"
    report = mien.talk(short_clip, voice, out, "neutral", provenance=False, encoding=LOSSLESS)
    assert report.frames == 35
    assert "back and forth" in report.warnings[-1]
    with VideoReader(out) as reader:
        film = [frame.image for frame in reader]
    for back, same in ((25, 23), (30, 18), (34, 14)):
        assert (film[back] == film[same]).all()
    shut = openings(out)
    assert shut.max() < 0.08
    assert np.ptp(shut) < 0.5 * np.ptp(openings(short_clip))


def test_what_belongs_to_pictures_is_refused(short_clip: Path, tmp_path: Path) -> None:
    voice = write_sound(tmp_path / "voice.wav", buzz(0.5, 200))
    settings = mien.TalkSettings(rate=50, side=640)
    with pytest.raises(InputError, match="rate, side are for pictures"):
        mien.talk(short_clip, voice, tmp_path / "a.mp4", settings=settings)
    with pytest.raises(InputError, match="lies beyond"):
        mien.talk(short_clip, voice, tmp_path / "a.png", preview=4)
    assert list(tmp_path.glob("a.*")) == []
