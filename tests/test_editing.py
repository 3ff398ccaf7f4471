from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import mien
from mien.emotion.request import Emotion
from mien.emotion.resolve_mesh import MeshResolver
from mien.engines.mesh import MeshEngine, rig
from mien.face.facs import INDEX, expression
from mien.face.follow import Face
from mien.face.topology import canonical_face
from mien.media.read import VideoReader
from mien.media.still import read_still
from mien.pipelines.job import Job
from mien.pipelines.mesh_edit import OwnExpressions
from mien.pipelines.report import Maker
from mien.utils.prefetch import prefetch

from .media.films import Sound, clicks, film, packets

NOBODY = Maker("mesh", MeshResolver(Emotion()), tuple)


def frames(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    with VideoReader(path) as reader:
        return [(f.time, f.image) for f in reader]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> object:
    yield
    stages = [one for one in threading.enumerate() if one.name == "mien-stage"]
    for one in stages:  # it says that it has finished just before it ends
        one.join(2)
    assert not [one for one in stages if one.is_alive()]


def test_a_clip_keeps_its_frames_and_its_surroundings(short_clip: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    report = mien.edit(
        short_clip,
        tmp_path / "sad.mp4",
        "sad",
        progress=lambda done, total: seen.append((done, total)),
    )
    before, after = frames(short_clip), frames(tmp_path / "sad.mp4")
    assert [t for t, _ in before] == [t for t, _ in after]
    assert (report.frames, report.rate, report.faces, report.seconds) == (25, 25.0, 1, 1.0)
    assert report.spans_without_face == ()
    assert seen[-1] == (25, 25)
    assert len(report.weights) == 7
    assert json.loads(json.dumps(report.to_dict()))["emotion"]["labels"] == {"sad": 1.0}
    assert list(tmp_path.iterdir()) == [tmp_path / "sad.mp4"]
    difference = np.abs(after[20][1].astype(int) - before[20][1])
    assert difference[150:400, 150:360].max() > 40
    assert difference[:, :20].mean() < 2


def test_a_smile_that_comes_and_goes_is_taken_away_while_it_lasts() -> None:
    engine = MeshEngine()
    head = canonical_face().points
    smiling = head + rig.displacement(head, expression({"12": 1.0}))
    own, seen = OwnExpressions(engine), []
    for i in range(100):  # a smile for two seconds in a clip of four
        points = (smiling if 25 <= i < 75 else head) * 60 + [128, 100, 0]
        bridged = 80 <= i < 90
        face = Face(1, points.astype(np.float32), bridged=bridged)
        seen.append(own.at(face, i / 25)[INDEX["12L"]])
    removed = np.array(seen)
    assert not removed[:25].any()
    assert removed[60:75].min() > 0.6
    assert removed[95:].max() < 0.15
    assert np.abs(np.diff(removed)).max() < 0.2
    assert np.ptp(removed[80:90]) == 0, "nothing is known while the face is hidden"


def test_an_interrupt_while_a_stage_starts_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal can come between the start of a thread and its notice that it runs."""
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(prefetch(items()))
    assert closed.is_set()


def test_intensity_zero_returns_the_input(demo_face: Path, tmp_path: Path) -> None:
    mien.edit(demo_face, tmp_path / "a.png", "angry", intensity=0)
    assert np.array_equal(read_still(tmp_path / "a.png"), read_still(demo_face))


def test_a_still_grows_with_intensity(demo_face: Path, tmp_path: Path) -> None:
    original = read_still(demo_face).astype(int)
    change = []
    for i in (0.3, 0.7, 1.1, 1.5):
        mien.edit(demo_face, tmp_path / "a.png", "surprised", intensity=i, overwrite=True)
        change.append(np.abs(read_still(tmp_path / "a.png") - original).mean())
    assert change == sorted(change)
    assert change[0] > 0.1


def test_every_emotion_looks_different(demo_face: Path, tmp_path: Path) -> None:
    from mien.face.facs import BASIC_EMOTIONS

    pictures = {}
    for name in BASIC_EMOTIONS:
        mien.edit(demo_face, tmp_path / f"{name}.png", name)
        pictures[name] = read_still(tmp_path / f"{name}.png").astype(int)
    for a in BASIC_EMOTIONS:
        for b in BASIC_EMOTIONS:
            if a < b:
                assert np.abs(pictures[a] - pictures[b]).mean() > 0.2, (a, b)


def test_a_face_that_comes_and_goes(
    make_clip: Callable[..., Path], demo_face: Path, tmp_path: Path
) -> None:
    face = read_still(demo_face)
    ground = np.full_like(face, 150)
    images = [face] * 20 + [ground] * 25 + [face] * 20
    clip = make_clip(
        "in.mp4", size=(512, 512), images=images, stamps=range(0, 512 * len(images), 512)
    )
    report = mien.edit(clip, tmp_path / "out.mp4", "happy")
    assert report.frames == 65
    assert len(report.spans_without_face) == 1
    start, end = report.spans_without_face[0]
    assert start == pytest.approx(0.8, abs=0.05)
    assert end == pytest.approx(1.8, abs=0.05)
    before, after = frames(clip), frames(tmp_path / "out.mp4")
    for i in range(22, 43):
        assert np.abs(before[i][1].astype(int) - after[i][1]).max() < 12


def test_nobody_at_all(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    clip = make_clip("in.mp4", size=(128, 96))
    with pytest.raises(mien.FaceNotFoundError, match="No usable face"):
        mien.edit(clip, tmp_path / "out.mp4", "happy")
    assert not (tmp_path / "out.mp4").exists()
    assert len(list(tmp_path.iterdir())) == 1


def test_several_people(demo_face: Path, tmp_path: Path) -> None:
    from mien.media.still import write_still

    one = read_still(demo_face)
    write_still(tmp_path / "two.png", np.hstack([one, one]))
    both = mien.edit(tmp_path / "two.png", tmp_path / "all.png", "sad", face="all")
    assert both.faces == 2
    mien.edit(tmp_path / "two.png", tmp_path / "second.png", "sad", face="2")
    original, edited = read_still(tmp_path / "two.png"), read_still(tmp_path / "second.png")
    assert np.array_equal(original[:, :500], edited[:, :500])
    assert not np.array_equal(original[:, 512:], edited[:, 512:])
    with pytest.raises(mien.FaceNotFoundError, match="no number 3"):
        mien.edit(tmp_path / "two.png", tmp_path / "third.png", "sad", face="3")


def test_a_timeline_changes_the_clip_on_the_way(demo_clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('[{"at": 2, "emotion": "surprised", "fade": 0.4}]')
    mien.edit(demo_clip, tmp_path / "out.mp4", timeline=path)
    before, after = frames(demo_clip), frames(tmp_path / "out.mp4")
    change = [
        float(np.abs(a[1].astype(int) - b[1]).mean()) for a, b in zip(before, after, strict=True)
    ]
    assert np.mean(change[:48]) < 0.5 * np.mean(change[70:])


def test_too_much_or_nothing_asked_for(demo_clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(mien.InputError, match="No emotion"):
        mien.edit(demo_clip, out)
    with pytest.raises(mien.InputError, match="timeline"):
        mien.edit(demo_clip, out, "sad", timeline="t.json")
    with pytest.raises(mien.InputError, match="engine"):
        mien.edit(demo_clip, out, "sad", engine="magic")
    with pytest.raises(mien.InputError, match="must end in"):
        mien.edit(demo_clip, tmp_path / "out.png", "sad")


def test_a_cancelled_job_leaves_nothing(demo_clip: Path, tmp_path: Path) -> None:
    done: list[int] = []
    with pytest.raises(mien.CancelledError, match=r"o\.mp4 was not written"):
        mien.edit(
            demo_clip,
            tmp_path / "o.mp4",
            "sad",
            progress=lambda frames, total: done.append(frames),
            cancel=lambda: len(done) == 3,
        )
    assert done == [1, 2, 3]
    assert not list(tmp_path.iterdir())


def test_a_cancelled_still_keeps_the_old_file(demo_face: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.png"
    out.write_bytes(b"old")
    with pytest.raises(mien.CancelledError):
        mien.edit(demo_face, out, "sad", overwrite=True, cancel=lambda: True)
    assert out.read_bytes() == b"old"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_leaves_nothing(
    error: type[BaseException], demo_clip: Path, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int | None) -> None:
        raise error

    with pytest.raises(error):
        mien.edit(demo_clip, tmp_path / "o.mp4", "sad", progress=interrupt)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "accepted"),
    [
        ({"input": np.zeros((8, 8, 3))}, r"input must be RGB uint8 .* got float64 \(8, 8, 3\)"),
        ({"input": 8}, "path of a file, a picture .* or an iterable of pictures; got int"),
        ({"output": 3}, "output must be the path of a file"),
        ({"face": 1}, 'face must be "largest", "all"'),
        ({"engine": 5}, "Valid: mesh, edtalk"),
        ({"engine": "edtalk", "options": {"device": "cpu"}}, "takes EDTalkSettings; got dict"),
        ({"engine": "edtalk", "options": mien.SvdSettings()}, "takes EDTalkSettings"),
        ({"progress": 5}, "progress must be a function; got int"),
        ({"on_frame": 5}, "on_frame must be a function; got int"),
        ({"cancel": True}, "cancel must be a function or an event; got bool"),
        ({"rate": 25}, "rate belongs to frames in memory"),
    ],
)
def test_wrong_types_say_what_is_accepted(
    wrong: dict[str, object], accepted: str, demo_face: Path, tmp_path: Path
) -> None:
    given = {"input": demo_face, "output": tmp_path / "o.png", "emotion": "sad", **wrong}
    with pytest.raises(mien.InputError, match=accepted):
        mien.edit(**given)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_job_keeps_the_streams_of_its_source_and_reports_the_rest(tmp_path: Path) -> None:
    font = ("font.ttf", "font/ttf", b"font")
    source = film(tmp_path / "a.mkv", Sound("ac3"), Sound("ac3"), attachment=font)
    speech = film(tmp_path / "speech.mkv", Sound("flac", start=0.3))
    edit = Job(source, tmp_path / "b.mp4")
    dub = Job(source, tmp_path / "c.mkv", speech=speech)
    assert (edit.own_voice, dub.own_voice) == (True, False)
    assert Job(source, tmp_path / "d.mp4", speech=source).own_voice
    for job, words in ((edit, "attachment font.ttf"), (dub, "2 sound tracks")):
        with VideoReader(source) as reader:
            written = job.write((frame for frame in reader), reader.info, NOBODY)
        lost = [one for one in written.warnings if "Content Credential" not in one]
        assert len(lost) == 1
        assert words in lost[0]
    assert packets(dub.output) == packets(speech)
    assert clicks(dub.output)[0] == pytest.approx(0.2, abs=0.002)  # speech begins at time 0


def test_feel_checks_its_files_at_the_call(demo_face: Path, tmp_path: Path) -> None:
    with pytest.raises(mien.InputError, match="no file"):
        mien.feel(tmp_path / "none.wav")
    with pytest.raises(mien.InputError, match="no sound"):
        mien.feel(demo_face, neutral=demo_face)


def test_every_public_name_is_there() -> None:
    for name in mien.__all__:
        assert getattr(mien, name) is not None
    settings = (mien.TalkSettings(), mien.EDTalkSettings(), mien.SvdSettings())
    assert len({type(one).__name__ for one in settings}) == 3
    errors = [name for name in mien.__all__ if name.endswith("Error")]
    assert all(issubclass(getattr(mien, name), mien.MienError) for name in errors)


def test_live_pictures_ease_into_a_new_emotion(demo_clip: Path) -> None:
    pictures = [image for _, image in frames(demo_clip)[:30]]
    with mien.Editor("neutral") as editor:
        calm = [editor(image) for image in pictures[:15]]
        editor.emotion = "surprised"
        late = [editor(image) for image in pictures[15:]]
    assert all(a.shape == b.shape for a, b in zip(calm, pictures, strict=False))
    change = [
        float(np.abs(a.astype(int) - b).mean()) for a, b in zip(late, pictures[15:], strict=True)
    ]
    assert change[0] < 0.6 * change[-1]
    assert change[-1] > 1


def test_live_input_is_checked(demo_face: Path) -> None:
    image = read_still(demo_face)
    with mien.Editor(mien.Emotion.parse("sad")) as editor:
        editor(image, 1.0)
        with pytest.raises(mien.InputError, match="grow"):
            editor(image, 1.0)
        with pytest.raises(mien.InputError, match="uint8"):
            editor(image.astype(np.float32), 2.0)
    with pytest.raises(mien.InputError, match="rate"):
        mien.Editor("sad", rate=0)


def test_a_stage_hands_over_in_order_and_raises() -> None:
    assert list(prefetch(range(50), depth=3)) == list(range(50))

    def breaks() -> object:
        yield 1
        raise ValueError("inside")

    stage = prefetch(breaks())  # type: ignore[arg-type]
    assert next(stage) == 1
    with pytest.raises(ValueError, match="inside"):
        next(stage)


def test_a_stage_stops_when_nobody_listens() -> None:
    closed = threading.Event()

    def forever() -> object:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    stage = prefetch(forever())  # type: ignore[arg-type]
    next(stage)
    stage.close()
    assert closed.is_set()
