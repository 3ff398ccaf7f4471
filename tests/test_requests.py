"""Malformed requests: one short message each, exit code 2, and no file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import mien
from mien.emotion.request import EASINGS, Emotion, Keyframe, Timeline
from mien.pipelines.mesh_talk import TalkSettings

from .command import mien as command

HUGE = 10**400
LONG = "x" * 5000

WRONG_TEXTS: list[Any] = [
    "", " ", ",", ":", "sad:", ":1", "sad:x", "sad:nan", "sad:inf", "sad:-1", "sad:1e400",
    "sad:9", "sad:0.5:0.5", "sad=1", "sadd", "SAD!", "sad happy", "²", "sad:²", "\0", "sad\0",
    "\udcff", "🙂" * 99, LONG, "sad," * 3000, "sad:" + "9" * 5000, "../sad", "{}", "None", "-1",
    "true",
]  # fmt: skip
WRONG_TYPES: list[Any] = [
    5, -1, 0.5, math.nan, True, b"sad", [], ["sad"], {}, {"sad": 1}, ("sad",), object(), 1j,
    HUGE, 10**5000, np.zeros(3), Path("sad"), [[[]]], set(), print,
]  # fmt: skip
WRONG_NUMBERS: list[Any] = [
    -1, -0.001, HUGE, -HUGE, 10**5000, math.nan, math.inf, -math.inf, None, True, "1", "", b"1",
    [], {}, [1], 1j, object(), np.zeros(2), "x" * 5000,
]  # fmt: skip
TOO_STRONG = [1.501, 99]
WRONG_UNITS = [
    "99", "99=1", "12X=1", "12L=", "12L=x", "12L=nan", "12L=-1", "12L=9", "=1", "AU", "AU=1",
    "12L:1", "12L 4", "²", "12L=²", LONG, "12L=" + "9" * 5000, "\0", "\udcff",
]  # fmt: skip
WRONG_FACES: list[Any] = [
    "", " ", "0", "-1", "--5", "²", "1.5", "1e3", "+", "-", "NaN", "9" * 5000, LONG,
    LONG + ".png", "none.png", "a\0.png", "\udcff.png", "largest,all", "Largest?", "/dev/zero",
    "https://a.b/c.png", ".", "/", "text.png", "folder.png", "pipe.png", None, 1, [], b"1",
    Path("none.png"),
]  # fmt: skip
WRONG_OUTPUTS: list[Any] = [
    "", ".", "/", "o", "o.txt", "o.mp4", "o.png.", ".png", "none/o.png", "in.png", "./in.png",
    "old.png", "folder.png", "\udcff.png", "a\0.png", LONG + ".png", "x" * 252 + ".png",
    "in.png/o.png", None, 5, [], b"o.png", "a/" * 3000 + "o.png", "\ud800.png",
]  # fmt: skip
WRONG_INPUTS: list[Any] = [
    "", ".", "/", "none.mp4", "none", LONG, LONG + ".mp4", "a\0.mp4", "\udcff.mp4", "/dev/zero",
    "/dev/null", "http://a.b/c.mp4", "rtsp://a/b", "file:///etc/passwd", "concat:a|b", "pipe:0",
    "empty.mp4", "text.mp4", "text.png", "folder.png", "pipe.png", "in.png/a.mp4", "*.mp4", None,
    5, [], b"in.png", 1.5, True, object(),
]  # fmt: skip
WRONG_ENTRIES: list[Any] = [
    None, 5, "sad", [], {}, True, {"at": 0}, {"emotion": "sad"}, {"at": 0, "emotion": ""},
    {"at": 0, "au": ""}, {"at": 0, "emotion": "sad", "extra": 1},
    {"at": 0, "emotion": "sad", LONG: 1}, {"at": 0, "like": []},
    {"at": 0, "neutral": "none.wav"}, {"at": 0, "emotion": "sad", "easing": "Ease"}, {5: 5},
    {"at": 0, "emotion": "sad", "neutral": "text.png"}, {"at": 0, "like": ["none.wav"]},
    {"at": 0, "like": LONG}, {"at": 0, "like": "\0"}, {"at": 0, "like": "/dev/zero"},
    {"at": 0, "like": "text.mp4"}, {"at": 0, "like": {"a": 1}}, {"at": 0, "like": [["a"]]},
    {"at": 0, "like": 5},
]  # fmt: skip
WRONG_FILES = [
    "", "{", "[", "[]", "{}", "null", "5", '"sad"', "[" * 100_000, '{"a":' * 100_000,
    "[" * 5000 + "]" * 5000, '{"timeline": []}', '{"timeline": {}}', '{"timeline": 5}',
    '{"Timeline": [{"at": 0, "emotion": "sad"}]}',
    '{"timeline": [{"at": 0, "emotion": "sad"}], "loop": true}',
    '[{"at": NaN, "emotion": "sad"}]', '[{"at": Infinity, "emotion": "sad"}]',
    '[{"at": -Infinity, "emotion": "sad"}]', '[{"at": 1e999, "emotion": "sad"}]',
    *(f'[{{"at": {at}, "emotion": "sad"}}]' for at in ("9" * 400, "9" * 9000, "-" + "9" * 90)),
    *(f'[{{"at": 0, "emotion": "{text}"}}]' for text in (LONG, "sad:" + "9" * 400)),
    f'[{{"at": 0, "{LONG}": "sad"}}]', '[{"at": 0 "emotion": "sad"}]',
    '[{"at": 0, "emotion": "sad"},]', "\x00", "\xff\xfe", "at: 0", "sad", " " * 11_000_000,
    "[" + '{"at": 0, "emotion": "sad"},' * 20_000 + "1]", '[{"at": 0, "emotion": "\\ud800"}]',
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a valid picture without a face, and things that are no pictures."""
    work = tmp_path / "work"
    work.mkdir()
    cv2.imwrite(str(work / "in.png"), np.full((64, 64, 3), 90, np.uint8))
    cv2.imwrite(str(work / "old.png"), np.full((64, 64, 3), 90, np.uint8))
    for name in ("text.png", "text.mp4"):
        (work / name).write_text("no picture\n")
    (work / "empty.mp4").touch()
    (work / "folder.png").mkdir()
    monkeypatch.chdir(work)
    return work


def timelines() -> Iterator[object]:
    """Timelines with one wrong thing each, as values."""
    good = {
        "at": 1,
        "emotion": "sad",
        "au": "12L=0.5",
        "intensity": 1,
        "fade": 0.5,
        "easing": "ease",
    }
    for field in ("at", "fade", "intensity"):
        small = 2 if field == "intensity" else 0  # those that are wrong for intensities alone
        numbers = [*WRONG_NUMBERS, *TOO_STRONG[:small]]
        yield from ([{**good, field: number}] for number in numbers)
    for field, texts in (("emotion", WRONG_TEXTS), ("au", WRONG_UNITS)):
        known = (t for t in texts if t.strip(" ,"))  # nothing is asked for by the other one alone
        yield from ([good, {**good, field: text}] for text in known)
        yield from ([{**good, field: value}] for value in WRONG_TYPES)
    yield from ([{**good, "easing": value}] for value in (*WRONG_TYPES, *WRONG_TEXTS))
    yield from ([good, entry] for entry in WRONG_ENTRIES)
    yield from ({"timeline": [good], name: 1} for name in ("loop", "intensity", "", LONG, 5))
    yield from ({"timeline": value} for value in WRONG_TYPES)
    yield from WRONG_TYPES


def calls(folder: Path) -> Iterator[Callable[[], object]]:
    """Malformed calls of the Python API, each with one wrong thing."""

    def edit(**wrong: Any) -> Callable[[], object]:
        given = {"input": "in.png", "output": "o.png", "emotion": "sad", **wrong}
        return lambda: mien.edit(**given)

    nothing = {"emotion": None}
    yield from (edit(emotion=text) for text in WRONG_TEXTS)
    yield from (edit(emotion=value) for value in WRONG_TYPES)
    yield from (edit(**nothing, au=text) for text in WRONG_UNITS)
    yield from (edit(**nothing, au=value) for value in WRONG_TYPES)
    yield from (edit(intensity=number) for number in (*WRONG_NUMBERS, *TOO_STRONG))
    yield from (edit(face=face) for face in WRONG_FACES)
    yield from (edit(output=path) for path in WRONG_OUTPUTS if path is not None)
    yield from (edit(input=path, output="o.mp4") for path in WRONG_INPUTS)
    yield from (edit(engine=value) for value in (*WRONG_TYPES, "", "Mesh", LONG, "svd"))
    yield from (edit(**nothing, timeline=value) for value in WRONG_TYPES)
    yield from (edit(**nothing, like=path) for path in WRONG_INPUTS if path is not None)
    yield from (edit(emotion="auto", neutral=path) for path in WRONG_INPUTS if path is not None)
    yield from (edit(max_pixels=n) for n in (0, -1, 2**31, HUGE, 10**5000, 1.5, "9", True, 10, []))
    yield from (edit(progress=value) for value in (5, "x", [], True))
    yield from (edit(cancel=value) for value in (5, "x", [], True))
    yield from (edit(encoding=value) for value in (5, "x", [1], {"quality": 1}))
    yield from (edit(options=value) for value in (5, "x", [1], TalkSettings()))
    for name, values in (
        ("labels", WRONG_TYPES),
        ("units", WRONG_TYPES),
        ("references", WRONG_TYPES),
    ):
        for value in values:
            yield lambda name=name, value=value: Emotion(**{name: value})
            yield lambda name=name, value=value: Emotion(**{name: ((value, 1.0),)})
    for number in (*WRONG_NUMBERS, *TOO_STRONG):
        yield lambda number=number: Emotion((("sad", number),))
        yield lambda number=number: Emotion(intensity=number)
    for value in WRONG_TYPES:
        yield lambda value=value: Keyframe(1.0, value)
        yield lambda value=value: Timeline((value,))
        yield lambda value=value: Keyframe(1.0, Emotion((("sad", 1.0),)), easing=value)
        yield lambda value=value: mien.Editor("sad", face=value)
        yield lambda value=value: mien.Editor(value)
        yield lambda value=value: mien.talk("in.png", "text.mp4", "o.mp4", settings=value)
    for name in ("rate", "side", "liveliness", "variety", "seed"):
        for value in (*WRONG_NUMBERS, 1e9):
            if value is not None:
                yield TalkSettings(**{name: value}).check
    for path in WRONG_INPUTS:
        if path is not None:
            yield lambda path=path: mien.talk("in.png", path, "o.mp4", "sad")
            if path != []:
                yield lambda path=path: list(mien.feel(path))


def check_refused(call: Callable[[], object], folder: Path, what: object) -> None:
    before = {path.name for path in folder.iterdir()}
    try:
        call()
    except mien.InputError as error:
        message = str(error)
        assert len(message) < 700, (what, message)
        assert len(message.splitlines()) <= 2, (what, message)
    except Exception as error:
        raise AssertionError(f"{what!r:.200} raised {error!r:.300}") from error
    else:
        raise AssertionError(f"{what!r:.200} was accepted")
    assert {path.name for path in folder.iterdir()} == before


def test_malformed_calls_are_refused(folder: Path) -> None:
    wrong = list(calls(folder))
    assert len(wrong) > 400
    for call in wrong:
        cells = [cell.cell_contents for cell in getattr(call, "__closure__", None) or ()]
        check_refused(call, folder, cells or getattr(call, "__defaults__", call))


def test_malformed_timelines_are_refused(folder: Path) -> None:
    wrong = [*timelines()]
    assert len(wrong) > 200
    for data in wrong:
        check_refused(lambda data=data: Timeline.from_data(data, folder=folder), folder, data)


def test_malformed_timeline_files_are_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    for text in WRONG_FILES:
        path.write_bytes(text.encode("latin-1" if text == "\xff\xfe" else "utf-8"))
        check_refused(lambda: Timeline.load(path), folder, text)
    for name in ("/dev/zero", "none.json", LONG, "a\0", ".", "in.png", "http://a.b/t.json"):
        check_refused(lambda name=name: Timeline.load(name), folder, name)


def test_mutated_timelines_are_read_or_refused(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    good = json.dumps([{"at": i, "emotion": "sad:0.5", "au": "12=1", "easing": e, "fade": 1.5}
                       for i, e in enumerate(EASINGS)]).encode()  # fmt: skip
    path, refused, longest = tmp_path / "t.json", 0, 0
    for _ in range(400):
        data = bytearray(good)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] = (
                rng.integers(0, 256) if rng.random() < 0.3 else rng.choice(list(b'[]{}",:0e-'))
            )
        path.write_bytes(bytes(data[: rng.integers(1, len(data))] if rng.random() < 0.2 else data))
        try:
            Timeline.load(path)
        except mien.InputError as error:
            refused += 1
            longest = max(longest, len(str(error)))
    assert longest < 700
    assert 200 < refused <= 400


@pytest.mark.parametrize(
    "options",
    [
        ["-e", LONG], ["-e", "\udcff"], ["--au", LONG], ["-I", LONG], ["-I", "nan"],
        ["-I", "1e400"], ["-e", "sad", "--face", "²"], ["-e", "sad", "--face=--5"],
        ["-e", "sad", "--face", LONG], ["-e", "sad", "--face", LONG + ".png"],
        ["-e", "sad", "--engine", LONG], ["--timeline", LONG], ["--timeline", "/dev/zero"],
        ["--timeline", "folder.png"], ["--like", LONG], ["--like", "/dev/zero"],
        ["-e", "sad", "--max-pixels", "9" * 500], ["-e", "sad", "--max-pixels", "-1"],
        ["--" + LONG], ["-e", "sad", "--max-pixels", "x"], ["-e", "sad", LONG], ["-e"],
        ["-e", "sad", "--neutral", "none.wav"],
    ],
    ids=lambda options: " ".join(options)[:40].encode("ascii", "backslashreplace").decode(),
)  # fmt: skip
def test_the_command_line_refuses(folder: Path, tmp_path: Path, options: list[str]) -> None:
    before = {path.name for path in folder.iterdir()}
    done = command("edit", "in.png", "-o", "o.png", *options, cache=tmp_path / "cache")
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr) < 1500
    for word in ("Traceback", "mien: unexpected"):
        assert word not in done.stderr
    assert {path.name for path in folder.iterdir()} == before
