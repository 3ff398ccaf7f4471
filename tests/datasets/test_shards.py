"""Shards of cached clips, and the films that they are made from."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mien.datasets.manifest import find_videos, process_videos, speech_of
from mien.datasets.shards import ShardWriter, read_index, whole
from mien.errors import InputError, OutputError
from mien.media.frame import ArrayPicture, Frame
from mien.media.resample import nearest_frames

from ..command import mien
from ..speech.voices import buzz, write_sound

ROWS = np.arange(24, dtype=np.float32).reshape(6, 4)


def test_parts_of_arrays_are_read_and_several_writers_share_a_folder(tmp_path: Path) -> None:
    with closing(ShardWriter(tmp_path)) as one, closing(ShardWriter(tmp_path)) as two:
        one.add("b", [("rows", (ROWS[:2], ROWS[2:])), ("mask", (np.ones(3, np.uint8),))])
        two.add("a", whole({"rows": ROWS.astype(np.float16)}))
        one.add("c", whole({"rows": -ROWS}))
    found = read_index(tmp_path)
    assert list(found) == ["a", "b", "c"]
    assert found["b"]["mask"].read().tolist() == [1, 1, 1]
    for start, stop in ((0, None), (2, 5), (4, 99), (6, 6)):
        for clip, sign in (("a", 1), ("b", 1), ("c", -1)):
            wanted = sign * ROWS[start:stop]
            assert np.array_equal(found[clip]["rows"].read(start, stop), wanted)
    with closing(ShardWriter(tmp_path)) as one:
        one.add("d", whole({"rows": np.where(ROWS > 20, np.nan, ROWS)}))
    with pytest.raises(InputError, match="not finite"):
        read_index(tmp_path)["d"]["rows"].read()
    shard = found["c"]["rows"].file
    os.truncate(shard, shard.stat().st_size - 1)
    with pytest.raises(InputError, match="cut off"):
        found["c"]["rows"].read()
    assert np.array_equal(found["c"]["rows"].read(0, 5), -ROWS[:5])


def test_a_clip_is_added_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken() -> object:
        yield ROWS
        raise InputError("damaged in the middle")

    with closing(ShardWriter(tmp_path)) as writer:
        writer.add("first", whole({"rows": ROWS}))
        with pytest.raises(InputError, match="in the middle"):
            writer.add("second", [("rows", broken())])  # type: ignore[list-item]
        writer.add("third", whole({"rows": 2 * ROWS}))
    found = read_index(tmp_path)
    assert list(found) == ["first", "third"]
    assert np.array_equal(found["third"]["rows"].read(), 2 * ROWS)
    (index,) = tmp_path.glob("*.jsonl")
    index.write_text(index.read_text() + '{"clip": "fourth", "arr')
    assert list(read_index(tmp_path)) == ["first", "third"], "a killed run was writing the last"
    index.write_text("nothing\n")
    with pytest.raises(InputError, match="no index"):
        read_index(tmp_path)


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with closing(ShardWriter(tmp_path)) as writer:
        writer.add("first", whole({"rows": ROWS}))
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
        try:
            with pytest.raises(OutputError, match="The disk is full"):
                writer.add("second", [("rows", (ROWS, ROWS, ROWS))])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        writer.add("third", whole({"rows": 3 * ROWS}))
    found = read_index(tmp_path)
    assert list(found) == ["first", "third"]
    assert np.array_equal(found["first"]["rows"].read(), ROWS)
    assert np.array_equal(found["third"]["rows"].read(), 3 * ROWS)


def test_a_full_disk_ends_the_run_and_other_faults_do_not(tmp_path: Path) -> None:
    videos = [tmp_path / f"{name}.mp4" for name in "abc"]
    tried = []

    def work(path: Path) -> None:
        tried.append(path.stem)
        if path.stem == "a":
            raise InputError("a is damaged")
        if path.stem == "b":
            raise OutputError("The disk is full.")

    lines: list[str] = []
    with pytest.raises(OutputError, match="full"):
        process_videos(tmp_path, videos, work, log=lines.append)
    assert tried == ["a", "b"]
    assert lines == ["left out: a is damaged"]
    done = process_videos(tmp_path, videos, work, ready=videos[1:], log=lines.append)
    assert (done.videos, done.failed, done.left_out) == (2, 1, 1)


def test_views_are_chosen_and_missing_ones_are_named(tmp_path: Path) -> None:
    for person, view in (("M005", "front"), ("M005", "left_30"), ("W011", "front")):
        place = tmp_path / person / "video" / view / "happy" / "level_1"
        place.mkdir(parents=True)
        (place / "001.mp4").touch()
    lines: list[str] = []
    assert len(find_videos(tmp_path)) == 3
    assert len(find_videos(tmp_path, ["front"], log=lines.append)) == 2
    assert not lines
    assert len(find_videos(tmp_path, ["front", "left_30"], log=lines.append)) == 3
    assert lines == ["warning: there is no film of W011 in the view left_30"]
    with pytest.raises(InputError, match="of the view top; there are: front, left_30"):
        find_videos(tmp_path, ["top"])


def test_sound_is_found_beside_films_of_any_view(tmp_path: Path, short_clip: Path) -> None:
    film = tmp_path / "M005" / "video" / "left_30" / "happy" / "level_1" / "001.mp4"
    sound = tmp_path / "M005" / "audio" / "happy" / "level_1" / "001.wav"
    for path in (film, sound):
        path.parent.mkdir(parents=True)
    shutil.copy(short_clip, film)
    assert speech_of(film) is None
    write_sound(sound, buzz(0.2, 200))
    assert speech_of(film) == sound
    other = tmp_path / "RD_Radio1_000.mp4"
    shutil.copy(short_clip, other)
    beside = write_sound(tmp_path / "RD_Radio1_000.flac", buzz(0.2, 200))
    assert speech_of(other) == beside


def test_options_belong_to_an_engine(tmp_path: Path) -> None:
    svd = ("--engine", "svd")
    for options, problem in (
        (("--workers", 2), "belong to --engine svd"),
        ((*svd, "--gpus", 1), "--gpus belongs to --ray"),
        ((*svd, "--compile"), "belongs to --engine edtalk"),
        ((*svd, "--side", 65), "multiple of 64; got 65"),
        ((*svd, "--view", "front"), "no video under"),
    ):
        done = mien("features", tmp_path, "-o", tmp_path / "out", *options, cache=tmp_path)
        assert done.returncode == 2
        assert problem in done.stderr


@pytest.mark.parametrize(
    ("rate", "count", "wanted"),
    [
        (25, 6, [0, 2, 4]),
        (30, 8, [0, 2, 5, 7]),  # 0, 80, 160 and 240 ms: frames at 0, 67, 167 and 233 ms
        (10, 3, [0, 1, 2, 2]),  # 80 ms is nearer to 100 than to 0; the last lasts 100 ms
        (5, 2, [0, 0, 1, 1]),
        (25, 1, [0]),
    ],
)
def test_the_nearest_frame_is_taken(rate: int, count: int, wanted: list[int]) -> None:
    picture = ArrayPicture(np.zeros((1, 1, 3), np.uint8))
    frames = (Frame(picture, Fraction(i, rate), i) for i in range(count))
    assert [frame.index for frame in nearest_frames(frames, 12.5)] == wanted
