"""Whole files through the engine edtalk, with tiny nets: clips, pictures, dubs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

import mien as package
from mien.cmet.connector import Connector, ConnectorSpec
from mien.cmet.semantic import WINDOW
from mien.emotion.request import Emotion, Request, Timeline
from mien.emotion.resolve_edtalk import EDTalkResolver, SemanticTarget, label_voices
from mien.engines.edtalk.engine import EDTalkEngine
from mien.engines.edtalk.settings import EDTalkSettings
from mien.errors import InputError, MissingExtraError, WeightsError
from mien.face.follow import Face
from mien.face.pose import Motion
from mien.face.tracker import FaceTracker
from mien.media.frame import ArrayPicture, Frame
from mien.media.read import VideoReader
from mien.media.still import read_still
from mien.pipelines import edtalk
from mien.pipelines.cmet_models import CmetModels
from mien.pipelines.edtalk_motion import Mover, SourceFrames
from mien.pipelines.footage import FrameFaces
from mien.pipelines.job import Job
from mien.pipelines.part import Part
from mien.speech.analysis import VoiceAnalysis
from mien.speech.emotion2vec import embed
from mien.weights.convert import save
from mien.weights.manifest import CONNECTOR, GENERATOR
from mien.weights.store import Store

from .command import mien
from .conftest import MakeClip
from .published import CONNECTOR_SIZES, SPEC, tiny_emotion2vec, tiny_store
from .speech.voices import buzz, count_decodings, write_sound

CPU = EDTalkSettings("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tiny_store(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def small_ears(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A connector that reads the tiny emotion2vec's embeddings."""
    return tiny_store(tmp_path_factory.mktemp("voices"), speech=64)


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    return write_sound(tmp_path / "voice.wav", buzz(2.0, 230))


def times(path: Path) -> list[Fraction]:
    with VideoReader(path) as reader:
        return [frame.time for frame in reader]


def pictures(path: Path) -> Iterator[np.ndarray]:
    with VideoReader(path) as reader:
        for frame in reader:
            yield frame.image.astype(int)


def test_a_clip_keeps_its_times_and_sound(store: Store, short_clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    seen: list[int] = []
    job = Job(
        short_clip, out, Emotion.parse("happy"), progress=lambda done, total: seen.append(done)
    )
    report = edtalk.run(job, CPU, store)
    assert times(out) == times(short_clip)
    assert report.engine == "edtalk"
    assert report.frames == len(seen) == len(times(out))
    assert {w.name for w in report.weights} >= {GENERATOR, "edtalk/connector"}
    changed = [
        float(np.abs(a - b).mean())
        for a, b in zip(pictures(short_clip), pictures(out), strict=True)
    ]
    assert min(changed) > 1


def test_nothing_asked_for_changes_nothing(store: Store, demo_face: Path, tmp_path: Path) -> None:
    out = tmp_path / "same.png"
    edtalk.run(Job(demo_face, out, Emotion.parse("happy", intensity=0)), CPU, store)
    assert np.array_equal(read_still(out), read_still(demo_face))


def portrait_clip(make_clip: MakeClip, face: Path, count: int) -> Path:
    image = read_still(face)
    size = (image.shape[1] // 2 * 2, image.shape[0] // 2 * 2)
    shown = image[: size[1], : size[0]]
    return make_clip(size=size, stamps=range(0, count * 427, 427), images=[shown] * count)


@pytest.mark.parametrize("count", [1, 4, 5, 7])
def test_clips_of_any_length(
    count: int, store: Store, demo_face: Path, make_clip: MakeClip, tmp_path: Path
) -> None:
    clip = portrait_clip(make_clip, demo_face, count)
    out = tmp_path / "out.mp4"
    edtalk.run(Job(clip, out, Emotion.parse("sad")), CPU, store)
    assert len(times(out)) == count


def test_a_portrait_speaks_to_the_last_sample(
    store: Store, demo_face: Path, voice: Path, tmp_path: Path
) -> None:
    out = tmp_path / "talk.mp4"
    report = edtalk.run(Job(demo_face, out, Emotion.parse("happy"), speech=voice), CPU, store)
    assert report.frames == 50
    assert report.rate == 25
    with av.open(str(out)) as container:
        sound = container.streams.audio[0]
        assert float(sound.duration * sound.time_base) == pytest.approx(2.0, abs=0.1)
    shown = list(pictures(out))
    assert any(np.abs(a - b).max() > 12 for a, b in zip(shown, shown[1:], strict=False))


def test_a_dub_holds_its_last_picture_and_says_so(
    store: Store, short_clip: Path, tmp_path: Path
) -> None:
    long = write_sound(tmp_path / "long.wav", buzz(2.0, 200))
    out = tmp_path / "dub.mp4"
    report = edtalk.run(Job(short_clip, out, Emotion.parse("sad"), speech=long), CPU, store)
    assert report.frames == 50
    assert any("last frame was held" in warning for warning in report.warnings)
    steps = np.diff([float(t) for t in times(out)])
    assert np.allclose(steps, 0.04, atol=1e-3)


def test_one_frame_of_a_dub_and_of_a_portrait(
    store: Store, short_clip: Path, demo_face: Path, tmp_path: Path
) -> None:
    long = write_sound(tmp_path / "long.wav", buzz(2.0, 200))
    out, sad = tmp_path / "one.png", Emotion.parse("sad")
    for source in (short_clip, demo_face):
        job = Job(source, out, sad, speech=long, part=Part(preview=1.7), overwrite=True)
        report = edtalk.run(job, CPU, store)
        assert (report.frames, report.preview) == (1, 1.7), "where the last frame is held, too"
        with pytest.raises(InputError, match="lies beyond"):
            edtalk.run(replace(job, part=Part(preview=3.0)), CPU, store)


def test_voices_and_their_neutral(
    small_ears: Store, demo_face: Path, voice: Path, tmp_path: Path
) -> None:
    plain = write_sound(tmp_path / "plain.wav", buzz(2.0, 120))
    request = Emotion.parse(like=voice, neutral=plain)
    edtalk.run(Job(demo_face, tmp_path / "a.png", request), CPU, small_ears)
    assert np.abs(read_still(tmp_path / "a.png").astype(int) - read_still(demo_face)).max() > 5


def test_a_face_gives_its_coefficients(
    store: Store, demo_face: Path, make_clip: MakeClip, tmp_path: Path
) -> None:
    request = Emotion.parse(like=demo_face)
    clip = portrait_clip(make_clip, demo_face, 7)
    report = edtalk.run(Job(clip, tmp_path / "a.mp4", request), CPU, store)
    assert report.emotion["looks"][0]["by"] == "face"


def _resolver(
    request: Request, clip: Path, labels: dict[str, np.ndarray] | None = None
) -> EDTalkResolver:
    def no_face(path: Path) -> np.ndarray:
        raise AssertionError(f"No face was asked for, but {path} is read.")

    return EDTalkResolver(
        request, VoiceAnalysis(clip), partial(embed, tiny_emotion2vec()), labels or {}, no_face
    )


def test_names_mix_by_strength(demo_face: Path) -> None:
    named = label_voices()
    assert len(named) == 14
    request = Emotion.parse("happy:0.5,sad:0.25", intensity=0.8)
    target = _resolver(request, demo_face).at(0.0)
    mixed = (2 * named["happy"] + named["sad"]) / 3 - named["neutral"]
    assert target.vector is not None
    assert np.allclose(target.vector, mixed, atol=1e-4)
    assert target.strength == pytest.approx(0.6)


def test_own_coefficients_of_labels_come_first(demo_face: Path) -> None:
    own = np.ones(10, np.float32)
    target = _resolver(Emotion.parse("happy:0.7"), demo_face, labels={"happy": own}).at(0.0)
    assert target.vector is None
    assert target.coefficients[0][1] == pytest.approx(0.7)


def test_a_timeline_fades(demo_face: Path) -> None:
    line = Timeline.from_data(
        [{"at": 1, "emotion": "happy", "fade": 1}, {"at": 3, "emotion": "sad", "fade": 1}]
    )
    resolver = _resolver(line, demo_face)
    assert resolver.at(0.5).weight == 0
    assert 0 < resolver.at(1.5).weight < 1
    between = resolver.at(3.5)
    assert between.strength == pytest.approx(1.0)
    named = label_voices()
    assert between.vector is not None
    middle = (named["happy"] + named["sad"]) / 2 - named["neutral"]
    assert np.allclose(between.vector, middle, atol=1e-4)


def test_a_timeline_is_checked_to_its_end(demo_face: Path) -> None:
    line = Timeline.from_data([{"at": 1, "emotion": "happy"}, {"at": 9, "au": "12=1"}])
    with pytest.raises(InputError, match="mesh engine"):
        _resolver(line, demo_face).check()


def test_what_edtalk_does_not_know_is_refused(demo_face: Path) -> None:
    with pytest.raises(InputError, match="mesh engine"):
        _resolver(Emotion.parse("sad", au="12=0.5"), demo_face).check()
    with pytest.raises(InputError, match="no sound"):
        _resolver(Emotion.parse("neutral"), demo_face).check()


def test_the_own_voice_over_time_beside_its_neutral(voice: Path, tmp_path: Path) -> None:
    plain = write_sound(tmp_path / "plain.wav", buzz(2.0, 120))
    from mien.media.audio import read_speech

    net, samples = tiny_emotion2vec(), read_speech(voice)
    target = _resolver(Emotion.parse("auto", neutral=plain), voice).at(0.5)
    assert target.vector is not None
    expected = embed(net, samples) - embed(net, read_speech(plain))
    assert np.allclose(target.vector, expected, atol=1e-5), "2 s lie within one span of 3 s"


@pytest.mark.parametrize("emotion", ["auto", "neutral", "happy"])
def test_the_speech_of_a_portrait_is_decoded_once(
    emotion: str, small_ears: Store, demo_face: Path, voice: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("mien.emotion.resolve_edtalk.label_voices", _small_label_voices)
    opened = count_decodings(monkeypatch)
    request = Emotion.parse(emotion)
    edtalk.run(Job(demo_face, tmp_path / "a.mp4", request, speech=voice), CPU, small_ears)
    assert opened == {voice: 1}


def _small_label_voices() -> dict[str, np.ndarray]:
    """Voices of the tiny emotion2vec's size."""
    return {name: voice[:64] for name, voice in label_voices().items()}


class _Plain:
    """An engine that reads nothing and draws grey; remembers what it was asked to draw."""

    name = "plain"
    pixels = 32
    expression_dim = 10

    def __init__(self) -> None:
        self.drawn: list[Motion] = []
        self.sources = 0

    def motion(self, crops: np.ndarray) -> list[Motion]:
        level = crops.reshape(len(crops), -1).mean(1) / 255
        return [
            Motion(np.zeros(6, np.float32), np.zeros(4, np.float32), np.full(10, v, np.float32))
            for v in level
        ]

    def source(self, crop: np.ndarray) -> int:
        self.sources += 1
        return self.sources

    def draw(self, source: int, motion: list[Motion]) -> list[np.ndarray]:
        self.drawn += motion
        return [np.full((32, 32, 3), 128, np.uint8) for _ in motion]


def _shots(face: Path, at: list[Fraction]) -> Iterator[FrameFaces]:
    image = read_still(face)
    landmarks = FaceTracker(still=True)(image)[0]
    for i, time in enumerate(at):
        frame = np.clip(image.astype(int) + i, 0, 255).astype(np.uint8)
        yield FrameFaces(Frame(ArrayPicture(frame), time, i), (Face(1, landmarks),))


@pytest.mark.parametrize("rate", [5, 10, 24, 25, 30, 60])
def test_the_connector_sees_25_frames_a_second(rate: int, demo_face: Path) -> None:
    engine, seen = _Plain(), []

    def connect(reference: np.ndarray, vector: np.ndarray, code: np.ndarray) -> np.ndarray:
        seen.append((reference.copy(), code))
        return np.full((WINDOW, 10), len(seen), np.float32)

    wish = SemanticTarget(np.zeros(4, np.float32), 1.0)
    mover = Mover(engine, connect, lambda time: wish, SourceFrames(engine))  # type: ignore[arg-type]
    at = [Fraction(i, rate) for i in range(rate)]
    out = list(mover.move(_shots(demo_face, at)))
    assert [frame.time for frame in out] == at
    assert len(seen) == 5, "a second has five windows"
    assert not seen[0][0].any(), "nothing comes before the first"
    assert (seen[1][0] == 1).all(), "then what was said last"
    moved = np.array([motion.expression[0] for motion in engine.drawn])
    own = np.array(
        [
            motion.expression[0]
            for motion in engine.motion(np.stack([np.zeros((32, 32, 3), np.uint8)] * rate))
        ]
    )
    assert len(moved) == len(own) == rate
    assert (np.diff(np.round(moved)) >= 0).all(), "changes follow each other without jumps back"
    assert engine.sources == 1, "one source for the whole clip"


def test_at_25_frames_a_second_it_is_the_published_transfer(demo_face: Path) -> None:
    from mien.cmet.semantic import transfer

    engine = _Plain()

    def connect(reference: np.ndarray, vector: np.ndarray, code: np.ndarray) -> np.ndarray:
        return (0.5 * reference + code[::-1] * 0.3 + vector[0]).astype(np.float32)

    vector = np.ones(4, np.float32)
    at = [Fraction(i, 25) for i in range(23)]
    shots = list(_shots(demo_face, at))
    mover = Mover(
        engine,
        connect,
        lambda time: SemanticTarget(vector, 1.0),
        SourceFrames(engine),  # type: ignore[arg-type]
    )
    list(mover.move(shots))
    reading = _Plain()
    fresh = Mover(
        reading,
        connect,
        lambda time: SemanticTarget(None, 0.0),
        SourceFrames(reading),
        np.zeros((23, 6), np.float32),
    )  # type: ignore[arg-type]
    list(fresh.move(shots))
    own = np.stack([motion.expression for motion in reading.drawn])
    moved = np.stack([motion.expression for motion in engine.drawn])
    assert np.allclose(moved, own + transfer(connect, vector, own), atol=1e-5)


def test_memory_does_not_grow_with_length(demo_face: Path) -> None:
    engine, alive = _Plain(), [0, 0]

    def counted() -> Iterator[FrameFaces]:
        for shot in _shots(demo_face, [Fraction(i, 25) for i in range(40)]):
            alive[0] += 1
            yield shot

    mover = Mover(
        engine,  # type: ignore[arg-type]
        lambda r, v, x: x,
        lambda time: SemanticTarget(np.zeros(4, np.float32), 1.0),
        SourceFrames(engine),  # type: ignore[arg-type]
    )
    for _ in mover.move(counted()):
        alive[1] += 1
        assert alive[0] - alive[1] <= WINDOW


def test_missing_weights_say_how_to_get_them(demo_face: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="mien weights fetch edtalk --accept-licence"):
        edtalk.run(
            Job(demo_face, tmp_path / "a.png", Emotion.parse("sad")), CPU, Store(tmp_path / "empty")
        )


def test_the_connector_is_missed_before_the_generator_is_read(
    store: Store, demo_face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lame = Store(tmp_path / "cache")
    shutil.copytree(store.folder, lame.folder)
    lame.locate(CONNECTOR).unlink()
    read: list[Path] = []
    monkeypatch.setattr(EDTalkEngine, "load", lambda path, settings: read.append(path))
    with pytest.raises(WeightsError, match="edtalk/connector"):
        edtalk.run(Job(demo_face, tmp_path / "a.png", Emotion.parse("sad")), CPU, lame)
    assert not read


def test_damaged_weights_are_not_used(store: Store, demo_face: Path, tmp_path: Path) -> None:
    lame = Store(tmp_path / "cache")
    shutil.copytree(store.folder, lame.folder)
    path = lame.locate(GENERATOR)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="edtalk/generator are damaged.*SHA-256"):
        edtalk.run(Job(demo_face, tmp_path / "a.png", Emotion.parse("sad")), CPU, lame)


def test_a_connector_of_ones_own(store: Store, demo_face: Path, tmp_path: Path) -> None:
    """It needs no published connector, and none of its licences; the store stays as it is."""
    bare = Store(tmp_path / "cache")
    shutil.copytree(store.folder, bare.folder)
    own = tmp_path / "connector.safetensors"
    bare.locate(CONNECTOR).rename(own)
    out = tmp_path / "a.png"
    command = ("edit", demo_face, "-o", out, "-e", "sad", "--engine", "edtalk", "--overwrite")
    done = mien(*command, "--connector", own, "--json", cache=bare.folder)
    assert done.returncode == 0, done.stderr
    used = {one["name"]: one["licence"] for one in json.loads(done.stdout)["weights"]}
    assert used["connector.safetensors"] == "the user's own"
    assert CONNECTOR not in used
    assert not bare.has(CONNECTOR)
    published = tmp_path / "b.png"
    edtalk.run(Job(demo_face, published, Emotion.parse("sad")), CPU, store)
    assert np.array_equal(read_still(out), read_still(published)), "the same net was used"
    (tmp_path / "connector.pth").write_bytes(b"x")
    other = save_connector(tmp_path / "other.safetensors", expression=17)
    for file, code, word in (
        ("none.safetensors", 2, "no connector"), ("connector.pth", 2, "connector.safetensors"),
        (bare.locate(GENERATOR), 4, "another net"), (other, 2, "17 and 10 expression"),
    ):  # fmt: skip
        bad = mien(*command, "--connector", tmp_path / file, cache=bare.folder)
        assert bad.returncode == code, bad.stderr
        assert word in bad.stderr


def save_connector(path: Path, **sizes: int) -> Path:
    spec = ConnectorSpec(**{**CONNECTOR_SIZES, **sizes})
    save(Connector(spec).state_dict(), path, asdict(spec), {})
    return path


def test_missing_libraries_name_the_extra(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mien\[edtalk\]'"):
        CmetModels.open(CPU, store)


def test_a_restorer_draws_larger_faces(store: Store, demo_face: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from mien.training.onnx_export import write_onnx

    class Dark(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.interpolate(images, scale_factor=3.0) * 0 - 1

    side, path = SPEC.pixels, tmp_path / "dark.onnx"
    write_onnx(Dark(), (torch.zeros(1, 3, side, side),), path, ["images"], ["out"])
    request = Emotion.parse("happy")
    for name, restorer in (("plain", None), ("dark", path)):
        settings = EDTalkSettings("cpu", restorer=restorer)
        edtalk.run(Job(demo_face, tmp_path / f"{name}.png", request), settings, store)
    plain, dark = (read_still(tmp_path / f"{name}.png").astype(int) for name in ("plain", "dark"))
    face = FaceTracker(still=True)(read_still(demo_face))[0]
    x, y = face[4, :2].astype(int)
    spot = np.s_[y - 5 : y + 5, x - 5 : x + 5]
    assert dark[spot].std() < plain[spot].std() + 1, "one colour, matched to the face's mean"
    assert np.abs(plain - dark).max() > 10


def test_incompatible_nets_are_refused(small_ears: Store, demo_face: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="are incompatible"):
        edtalk.run(Job(demo_face, tmp_path / "a.png", Emotion.parse("sad")), CPU, small_ears)


def test_the_command_line(store: Store, demo_face: Path, voice: Path, tmp_path: Path) -> None:
    out = tmp_path / "sad.png"
    done = mien(
        "edit", demo_face, "-o", out, "-e", "sad", "--engine", "edtalk", "--device", "cpu",
        "--json", cache=store.folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["engine"] == "edtalk"
    talk = mien(
        "talk", demo_face, voice, "-o", tmp_path / "t.mp4", "-e", "happy", cache=store.folder
    )
    assert talk.returncode == 0, talk.stderr
    assert "50 frames" in talk.stdout
    for more, code, word in (
        (("--device", "cpu"), 2, "belong to --engine edtalk"),
        (("--engine", "edtalk", "--device", "tpu"), 2, "no device"),
        (("--engine", "edtalk", "--dtype", "int4"), 2, "no precision"),
        (("--engine", "edtalk", "--restorer", "none.onnx"), 2, "no restorer"),
        (("--engine", "paint"), 2, "no engine"),
    ):
        bad = mien("edit", demo_face, "-o", tmp_path / "b.png", "-e", "sad", *more,
                   cache=store.folder)  # fmt: skip
        assert bad.returncode == code, bad.stderr
        assert word in bad.stderr
        assert "Traceback" not in bad.stderr
        assert not (tmp_path / "b.png").exists()
    silent = mien("talk", demo_face, demo_face, "-o", tmp_path / "c.mp4", cache=store.folder)
    assert silent.returncode == 2
    assert "no sound" in silent.stderr


def test_the_api_knows_both_engines(demo_face: Path, tmp_path: Path) -> None:
    assert package.talk.__name__ == "talk"
    with pytest.raises(InputError, match="Options"):
        package.edit(demo_face, tmp_path / "a.png", "sad", options=CPU)
    with pytest.raises(InputError, match="no engine"):
        package.talk(demo_face, demo_face, tmp_path / "a.mp4", "sad", engine="paint")
    with pytest.raises(InputError, match="Options"):
        package.talk(demo_face, demo_face, tmp_path / "a.mp4", "sad", options=CPU)
