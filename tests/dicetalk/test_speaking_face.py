"""Faces of people who speak: the net, its training, and its place beside the listener."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mien.api import edit
from mien.dicetalk.speaking_face import (
    FACE_EMOTIONS,
    FACE_UNITS,
    SpeakingFaceReader,
    both_sides,
    typical_units,
    with_face,
)
from mien.emotion.references import faces_of
from mien.face.facs import ACTION_UNITS, INDEX
from mien.face.topology import LANDMARK_COUNT, canonical_face
from mien.speech.listener import VOICE_EMOTIONS


def share_of(name: str, odds: np.ndarray) -> float:
    return float(odds[FACE_EMOTIONS.index(name)])


def test_evidence_is_multiplied() -> None:
    rng = np.random.default_rng(0)
    voice = rng.dirichlet(np.ones(len(VOICE_EMOTIONS)), 5)
    nothing = np.full((5, len(FACE_EMOTIONS)), 1 / len(FACE_EMOTIONS))
    assert np.allclose(with_face(voice, nothing), voice, atol=1e-4)
    face = np.where(np.array(FACE_EMOTIONS) == "angry", 0.94, 0.01)
    both = with_face(voice[0], face)
    assert both.sum() == pytest.approx(1)

    def change(name: str) -> float:
        place = VOICE_EMOTIONS.index(name)
        return float(both[place] / voice[0, place])

    assert change("angry") / change("happy") == pytest.approx(94, rel=0.01)
    assert change("calm") == pytest.approx(change("neutral"), rel=0.01)
    assert change("neutral") < change("romantic") < change("angry"), "it knows nothing of romantic"


def test_units_of_both_sides() -> None:
    reading = np.zeros(len(ACTION_UNITS), np.float32)
    reading[[INDEX["12L"], INDEX["26"], INDEX["43L"], INDEX["43R"]]] = 1, 0.5, 0.4, 0.8
    units = dict(zip(FACE_UNITS, both_sides(reading).tolist(), strict=True))
    assert units.pop("12") == 0.5
    assert units.pop("26") == 0.5
    assert units.pop("45") == pytest.approx(0.6)
    assert not any(units.values())


def test_a_face_in_few_frames_says_nothing(demo_clip: Path) -> None:
    faces = [face for _, face in faces_of(demo_clip)]
    units = typical_units(faces)
    assert units is not None
    assert typical_units(faces[:4]) is None
    torn = faces.copy()
    torn[3] = torn[3] * np.float32([1, 3, 1])
    assert np.allclose(typical_units(torn), units, atol=0.05), "one bad frame changes little"


@pytest.mark.parametrize("emotion", ["happy", "surprised"])
def test_edited_clips_are_read(emotion: str, short_clip: Path, tmp_path: Path) -> None:
    reader = SpeakingFaceReader()
    edit(short_clip, tmp_path / "out.mp4", emotion)
    before, after = (
        typical_units(face for _, face in faces_of(path))
        for path in (short_clip, tmp_path / "out.mp4")
    )
    assert before is not None
    assert after is not None
    shown = share_of(emotion, reader.odds(after, before))
    assert shown > 0.4, "beside the same person's own face"
    assert shown > share_of(emotion, reader.odds(before, before)) + 0.3
    assert FACE_EMOTIONS[int(reader.odds(before, before).argmax())] == "neutral"


def write_faces(folder: Path, moves: np.ndarray) -> None:
    """Write landmarks of pictures of three emotions, and of the frames of two clips."""
    rng = np.random.default_rng(1)
    places, emotions, sources = [], [], []
    for number in range(48):
        emotion = number % 4
        points = canonical_face().points.astype(np.float64).copy()
        if emotion < 3:
            points += moves[emotion]
        points += rng.normal(0, 0.003, points.shape)
        places.append(points * 80 + 96)
        emotions.append(("neutral", "happy", "angry", "")[emotion])
        clip = f"video/{'abc'[number % 3]}.mp4#{number}"
        sources.append(clip if emotion == 3 else f"web/p{number}.jpg")
    folder.mkdir()
    np.savez(
        folder / "labels.npz",
        landmarks=np.array(places, np.float16),
        emotion=np.array(emotions),
        source=np.array(sources),
    )


@pytest.mark.slow
def test_a_reader_is_trained_and_exported(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from mien.training.emotion_prior.face import (
        Examples,
        SpeakingFaceConfig,
        SpeakingFaceTask,
        _read_faces,
        export_speaking_face,
        load_net,
        load_speaking_faces,
    )
    from mien.training.trainer import Trainer
    from mien.training.voice_faces import VoiceFaces
    from mien.weights.bundled import open_net

    moves = np.zeros((3, LANDMARK_COUNT, 3))
    moves[1:] = 0.06 * np.random.default_rng(5).normal(size=(2, LANDMARK_COUNT, 3))
    write_faces(tmp_path / "faces", moves)
    config = SpeakingFaceConfig(
        manifest=Path("m"), action_units=Path("a"), faces=tmp_path / "faces", excluded=("c.mp4",),
        steps=120, batch=64, device="cpu",
    )  # fmt: skip
    units, labels, clips = _read_faces(config)
    assert set(clips[labels < 0]) == {"video/a.mp4", "video/b.mp4"}
    rng = np.random.default_rng(2)
    names = np.array(["neutral", "happy", "angry", "sad"])
    emotion, person = np.tile(np.arange(4), 30), np.repeat(np.arange(6), 20)
    faces = 10 * rng.normal(size=(4, 17))[emotion] + 4 * rng.normal(size=(6, 17))[person]
    found = VoiceFaces(
        voices=rng.normal(size=(120, 1, 515)).astype(np.float32),
        faces=(faces + rng.normal(size=faces.shape)).astype(np.float32),
        speaker=np.array([f"p{one}" for one in person]),
        emotion=names[emotion],
        corpus=np.full(120, "toy"),
        train=person < 4,
    )
    data = load_speaking_faces(config, found)
    assert isinstance(data.stills, Examples)
    assert np.allclose(data.neutral, units[labels < 0].mean(0), atol=0.1)
    net, scores = Trainer(tmp_path / "run").fit(SpeakingFaceTask(config, data))
    assert scores["face, own neutral"] > 0.9
    assert scores["face, own neutral"] >= scores["face, average neutral"]
    np.save(tmp_path / "run" / "neutral.npy", data.neutral)
    out = tmp_path / "assets"
    out.mkdir()
    export_speaking_face(tmp_path / "run", out)
    change = rng.normal(0, 0.2, (3, len(FACE_UNITS))).astype(np.float32)
    mine = open_net("dice_face.onnx", folder=out).run(None, {"change": change})[0]
    again = load_net(tmp_path / "run" / "speaking_face.pt")
    with torch.no_grad():
        for one in (net, again):
            assert np.allclose(mine, one(torch.from_numpy(change)).numpy(), atol=1e-5)
