"""Portraits that speak: lips, life, files, the command line."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mien.api import talk
from mien.dicetalk.prior_sampling import PriorSampler, emotion_gaussians
from mien.engines.mesh.idle_motion import IdleMotion
from mien.engines.mesh.portrait import Portrait, Turn, speech_fields, speech_motion
from mien.errors import FaceNotFoundError, InputError
from mien.face.facs import ACTION_UNITS, INDEX, RECIPES
from mien.face.follow import Face
from mien.face.pose import head_pose
from mien.face.topology import INNER_LOWER, INNER_UPPER, LEFT_EYE, RIGHT_EYE
from mien.face.tracker import FaceTracker
from mien.media.read import VideoReader
from mien.media.still import read_still, write_still
from mien.pipelines.mesh_talk import TalkSettings, pose_warnings
from mien.speech.articulation import CODES_PER_SECOND, NAMES, Articulator, code_at

from .command import mien
from .conftest import canonical_landmarks
from .speech.voices import RATE, buzz, write_sound

STILL = np.zeros(len(ACTION_UNITS), np.float32)
SHUT = np.zeros(len(NAMES), np.float32)


def code(**values: float) -> np.ndarray:
    out = SHUT.copy()
    for name, value in values.items():
        out[NAMES.index(name.replace("_", " "))] = value
    return out


OPEN = code(opening=0.2, jaw=0.08, lower_lip=0.17, upper_lip=0.03)


@pytest.fixture(scope="module")
def portrait(request: pytest.FixtureRequest) -> Portrait:
    from .conftest import DEMO

    image = read_still(DEMO / "woman.jpg")
    return Portrait(image, Face(1, FaceTracker(still=True)(image)[0]))


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    return write_sound(tmp_path / "voice.wav", buzz(1.6, 200))


# The code


def test_silence_and_noise_keep_the_mouth_still() -> None:
    articulator = Articulator()
    rng = np.random.default_rng(0)
    for sound in (np.zeros(RATE, np.float32), rng.normal(0, 0.02, RATE).astype(np.float32)):
        codes = articulator.articulate(sound)
        assert codes.shape == (CODES_PER_SECOND, 7)
        assert not codes.any()
    assert articulator.articulate(np.zeros(0, np.float32)).shape == (0, 7)
    assert articulator.articulate(np.zeros(100, np.float32)).shape == (0, 7)


def test_a_pause_stills_the_mouth() -> None:
    sound = np.concatenate([buzz(1.5), np.zeros(2 * RATE, np.float32), buzz(1.5)])
    codes = Articulator().articulate(sound)
    speech = np.ptp(codes[:70, 0])
    assert speech > 0.03
    assert np.ptp(codes[100:140], axis=0).max() < 0.05 * speech


def test_long_sound_is_heard_as_short_sound_is() -> None:
    sound = buzz(40.0)
    articulator = Articulator()
    whole = articulator.articulate(sound)
    assert len(whole) == 40 * CODES_PER_SECOND
    # Pieces meet at 15 s and 30 s; nothing jumps there.
    steps, joints = np.abs(np.diff(whole[:, 0])), [749, 750, 1499, 1500]
    assert steps[joints].max() <= np.quantile(np.delete(steps, joints), 0.9)
    early = articulator.articulate(sound[: 20 * RATE])
    assert np.abs(early[200:900] - whole[200:900]).max() < 0.03


def test_codes_between_codes() -> None:
    codes = np.arange(14, dtype=np.float32).reshape(2, 7)
    middle = code_at(codes, [0.02])
    assert np.allclose(middle, codes.mean(0))
    assert np.allclose(code_at(codes, [-1, 9]), codes)
    assert code_at(codes[:0], [0.0, 1.0]).shape == (2, 7)


# The mouth


def test_fields_do_what_their_names_say() -> None:
    fields = speech_fields()
    assert fields.shape == (7, 478, 3)
    moved = np.tensordot(OPEN.astype(float), fields, 1)
    gap = moved[14, 1] - moved[13, 1]
    assert gap == pytest.approx(0.2, abs=0.02)
    wider = np.tensordot(code(width=0.1).astype(float), fields, 1)
    assert wider[291, 0] - wider[61, 0] == pytest.approx(0.1, abs=0.02)
    eyes = [*RIGHT_EYE.upper_lid, *LEFT_EYE.upper_lid]
    assert not np.abs(fields[:, eyes]).any(), "speech stays in the lower face"


def test_the_opening_is_the_codes_whatever_the_picture(portrait: Portrait) -> None:
    head = head_pose(portrait.face.landmarks).to_head(portrait.face.landmarks)
    upper, lower = list(INNER_UPPER)[3:8], list(INNER_LOWER)[3:8]
    ajar = head.copy()
    ajar[lower, 1] += 0.15
    for start in (head, ajar):
        for wanted in (SHUT, OPEN):
            moved = start + speech_motion(start, wanted)
            gap = (moved[lower, 1] - moved[upper, 1]).mean()
            assert gap == pytest.approx(0.9 * wanted[0], abs=0.04)


# The picture


def test_every_part_of_a_moment_shows(portrait: Portrait) -> None:
    still = portrait.draw(SHUT, STILL, Turn())
    happy = RECIPES["happy"].expression()
    moments = {
        "mouth": portrait.draw(OPEN, STILL, Turn()),
        "blink": portrait.draw(SHUT, STILL, Turn(), blink=1.0),
        "gaze": portrait.draw(SHUT, STILL, Turn(), gaze=(0.05, 0.0)),
        "yaw": portrait.draw(SHUT, STILL, Turn(yaw=0.06)),
        "roll": portrait.draw(SHUT, STILL, Turn(roll=0.05)),
        "rise": portrait.draw(SHUT, STILL, Turn(rise=0.02)),
        "feeling": portrait.draw(SHUT, happy, Turn()),
    }
    for name, picture in moments.items():
        assert picture.shape == still.shape
        assert np.abs(picture.astype(int) - still).max() > 15, name
    assert len({picture.tobytes() for picture in moments.values()}) == len(moments)


def test_at_rest_a_closed_portrait_stays_itself(portrait: Portrait) -> None:
    rest = portrait.draw(SHUT, STILL, Turn())
    assert np.abs(rest.astype(int) - portrait.image).mean() < 0.5


def test_what_is_far_from_the_head_stays(portrait: Portrait) -> None:
    turned = portrait.draw(OPEN, STILL, Turn(0.08, 0.05, 0.06, 0.02), 1.0, (0.05, 0.02))
    height, width = turned.shape[:2]
    for corner in (np.s_[: height // 16, : width // 16], np.s_[: height // 16, -width // 16 :]):
        assert np.abs(turned[corner].astype(int) - portrait.image[corner]).max() <= 3


def test_a_closed_eye_hides_the_white(portrait: Portrait) -> None:
    shut = portrait.draw(SHUT, STILL, Turn(), blink=1.0)
    opened = portrait.draw(SHUT, STILL, Turn())
    for eye in (RIGHT_EYE, LEFT_EYE):
        ring = portrait.face.landmarks[[*eye.corners, *eye.lower_lid], :2]
        (x0, y0), (x1, y1) = ring.min(0).astype(int), ring.max(0).astype(int) + 1
        window = np.s_[y0 - 2 : y1 + 2, x0 + 3 : x1 - 3]
        white = np.quantile(opened[window].min(2), 0.97)
        assert np.quantile(shut[window].min(2), 0.97) < white - 20
        assert np.abs(shut[window].astype(int) - opened[window]).mean() > 20


def test_a_turn_goes_where_it_says() -> None:
    for turn, axis, sign in (
        (Turn(yaw=0.1), 0, 1),
        (Turn(pitch=0.1), 1, 1),
        (Turn(roll=0.1), 1, 0),
    ):
        nose = turn.matrix() @ np.array([0.0, 0.0, -1.0])
        assert np.sign(np.round(nose[axis], 6)) == sign
    right = Turn(roll=0.1).matrix() @ np.array([1.0, 0.0, 0.0])
    assert right[1] > 0, "clockwise in a picture whose y goes down"


# Life


def test_idling_is_a_function_of_seed_and_time() -> None:
    one, two, other = IdleMotion(3), IdleMotion(3), IdleMotion(4)
    times = np.arange(0, 30, 0.04)
    a, b, c = ([idle.at(t) for t in times] for idle in (one, two, other))
    assert a == b
    assert a != c
    sparse = IdleMotion(3)
    assert [sparse.at(t) for t in times[::7]] == a[::7]


def test_people_blink_as_often_and_as_long_as_people_do() -> None:
    times = np.arange(0, 60, 0.01)
    per_minute, lengths, gaps = [], [], []
    for seed in range(20):
        idle = IdleMotion(seed)
        closed = np.array([0.0, *(idle.at(t).blink for t in times), 0.0])
        begins = np.flatnonzero((closed[1:] > 0) & (closed[:-1] == 0))
        ends = np.flatnonzero((closed[1:] == 0) & (closed[:-1] > 0))
        per_minute.append(len(begins))
        lengths += (0.01 * (ends - begins)).tolist()
        gaps += (0.01 * np.diff(begins)).tolist()
        assert closed.max() > 0.99
    assert 15 <= np.mean(per_minute) <= 20
    assert 10 <= min(per_minute) < max(per_minute) <= 28, "minutes differ"
    assert 0.2 <= np.mean(lengths) <= 0.35
    assert np.std(gaps) > 0.3 * np.mean(gaps), "nobody blinks to a beat"


def test_people_hardly_turn() -> None:
    idle = IdleMotion(1)
    moments = [idle.at(t) for t in np.arange(0, 120, 0.02)]
    turns = np.array([(m.yaw, m.pitch, m.roll) for m in moments])
    assert np.abs(turns).max() < 0.2
    assert np.abs(np.diff(turns, axis=0)).max() < 0.01, "nothing jerks"
    assert np.abs([m.gaze for m in moments]).max() < 0.1
    assert moments[0].yaw == 0, "a clip begins as the picture is"
    asleep = IdleMotion(1, 0.0)
    assert all(asleep.at(t).blink == asleep.at(t).yaw == 0 for t in range(20))


def test_emotions_vary_and_stay_themselves() -> None:
    assert "happy" in emotion_gaussians().names
    for name in ("happy", "sad", "angry"):
        base = RECIPES[name].expression()
        changes = [PriorSampler(1.0, seed).change(base, 4.0) for seed in range(4)]
        assert np.allclose(changes[0], PriorSampler(1.0, 0).change(base, 4.0))
        assert all(np.linalg.norm(c) <= 0.51 * np.linalg.norm(base) for c in changes)
        assert np.linalg.norm(changes[0] - changes[1]) > 0.02
        assert not any(c[INDEX["26"]] for c in changes), "speech is not varied"
    assert not PriorSampler(0.0, 0).change(base, 1.0).any()
    assert not PriorSampler(1.0, 0).change(np.zeros_like(base), 1.0).any()
    course = [PriorSampler(1.0, 2).change(base, t) for t in np.arange(0, 4, 0.04)]
    steps = np.linalg.norm(np.diff(course, axis=0), axis=1)
    assert steps.max() < 0.2 * np.linalg.norm(base)


# Files


def pictures(path: Path) -> list[np.ndarray]:
    with VideoReader(path) as reader:
        return [frame.image for frame in reader]


@pytest.mark.parametrize("rate", [25, 30])
def test_a_portrait_speaks(rate: int, demo_face: Path, voice: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    seen: list[int] = []
    report = talk(
        demo_face,
        voice,
        out,
        "happy",
        settings=TalkSettings(rate=rate, side=256),
        progress=lambda done, total: seen.append(done),
    )
    assert report.frames == round(1.6 * rate) == len(seen)
    assert report.engine == "mesh"
    assert {w.name for w in report.weights} >= {"articulator.onnx", "dice.npz"}
    with VideoReader(out) as reader:
        times = [frame.time for frame in reader]
        assert max(reader.info.width, reader.info.height) <= 256
    assert times == [Fraction(i, rate) for i in range(report.frames)]
    with av.open(str(out)) as container:
        sound = container.streams.audio[0]
        assert float(sound.duration * sound.time_base) == pytest.approx(1.6, abs=0.1)
    shown = pictures(out)
    assert np.abs(shown[0].astype(int) - shown[len(shown) // 2]).max() > 25


def test_the_same_seed_gives_the_same_clip(demo_face: Path, voice: Path, tmp_path: Path) -> None:
    clips = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = tmp_path / f"{name}.mp4"
        talk(demo_face, voice, out, "sad", settings=TalkSettings(side=192, seed=seed))
        clips.append(np.stack(pictures(out)))
    assert np.array_equal(clips[0], clips[1])
    assert not np.array_equal(clips[0], clips[2])


def test_action_units_alone(demo_face: Path, voice: Path, tmp_path: Path) -> None:
    clips = []
    for au in ("1=0.01", "4=1.2"):
        out = tmp_path / f"{au[0]}.mp4"
        talk(demo_face, voice, out, au=au, settings=TalkSettings(side=192, variety=0))
        clips.append(np.stack(pictures(out)).astype(int))
    assert np.abs(clips[0] - clips[1]).max() > 20


def test_silence_gives_a_living_picture_with_a_closed_mouth(
    demo_face: Path, tmp_path: Path
) -> None:
    quiet = write_sound(tmp_path / "quiet.wav", np.zeros(RATE, np.float32))
    out = tmp_path / "out.mp4"
    talk(demo_face, quiet, out, "neutral", settings=TalkSettings(liveliness=0))
    shown = np.stack(pictures(out)).astype(int)
    assert np.abs(shown - shown[0]).max() < 12, "only the encoder differs"


def test_two_people_and_who_speaks(tmp_path: Path, voice: Path) -> None:
    from .conftest import DEMO

    out = tmp_path / "out.mp4"
    both = tmp_path / "both.png"
    write_still(both, np.hstack([read_still(DEMO / name) for name in ("woman.jpg", "man.jpg")]))
    assert talk(both, voice, out, "happy", face="all").faces == 2
    report = talk(both, voice, out, "happy", face="2", overwrite=True)
    assert report.faces == 1
    image = read_still(both)
    changed = np.abs(pictures(out)[20].astype(int) - image[: image.shape[0] // 2 * 2])
    left, right = np.split(changed[:, : image.shape[1] // 2 * 2], 2, axis=1)
    assert right.mean() > 2 * left.mean()


def test_what_cannot_speak_is_refused(demo_face: Path, voice: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(InputError, match="no sound"):
        talk(demo_face, demo_face, out, "sad")
    empty = tmp_path / "empty.png"
    write_still(empty, np.full((64, 64, 3), 90, np.uint8))
    with pytest.raises(FaceNotFoundError):
        talk(empty, voice, out, "sad")
    for settings in (
        TalkSettings(rate=24),
        TalkSettings(side=10),
        TalkSettings(liveliness=3),
        TalkSettings(variety=2),
        TalkSettings(seed=-1),
    ):
        with pytest.raises(InputError, match="must be"):
            talk(demo_face, voice, out, "sad", settings=settings)
    assert not out.exists()


def _turned(degrees: float, size: float = 60.0) -> Face:
    """The canonical face, turned about the vertical axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    points = canonical_landmarks(size) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return Face(1, points.astype(np.float32))


def test_profiles_and_small_faces_are_warned_about(demo_face: Path) -> None:
    assert pose_warnings(demo_face, _turned(0)) == ()
    assert pose_warnings(demo_face, _turned(25)) == ()
    for degrees in (45, -45):
        (warning,) = pose_warnings(demo_face, _turned(degrees))
        assert "turned by 4" in warning
        assert demo_face.name in warning
    (warning,) = pose_warnings(demo_face, _turned(0, 20.0))
    assert "20 pixels between the eyes" in warning
    assert len(pose_warnings(demo_face, _turned(45, 20.0))) == 2


def test_the_command_line(demo_face: Path, voice: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    done = mien("talk", demo_face, voice, "-o", out, "--max-side", "192", "--json", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] == 40
    assert report["emotion"]["looks"][0]["name"] == "auto"
    bad = mien("talk", demo_face, voice, "-o", out, "--engine", "edtalk", "--fps", "30",
               "-e", "sad", "--overwrite", cache=tmp_path)  # fmt: skip
    assert bad.returncode == 2
    assert "belong to the engine mesh" in bad.stderr
