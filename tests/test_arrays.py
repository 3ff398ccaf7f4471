"""Pictures and clips in memory, in and out of the verbs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import mien
from mien.media.read import VideoReader
from mien.media.still import read_still

from .conftest import DEMO

LOSSLESS = mien.EncodingSettings(lossless=True)


def stages() -> list[threading.Thread]:
    """Threads of mien that go on working."""
    found = [one for one in threading.enumerate() if one.name.startswith("mien")]
    for one in found:
        one.join(2)
    return [one for one in found if one.is_alive()]


def pictures(path: Path, count: int) -> list[np.ndarray]:
    with VideoReader(path) as reader:
        return [frame.image for frame in islice(reader, count)]


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return read_still(DEMO / "woman.jpg")


def test_a_picture_in_memory_is_edited_as_its_file_is(
    face: np.ndarray, demo_face: Path, tmp_path: Path
) -> None:
    before, shown = face.copy(), []
    result = mien.edit(face, emotion="sad", on_frame=lambda *given: shown.append(given))
    assert np.array_equal(face, before)
    assert np.array_equal(result.original, face)
    mien.edit(demo_face, tmp_path / "file.png", "sad")
    report = mien.edit(face, tmp_path / "array.png", "sad")
    expected = read_still(tmp_path / "file.png")
    assert np.abs(expected.astype(int) - face).max() > 20
    assert np.array_equal(result.image, expected)
    assert np.array_equal(read_still(tmp_path / "array.png"), expected)
    assert [time for _, time in shown] == [0]
    assert np.array_equal(shown[0][0], expected)
    assert (result.report.output, result.report.faces) == (None, 1)
    assert report.output == tmp_path / "array.png"
    assert [np.array_equal(one, expected) for one in result.frames] == [True]
    found = mien.verify(tmp_path / "array.png")  # signed, although there is no file it came from
    assert found.metadata == ("compositeWithTrainedAlgorithmicMedia",)
    assert found.credential is None or found.credential.valid


def test_pil_images_are_turned_upright_and_laid_on_white(face: np.ndarray) -> None:
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    turned = image.fromarray(np.ascontiguousarray(np.rot90(face)))
    turned.getexif().update(exif)
    result = mien.edit(turned, emotion="sad")
    assert np.array_equal(result.original, face)
    assert np.array_equal(result.image, mien.edit(face, emotion="sad").image)
    clear = image.new("RGBA", (64, 64), (9, 9, 9, 0))
    clear.paste(image.fromarray(face[:8, :8]), (0, 0))
    from mien.media.arrays import as_image

    flat = as_image(clear)
    assert (flat[20:] == 255).all()
    assert np.array_equal(flat[:8, :8], face[:8, :8])


def test_frames_in_memory_are_edited_as_they_are_taken(short_clip: Path) -> None:
    clip, read = pictures(short_clip, 25), []

    def endless() -> Iterator[np.ndarray]:
        buffer = np.empty_like(clip[0])  # one for all frames, as cameras do
        while True:
            for image in clip:
                read.append(1)
                buffer[:] = image
                yield buffer

    source = endless()
    with mien.edit(source, emotion="happy", rate=25) as result:
        taken = list(islice(result.frames, 8))
        with pytest.raises(mien.InputError, match="complete when all frames"):
            _ = result.report
    assert len(read) < 360  # a look-ahead of 12 s and no more
    assert not stages()
    assert next(result.frames, None) is None
    assert next(source) is not None  # it belongs to the caller
    whole = mien.edit(np.stack(clip[:10]), emotion="happy")
    edited = list(whole.frames)
    assert len(edited) == whole.report.frames == 10
    assert whole.report.seconds == 0.4
    for ours, source, again in zip(edited, clip, taken, strict=False):
        assert np.abs(ours.astype(int) - source).mean() > 0.3
        assert np.abs(ours.astype(int) - again).mean() < 0.5


def test_files_are_edited_into_memory_and_frames_into_files(
    short_clip: Path, tmp_path: Path
) -> None:
    mien.edit(short_clip, tmp_path / "a.mkv", "sad", encoding=LOSSLESS)
    times: list[float] = []
    result = mien.edit(short_clip, emotion="sad", on_frame=lambda _, time: times.append(time))
    frames = list(result.frames)
    assert np.array_equal(np.stack(frames), np.stack(pictures(tmp_path / "a.mkv", 25)))
    assert times == pytest.approx(np.arange(25) / 25)
    odd = [image[:-1, :-1] for image in pictures(short_clip, 12)]
    report = mien.edit(iter(odd), tmp_path / "b.mp4", "sad", rate=12)
    assert (report.frames, report.seconds, report.rate, report.input) == (12, 1, 12, None)
    with VideoReader(tmp_path / "b.mp4") as reader:
        assert (reader.info.width, reader.info.height) == (odd[0].shape[1], odd[0].shape[0])


def test_a_portrait_in_memory_talks(face: np.ndarray, tmp_path: Path) -> None:
    speech = DEMO / "speech.ogg"
    settings = mien.TalkSettings(side=128)
    with mien.talk(face, speech, emotion="happy", settings=settings) as result:
        images = list(islice(result.frames, 20))
    assert images[0].shape == (128, 128, 3)
    assert np.abs(images[19].astype(int) - images[0]).max() > 20


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], "without any frame"),
        ([np.zeros((64, 64, 3), np.uint8), np.zeros((64, 32, 3), np.uint8)], "frame 2 has 32x64"),
        ([np.zeros((64, 64, 3), np.uint8), "x"], "Frame 2 must be an RGB array .* got str"),
        ([np.zeros((64, 64), np.uint8)], "Grey pictures"),
        (np.zeros((2, 64, 64, 4), np.uint8), r"fourth channel out"),
        (np.zeros((64, 64, 3)), r"Values from 0 to 1"),
        ("sad.png", "no file"),
        ({"a": 1}, "got dict"),
    ],
)
def test_other_things_are_refused(frames: object, words: str) -> None:
    with pytest.raises(mien.InputError, match=words):
        mien.edit(frames, emotion="sad")  # type: ignore[call-overload]
    assert not stages()


def test_what_cannot_be_done_in_memory_says_so(face: np.ndarray, short_clip: Path) -> None:
    for call, words in (
        (lambda: mien.edit(face, "sad"), "emotion='sad'"),
        (lambda: mien.edit(face, emotion="auto"), "no clip"),
        (lambda: mien.edit(face, emotion="sad", rate=25), "a picture has none"),
        (lambda: mien.edit([face], emotion="sad", rate=0), "rate must be"),
        (lambda: mien.edit(face, emotion="sad", max_pixels=100), "512x512"),
        (lambda: mien.edit(short_clip, emotion="sad", encoding=LOSSLESS), "encoding is for files"),
        (lambda: mien.edit(face, emotion="sad", engine="edtalk"), "for the mesh"),
        (lambda: mien.talk([face], DEMO / "speech.ogg"), "one picture in memory"),
    ):
        with pytest.raises(mien.InputError, match=words):
            call()
    with pytest.raises(mien.FaceNotFoundError, match="in the picture"):
        mien.edit(np.zeros((64, 64, 3), np.uint8), emotion="sad")


@pytest.mark.parametrize("how", ["function", "event", "exception"])
def test_work_is_stopped_on_the_way(short_clip: Path, tmp_path: Path, how: str) -> None:
    event, seen = threading.Event(), []

    def show(image: np.ndarray, time: float) -> None:
        seen.append(time)
        if how == "exception" and len(seen) == 3:
            raise mien.CancelledError("enough")
        if how == "event" and len(seen) == 3:
            event.set()

    cancel: dict[str, Callable[[], bool] | threading.Event | None] = {
        "function": lambda: len(seen) == 3, "event": event, "exception": None,
    }  # fmt: skip
    with pytest.raises(mien.CancelledError):
        mien.edit(short_clip, tmp_path / "a.mp4", "sad", on_frame=show, cancel=cancel[how])
    assert len(seen) == 3
    assert not list(tmp_path.iterdir())
    assert not stages()


def test_a_picture_in_memory_is_felt(face: np.ndarray, demo_face: Path) -> None:
    (ours,), (file,) = mien.feel(face), mien.feel(demo_face)
    assert ours.to_dict() | {"file": ""} == file.to_dict() | {"file": ""}
    for wrong in ({"files": face, "neutral": demo_face}, {"files": []}, {"files": face[..., 0]}):
        with pytest.raises(mien.InputError):
            mien.feel(**wrong)  # type: ignore[arg-type]


def test_notebooks_show_before_and_after(face: np.ndarray, demo_face: Path, tmp_path: Path) -> None:
    result = mien.edit(face, emotion="happy:0.6")
    report = mien.edit(demo_face, tmp_path / "<b>.png", "happy:0.6")
    for shown in (result, report):
        html = shown._repr_html_()
        assert html.count("data:image/jpeg;base64,") == 2
        for word in ("<script", "http", "javascript", "<b>"):
            assert word not in html
        assert "happy 0.6" in html
        tree = ElementTree.fromstring(f"<p>{_closed(html)}</p>")  # noqa: S314
        assert [one.get("alt") for one in tree.iter("img")] == ["after", "before"]
    (tmp_path / "<b>.png").unlink()
    assert report._repr_html_().count("data:image") == 1  # the picture before is still there
    speeds = [replace(report, frames_per_second=rate).speed for rate in (31.4, 1.0, 0.26)]
    assert speeds == ["31 frames/s", "1 frames/s", "4 s per frame"]


def _closed(html: str) -> str:
    """HTML with its images closed, as XML wants them."""
    parts = html.split("<img ")
    return "<img ".join([parts[0], *(part.replace(">", "/>", 1) for part in parts[1:])])
